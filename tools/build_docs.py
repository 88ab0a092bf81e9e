"""Build the documentation site from nbs/ and docs/pages/: run copies of the notebooks, turn them into plain pages, let Sphinx make HTML of these.

    python tools/build_docs.py                      the site in _docs/
    python tools/build_docs.py --out DIR            the site in DIR
    python tools/build_docs.py --only index,config  for a look while writing: of the notebooks only these are run

The guides, docs/pages/*.md, are taken as they are. They link to notebooks as seen from their folder, ../../nbs/20_mel.ipynb, and notebooks link to them as
../docs/pages/tts.md, so that the links work in the repository too.

The notebooks themselves are not changed. Their `#|` directives mean here what they mean to nbdev: hidden cells are left out, cells under a
flag of tst_flags or `eval: false` are not run and keep their stored outputs. A cell that begins with `#| test_only` takes long and shows nothing: nbdev_test runs
it, the site only prints its source, and says so. An exported cell becomes an API entry (api_entry.py: signature, docstring, a table of the
parameters, methods) with its source folded underneath; constants show theirs. Eight chapters keep their outputs in the repository (outputs.py): the site
shows those of its own run, and fails when the kept ones are not what it shows. Any warning of Sphinx, such as a link to a page that is not there, fails the build,
and so does what tools/check_docs.py finds in the finished site.
"""
import ast, json, multiprocessing, os, re, shutil, subprocess, sys, tempfile, time
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import chdir
from pathlib import Path
import nbformat
from fastcore.script import call_parse
from check_docs import check_docs
from outputs import CHAPTERS, stale
from execnb.shell import CaptureShell, format_exc
from nbdev.config import get_config
from nbdev.doclinks import NbdevLookup
from nbdev.showdoc import showdoc_nm
from nbformat.v4 import new_code_cell, new_markdown_cell, new_output
from nbformat.v4.rwbase import rejoin_lines

ROOT = Path(__file__).parent.parent.absolute()
ANSI = re.compile(r'\x1b\[[0-9;?]*[A-Za-z]')
DIRECTIVE = re.compile(r'^[ \t]*#\|[ \t]*([\w-]+):?[ \t]*(.*)$', re.M)
EXPORT, DROP = {'export', 'exports', 'exporti'}, {'hide', 'default_exp'}
TAGS = {('echo','false'): 'remove-input', ('output','false'): 'remove-output', ('include','false'): 'remove-cell', ('code-fold','true'): 'hide-input', ('test_only',''): 'test_only', ('site',''): 'remove-input'}
HEAVY = 'torch librosa scipy.signal matplotlib.pyplot ipywidgets sklearn.metrics'.split() # imported once, before the notebooks' processes are forked off
GUIDES = 'kaggle reading_the_log fine_tune tts deploy faq reference contributing changelog'.split() # docs/pages/, in the order of the menu
DEFINITION = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)

def directives(cell):
    "name -> value of the `#|` lines of a cell"
    return dict(DIRECTIVE.findall(cell.source)) if cell.cell_type=='code' else {}

def page_name(path):
    "20_mel.ipynb -> mel"
    return re.sub(r'^\d+[a-z]?_', '', Path(path).stem)

# before the run

def is_skipped(cell, flags):
    "Is this a cell that nbdev_test does not run, or that it alone runs?"
    d = directives(cell)
    return 'nbdev_export(' in cell.source or d.get('eval', '').strip().lower()=='false' or bool((flags|{'test_only'}) & d.keys())

def public_names(cell):
    "Names of the public functions, classes and patched methods that the cell defines"
    return [showdoc_nm(o) for o in ast.parse(cell.source).body if isinstance(o, DEFINITION) and not o.name.startswith('_')]

def is_constants(cell):
    "Does the cell define public names and no function or class? There is no signature to show, so its source is shown"
    body = ast.parse(cell.source).body
    names = [t.id for o in body if isinstance(o, ast.Assign) for t in o.targets if isinstance(t, ast.Name)]
    return any(not n.startswith('_') for n in names) and not any(isinstance(o, DEFINITION) for o in body)

def with_api(cells):
    "The cells with a `show_doc` after each exported definition that the author has not shown elsewhere"
    shown = {n for c in cells if c.cell_type=='code' for n in re.findall(r'^show_doc\(([\w.]+)', c.source, re.M)}
    out = [new_code_cell('from nbdev.showdoc import show_doc\nfrom api_entry import Entry as _Entry', metadata={'role': 'setup'})]
    for c in cells:
        if 'export' not in directives(c): out.append(c); continue
        names = [n for n in public_names(c) if n not in shown]
        out += [c] + [new_code_cell(f'show_doc({n}, renderer=_Entry)') for n in names]
    return out

def execute(nb, path, flags):
    "Run the notebook in this process, in its own folder, as nbdev_test does; the skipped cells keep the outputs that they have"
    multiprocessing.set_start_method(None, force=True) # a fork server hands its own on; the notebook shall find the default
    shell = CaptureShell(path, mpl_format='png', timeout=600)
    with chdir(path.parent):
        for c in nb.cells:
            if c.cell_type!='code' or is_skipped(c, flags): continue
            c.outputs = list(map(nbformat.from_dict, shell.run(c.source)))
            if shell.exc: raise SystemExit(ANSI.sub('', f'{path.name} failed in the cell\n\n{c.source}\n\n{"".join(format_exc(shell.exc))}'))
    rejoin_lines(nb)

def outline(nb):
    "In place of a run: each API entry is its heading alone, so that links find it"
    for c in nb.cells:
        m = re.search(r'^show_doc\(([\w.]+)', c.source, re.M) if c.cell_type=='code' else None
        if m: c.outputs = [new_output('display_data', {'text/markdown': f'### {m[1]}'})]

# after the run

def relink(md, site):
    "Links to our own pages, in nbdev's absolute form or relative as .html or numbered .ipynb, become Sphinx document links"
    md = re.sub(rf'\[(`_[^`]*`)\]\({re.escape(site)}[^)]*\)', r'\1', md) # nbdev links private names too, which have no entry
    md = md.replace(f']({site}', '](').replace('](../docs/pages/', '](guides/')
    def link(m): return f']({page_name(m[1])}.ipynb{(m[2] or "").split(".")[0]})' # a method is described with its class
    return re.sub(r'\]\(([\w-]+)\.(?:html|ipynb)(#[\w.-]*)?\)', link, md)

def guide(md):
    "A guide's markdown with its links to notebooks as they are in the site"
    return re.sub(r'\]\(\.\./\.\./nbs/([\w-]+)\.ipynb', lambda m: f'](../{page_name(m[1])}.ipynb', md)

def toctree(caption, pages):
    "Entry of the menu: a caption and the pages below it"
    return '\n'.join(['```{toctree}', ':hidden:', f':caption: {caption}', '', *pages, '```'])

def printed(cell):
    "The markdown that `show_doc` printed"
    return '\n'.join(''.join(o.data['text/markdown']) for o in cell.outputs if 'text/markdown' in o.get('data', {})).strip()

def fit_headings(cells):
    "Put the heading of each API entry one level below the author's heading above it; drop it when that one already says the name"
    last, level = '', 1
    for c in cells:
        heads = re.findall(r'^(#+) (.+)$', re.sub(r'^```.*?^```', '', c.source, flags=re.M|re.S), re.M) if c.cell_type=='markdown' else []
        if c.metadata.get('role')!='api': last, level = (heads[-1][1].strip(), len(heads[-1][0])) if heads else (last, level)
        elif heads:
            new = '' if heads[0][1].strip()==last else '#'*min(level+1, 4)+f' {heads[0][1]}'
            c.source = re.sub(r'^#+ .+$', lambda m: new, c.source, count=1, flags=re.M).strip()
    return cells

def plain_code(cell):
    "A visible code cell without its directives; those that Sphinx knows become tags"
    d = directives(cell)
    tags = [TAGS[k, v.strip().lower()] for k,v in d.items() if (k, v.strip().lower()) in TAGS] + ['hide-input']*bool(EXPORT & d.keys() and not is_constants(cell))
    src = '\n'.join(l for l in cell.source.splitlines() if not re.search(r'#\|\s*hide_line\s*$', l))
    for o in cell.outputs:
        if o.output_type=='stream': o.text = ANSI.sub('', o.text)
    return new_code_cell(DIRECTIVE.sub('', src).strip('\n'), outputs=cell.outputs, metadata={'tags': tags} if tags else {})

def page_cell(cell, link):
    "What a reader sees of a cell, or None"
    if cell.cell_type=='markdown': return None if re.search(r'^#+ .* -\s*$', cell.source) else new_markdown_cell(link(cell.source))
    d = directives(cell)
    if cell.cell_type!='code' or DROP & d.keys() or cell.metadata.get('role')=='setup': return None
    if re.search(r'^show_doc\(', cell.source, re.M): return new_markdown_cell(link(printed(cell)), metadata={'role': 'api'})
    if 'export' in d and is_imports(cell): return None
    cell = plain_code(cell)
    return cell if cell.source else None

def is_imports(cell):
    "Does the cell hold nothing but imports?"
    return all(isinstance(o, (ast.Import, ast.ImportFrom)) for o in ast.parse(cell.source).body)

def source_last(cells):
    "Move each folded source below the API entries that follow it, so that the entry comes first"
    out = list(cells)
    for i in range(len(out)-1, -1, -1):
        if not EXPORT & directives(out[i]).keys(): continue
        j = i
        while j+1<len(out) and out[j+1].source.startswith('show_doc('): j += 1
        out.insert(j, out.pop(i))
    return out

def make_page(path, out, cfg, menu, run):
    "Run one notebook, or only outline it, and write its page"
    nb, start = nbformat.read(path, 4), time.monotonic()
    nb.cells = with_api(nb.cells)
    stored = json.loads(path.read_text(encoding='utf-8'))['cells']
    execute(nb, path, set(cfg.tst_flags.split())) if run else outline(nb)
    late = stale(stored, json.loads(json.dumps(nb))['cells']) if run and page_name(path) in CHAPTERS else []
    lookup, site = NbdevLookup(), cfg.doc_host.rstrip('/')+cfg.doc_baseurl.rstrip('/')+'/'
    cells = [page_cell(c, lambda md: relink(lookup.linkify(md), site)) for c in source_last(nb.cells)]
    nb.cells = fit_headings([c for c in cells if c is not None])
    if path.stem=='index': nb.cells.append(new_markdown_cell(menu))
    nbformat.write(nb, out/f'{page_name(path)}.ipynb')
    said = f'ran {path.name}: {time.monotonic()-start:.0f} s' if run else f'not run: {path.name}'
    return said, [f'{path.name}: what it keeps of the output is not what this shows now:\n{src}' for src in late]

# llms.txt: the site in a page, for programs that read it (llmstxt.org)

def first_lines(path):
    "Title and one-line description of a notebook or guide"
    md = path.read_text(encoding='utf-8')
    if path.suffix=='.ipynb': md = ''.join(json.loads(md)['cells'][0]['source'])
    title, _, rest = md.partition('\n')
    said = next((l for l in rest.splitlines() if l.strip()), '')
    said = re.sub(r'\[([^]]*)\]\([^)]*\)', r'\1', said.lstrip('> ')).strip()
    return title.lstrip('# ').strip(), re.split(r'(?<=[a-z)])[.:] ', said)[0].rstrip('.:')

def llms_txt(notebooks, guides, site):
    "What the site has, as a list of links with a line each"
    def entry(path, page):
        title, said = first_lines(path)
        return f'- [{title}]({site}{page}.html): {said}'
    chapters = [entry(p, page_name(p)) for p in notebooks if not p.stem.startswith('index')]
    front, readers = first_lines(notebooks[0].parent/'index.ipynb'), [entry(p, f'guides/{p.stem}') for p in guides]
    return '\n'.join([f'# {front[0]}', '', f'> {front[1]}', '', '## Guides', '', *readers, '', '## Notebooks', '', *chapters, ''])

@call_parse
def main(
    out:str='_docs', # Folder of the site, from the repository root; an older site there is replaced
    jobs:int=os.cpu_count() or 1, # Notebooks that run at the same time; default: one for each core
    only:str='', # Run only these notebooks, named as in the site, with commas between them: index,mel; the others show their API as bare names
):
    "Build the documentation site"
    os.chdir(ROOT)
    cfg, out = get_config(), Path(out).absolute()
    if out.exists() and any(out.iterdir()) and not (out/'objects.inv').exists(): sys.exit(f'{out} is not empty and not an older site: give another folder')
    paths = sorted(cfg.nbs_path.glob('[!_.]*.ipynb'))
    pages, only = [page_name(p) for p in paths if not p.stem.startswith('index')], set(filter(None, only.split(',')))
    guides = {p.stem: guide(p.read_text(encoding='utf-8')) for p in sorted((ROOT/'docs'/'pages').glob('*.md'))}
    if unknown := only-{page_name(p) for p in paths}: sys.exit(f'there is no notebook {", ".join(sorted(unknown))}')
    if set(guides)!=set(GUIDES): sys.exit(f'docs/pages/ holds {sorted(guides)}, and GUIDES in {__file__} names {sorted(GUIDES)}')
    menu = toctree('Guides', ['По-русски <index_ru>', *(f'guides/{g}' for g in GUIDES)]) + '\n\n' + toctree('Notebooks', pages)
    threads = max(1, (os.cpu_count() or 1)//jobs) # more would only get into each other's way
    os.environ |= {'MPLBACKEND': 'module://matplotlib_inline.backend_inline', 'PYTHONPATH': f'{ROOT}{os.pathsep}{ROOT/"tools"}', 'OMP_NUM_THREADS': str(threads)}
    late = []
    with tempfile.TemporaryDirectory() as tmp:
        fork = multiprocessing.get_context('forkserver')
        fork.set_forkserver_preload(['build_docs', *HEAVY])
        with ProcessPoolExecutor(jobs, fork, max_tasks_per_child=1) as pool:
            runs = [pool.submit(make_page, p, Path(tmp), cfg, menu, not only or page_name(p) in only) for p in reversed(paths)] # the long ones first
            try:
                for r in as_completed(runs):
                    said, problems = r.result()
                    print(said, flush=True)
                    late += problems
            except BaseException:
                pool.shutdown(cancel_futures=True) # those that have not begun
                raise
        (Path(tmp)/'guides').mkdir()
        for name,md in guides.items(): (Path(tmp)/'guides'/f'{name}.md').write_text(md, encoding='utf-8')
        shutil.copytree(ROOT/'docs'/'pages'/'images', Path(tmp)/'guides'/'images')
        for folder in ('images', 'sounds'): shutil.copytree(cfg.nbs_path/folder, Path(tmp)/folder)
        shutil.rmtree(out, ignore_errors=True)
        done = subprocess.run([sys.executable, '-m', 'sphinx', '-q', '-j', str(jobs), '-W', '--keep-going', '-b', 'html', '-d', f'{tmp}/.doctrees', '-c', 'docs', tmp, str(out)])
    if done.returncode: sys.exit('the site was not built: Sphinx stopped at the warnings above')
    for p in cfg.nbs_path.glob('runs/*/report.html'): # whole documents, which pages link to
        (out/p.relative_to(cfg.nbs_path)).parent.mkdir(parents=True)
        shutil.copy(p, out/p.relative_to(cfg.nbs_path))
    site = cfg.doc_host.rstrip('/')+cfg.doc_baseurl.rstrip('/')+'/'
    guide_paths = [ROOT/'docs'/'pages'/f'{g}.md' for g in GUIDES]
    (out/'llms.txt').write_text(llms_txt(paths, guide_paths, site), encoding='utf-8')
    check_docs(out)
    if late: sys.exit('\n\n'.join(late) + '\n\npython tools/outputs.py keeps the outputs of now')
    print(f'{len(paths)+len(guides)} pages: {out}/index.html')

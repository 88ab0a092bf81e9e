"""Build the documentation site from nbs/ and docs/pages/: run copies of the notebooks, turn them into plain pages,
let Sphinx make HTML of these.

    python tools/build_docs.py                      the site in _docs/
    python tools/build_docs.py --out DIR            the site in DIR
    python tools/build_docs.py --only index,config  for a look while writing: of the notebooks only these are run

The guides, docs/pages/*.md, are taken as they are. They link to notebooks as seen from their folder,
../../nbs/20_mel.ipynb, and notebooks link to them as ../docs/pages/tts.md, so that the links work in the repository
too.

The notebooks themselves are not changed. Their `#|` directives mean here what they mean to nbdev: hidden cells are
left out, cells under a flag of tst_flags or `eval: false` are not run and keep their stored outputs. A cell that
begins with `#| test_only` takes long and shows nothing: nbdev_test runs it, the site only prints its source, and says
so. An exported cell becomes an API entry (api_entry.py: signature, docstring, a table of the parameters, methods)
with its source folded underneath; constants show theirs. Eight chapters keep their outputs in the repository
(outputs.py): the site shows those of its own run, and fails when the kept ones are not what it shows. Any warning of
Sphinx, such as a link to a page that is not there, fails the build, and so does what tools/check_docs.py finds in the
finished site.
"""
import ast, json, multiprocessing, os, re, shutil, subprocess, sys, tempfile, time
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import chdir
from html import escape, unescape
from pathlib import Path
import nbformat
from fastcore.script import call_parse
from check_docs import check_docs
from outputs import CHAPTERS, stale
from site_russian import in_russian
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
TAGS = {('echo','false'): 'remove-input', ('output','false'): 'remove-output', ('include','false'): 'remove-cell',
        ('code-fold','true'): 'hide-input', ('test_only',''): 'test_only', ('site',''): 'remove-input'}
# Imported once, before the notebooks' processes are forked off
HEAVY = 'torch librosa scipy.signal matplotlib.pyplot ipywidgets sklearn.metrics'.split()
FIRST = 'index', 'index_ru', 'story', 'story_ru' # They stand above the wings in the menu
WINGS = 'Base Data Model Training Inference Evaluation Listening Kaggle Commands'.split() # of the tens 0 to 8
# docs/pages/, in the order of the menu
GUIDES = 'browser kaggle reading_the_log fine_tune tts adapters deploy faq reference contributing changelog'.split()
# Of these, NAME_ru.md is in Russian
TRANSLATED = 'browser kaggle reading_the_log fine_tune tts adapters deploy faq reference'.split()
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
    off = d.get('eval', '').strip().lower()=='false'
    return 'nbdev_export(' in cell.source or off or bool((flags|{'test_only'}) & d.keys())

def public_names(cell):
    "Names of the public functions, classes and patched methods that the cell defines"
    defined = [o for o in ast.parse(cell.source).body if isinstance(o, DEFINITION)]
    return [showdoc_nm(o) for o in defined if not o.name.startswith('_')]

def is_constants(cell):
    "Does the cell define public names and no function or class? There is no signature to show, so its source is shown"
    body = ast.parse(cell.source).body
    names = [t.id for o in body if isinstance(o, ast.Assign) for t in o.targets if isinstance(t, ast.Name)]
    return any(not n.startswith('_') for n in names) and not any(isinstance(o, DEFINITION) for o in body)

def with_api(cells):
    "The cells with a `show_doc` after each exported definition that the author has not shown elsewhere"
    shown = {n for c in cells if c.cell_type=='code' for n in re.findall(r'^show_doc\(([\w.]+)', c.source, re.M)}
    setup = 'from nbdev.showdoc import show_doc\nfrom api_entry import Entry as _ApiEntry'
    out = [new_code_cell(setup, metadata={'role': 'setup'})]
    for c in cells:
        names = [n for n in public_names(c) if n not in shown] if 'export' in directives(c) else []
        out += [c] + [new_code_cell(f'show_doc({n}, renderer=_ApiEntry)') for n in names]
    return out

def execute(nb, path, flags):
    """Run the notebook in this process, in its own folder, as nbdev_test does; the skipped cells keep the outputs that
    they have"""
    # a fork server hands its own on; the notebook shall find the default
    multiprocessing.set_start_method(None, force=True)
    shell = CaptureShell(path, mpl_format='png', timeout=600)
    with chdir(path.parent):
        for c in nb.cells:
            if c.cell_type!='code' or is_skipped(c, flags): continue
            c.outputs = list(map(nbformat.from_dict, shell.run(c.source)))
            if shell.exc: raise SystemExit(failure(path, c, shell.exc))
    rejoin_lines(nb)

def failure(path, cell, exc):
    "The cell that failed, and why"
    return ANSI.sub('', f'{path.name} failed in the cell\n\n{cell.source}\n\n{"".join(format_exc(exc))}')

def outline(nb):
    "In place of a run: each API entry is its heading alone, so that links find it"
    for c in nb.cells:
        m = re.search(r'^show_doc\(([\w.]+)', c.source, re.M) if c.cell_type=='code' else None
        if m: c.outputs = [new_output('display_data', {'text/markdown': f'### {m[1]}'})]

# after the run

def relink(md, site):
    """Links to our own pages, in nbdev's absolute form or relative as .html or numbered .ipynb, become Sphinx document
    links"""
    # nbdev links private names too, which have no entry
    md = re.sub(rf'\[(`_[^`]*`)\]\({re.escape(site)}[^)]*\)', r'\1', md)
    md = md.replace(f']({site}', '](').replace('](../docs/pages/', '](guides/')
    # a method is described with its class
    def link(m): return f']({page_name(m[1])}.ipynb{(m[2] or "").split(".")[0]})'
    return re.sub(r'\]\(([\w-]+)\.(?:html|ipynb)(#[\w.-]*)?\)', link, md)

def guide(md):
    "A guide's markdown with its links to notebooks as they are in the site"
    return re.sub(r'\]\(\.\./\.\./nbs/([\w-]+)\.ipynb', lambda m: f'](../{page_name(m[1])}.ipynb', md)

def toctree(caption, pages):
    "Entry of the menu: a caption and the pages below it"
    return '\n'.join(['```{toctree}', ':hidden:', f':caption: {caption}', '', *pages, '```'])

def printed(cell):
    "The markdown that `show_doc` printed"
    texts = [o.data['text/markdown'] for o in cell.outputs if 'text/markdown' in o.get('data', {})]
    return '\n'.join(map(''.join, texts)).strip()

def headings(cell):
    "(hashes, words) of the headings of a markdown cell, without what looks like one in its code"
    if cell.cell_type!='markdown': return []
    return re.findall(r'^(#+) (.+)$', re.sub(r'^```.*?^```', '', cell.source, flags=re.M|re.S), re.M)

def fit_headings(cells):
    """Put the heading of each API entry one level below the author's heading above it; drop it when that one already
    says the name"""
    last, level = '', 1
    for c in cells:
        if not (heads := headings(c)): continue
        if c.metadata.get('role')=='api':
            new = '' if heads[0][1].strip()==last else '#'*min(level+1, 4)+f' {heads[0][1]}'
            c.source = re.sub(r'^#+ .+$', lambda m: new, c.source, count=1, flags=re.M).strip()
        else: last, level = heads[-1][1].strip(), len(heads[-1][0])
    return cells

def tags_of(cell):
    "What Sphinx shall do with a code cell: the directives that it knows; the source of a definition is folded"
    d = directives(cell)
    known = [(k, v.strip().lower()) for k,v in d.items()]
    folded = EXPORT & d.keys() and not is_constants(cell)
    return [TAGS[o] for o in known if o in TAGS] + ['hide-input']*bool(folded)

def plain_code(cell):
    "A visible code cell without its directives; those that Sphinx knows become tags"
    tags = tags_of(cell)
    src = '\n'.join(l for l in cell.source.splitlines() if not re.search(r'#\|\s*hide_line\s*$', l))
    for o in cell.outputs:
        if o.output_type=='stream': o.text = ANSI.sub('', o.text)
    src = DIRECTIVE.sub('', src).strip('\n')
    return new_code_cell(src, outputs=cell.outputs, metadata={'tags': tags} if tags else {})

def page_cell(cell, link):
    "What a reader sees of a cell, or None"
    if cell.cell_type=='markdown':
        if cell.source.startswith('<!-- ru -->'): return None # for a kernel that speaks Russian; the site is English
        return None if re.search(r'^#+ .* -\s*$', cell.source) else new_markdown_cell(link(cell.source))
    d = directives(cell)
    if cell.cell_type!='code' or DROP & d.keys() or cell.metadata.get('role')=='setup': return None
    if re.search(r'^show_doc\(', cell.source, re.M):
        if not printed(cell): raise ValueError(f'{cell.source} has shown nothing: {cell.outputs}')
        return new_markdown_cell(link(printed(cell)), metadata={'role': 'api'})
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

def site_of(cfg):
    "Address of the site, with a slash at its end"
    return cfg.doc_host.rstrip('/')+cfg.doc_baseurl.rstrip('/')+'/'

def make_page(path, out, cfg, menu, run):
    "Run one notebook, or only outline it, and write its page; what was done, and which kept outputs are stale"
    nb, start = nbformat.read(path, 4), time.monotonic()
    nb.cells = with_api(nb.cells)
    execute(nb, path, set(cfg.tst_flags.split())) if run else outline(nb)
    late = stale_cells(path, nb) if run and page_name(path) in CHAPTERS else []
    lookup, site = NbdevLookup(), site_of(cfg)
    cells = [page_cell(c, lambda md: relink(lookup.linkify(md), site)) for c in source_last(nb.cells)]
    nb.cells = fit_headings([c for c in cells if c is not None])
    if path.stem=='index': nb.cells.append(new_markdown_cell(menu))
    nbformat.write(nb, out/f'{page_name(path)}.ipynb')
    said = f'ran {path.name}: {time.monotonic()-start:.0f} s' if run else f'not run: {path.name}'
    return said, [f'{path.name}: what it keeps of the output is not what this shows now:\n{cell}' for cell in late]

def stale_cells(path, nb):
    "The cells of a chapter that keep other outputs than those of its run, `nb`, and in what they differ"
    stored = json.loads(path.read_text(encoding='utf-8'))['cells']
    return stale(stored, json.loads(json.dumps(nb))['cells'])

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
    "What the site has, as a list of links with a line each; what has a Russian side stands there once, in English"
    def entry(path, page):
        title, said = first_lines(path)
        return f'- [{title}]({site}{page}.html): {said}'
    chapters = [entry(p, page_name(p)) for p in notebooks
                if not p.stem.startswith('index') and not p.stem.endswith('_ru')]
    title, said = first_lines(notebooks[0].parent/'index.ipynb')
    readers = [entry(p, f'guides/{p.stem}') for p in guides]
    lines = [f'# {title}', '', f'> {said}', '', '## Guides', '', *readers, '', '## Notebooks', '', *chapters, '']
    return '\n'.join(lines)

# the whole

def is_free(out):
    "May the site be written there? It replaces an older one and nothing else"
    return not out.exists() or not any(out.iterdir()) or (out/'objects.inv').exists()

def menu_of(notebooks):
    "The guides, then the notebooks by wing"
    wings = {}
    for p in notebooks:
        if page_name(p) not in FIRST: wings.setdefault(WINGS[int(p.stem[0])], []).append(page_name(p))
    guides = ['story', *(f'guides/{g}' for g in GUIDES)]
    russian = ['С чего начать <index_ru>', 'story_ru', *(f'guides/{g}_ru' for g in TRANSLATED)]
    first = toctree('Begin here', guides), toctree('По-русски', russian)
    return '\n\n'.join([*first, *(toctree(wing, pages) for wing,pages in wings.items())])

def set_environment(jobs):
    "For the notebooks' processes: pictures inside the page, our modules and tools, a share of the cores"
    threads = max(1, (os.cpu_count() or 1)//jobs) # more would only get into each other's way
    os.environ |= {'MPLBACKEND': 'module://matplotlib_inline.backend_inline',
                   'PYTHONPATH': f'{ROOT}{os.pathsep}{ROOT/"tools"}', 'OMP_NUM_THREADS': str(threads)}

def make_pages(notebooks, folder, cfg, only, jobs):
    "The pages of the notebooks, several at a time; which kept outputs are stale"
    late, menu = [], menu_of(notebooks)
    fork = multiprocessing.get_context('forkserver')
    fork.set_forkserver_preload(['build_docs', *HEAVY])
    with ProcessPoolExecutor(jobs, fork, max_tasks_per_child=1) as pool:
        runs = [pool.submit(make_page, p, folder, cfg, menu, not only or page_name(p) in only)
                for p in reversed(notebooks)] # the long ones first
        try:
            for r in as_completed(runs):
                said, problems = r.result()
                print(said, flush=True)
                late += problems
        except BaseException:
            pool.shutdown(cancel_futures=True) # those that have not begun
            raise
    return late

def add_guides(guides, folder, cfg):
    "Beside the pages: the guides, and the pictures and sounds of both"
    (folder/'guides').mkdir()
    for name,md in guides.items(): (folder/'guides'/f'{name}.md').write_text(md, encoding='utf-8')
    shutil.copytree(ROOT/'docs'/'pages'/'images', folder/'guides'/'images')
    for name in ('images', 'sounds'): shutil.copytree(cfg.nbs_path/name, folder/name)

def sphinx(pages, out, jobs):
    "HTML of the pages; any warning is an error"
    strict = ['-q', '-j', str(jobs), '-W', '--keep-going']
    where = ['-d', f'{pages}/.doctrees', '-c', 'docs', str(pages), str(out)]
    done = subprocess.run([sys.executable, '-m', 'sphinx', *strict, '-b', 'html', *where])
    if done.returncode: sys.exit('the site was not built: Sphinx stopped at the warnings above')

def name_pictures(out):
    """Call the pictures that cells have drawn by their section, and number them: who has the page read aloud would
    hear the name of a file"""
    for p in out.rglob('*.html'):
        text, section, n = p.read_text(encoding='utf-8'), '', 0
        if 'alt="_images/' not in text and 'alt="../_images/' not in text: continue
        def named(m):
            nonlocal section, n
            if m['title']: section, n = unescape(re.sub('<[^>]*>', '', m['title'])).rstrip('¶#').strip(), 0
            if m['title']: return m[0]
            n += 1
            return f'alt="{escape(section)}, {n}"'
        text = re.sub(r'<h[1-4]>(?P<title>.*?)</h[1-4]>|alt="(?:\.\./)?_images/[^"]*"', named, text, flags=re.S)
        p.write_text(text, encoding='utf-8')

def add_reports(out, cfg):
    "Whole documents, which pages link to"
    for p in cfg.nbs_path.glob('runs/*/report.html'):
        (out/p.relative_to(cfg.nbs_path)).parent.mkdir(parents=True)
        shutil.copy(p, out/p.relative_to(cfg.nbs_path))

def add_vocoder(out):
    "The small voice as a page, in the folder browser; its runtime comes from npm, once"
    from hifigan_ruslan.inference.page import export_page
    try: export_page('festvox-ru-light', out/'browser')
    except ValueError as e: # without a network the rest of the site is whole all the same
        print(f'WARNING: the site has no page with a voice: {e}')
        (out/'browser').mkdir(exist_ok=True)
        (out/'browser'/'index.html').write_text(NO_VOICE, encoding='utf-8')

NO_VOICE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>hifigan_ruslan</title>
<p>This site was built without a network, so the voice in a browser tab is missing. You can make it yourself:
<code>hifigan-export festvox-ru-light page.html</code>"""

def check_names(notebooks, guides, only):
    "Stop at the name of a notebook that is not there, and at a guide that the menu does not have"
    unknown = only-{page_name(p) for p in notebooks}
    if unknown: sys.exit(f'there is no notebook {", ".join(sorted(unknown))}')
    named = {*GUIDES, *(f'{g}_ru' for g in TRANSLATED)}
    if set(guides)!=named:
        sys.exit(f'docs/pages/ holds {sorted(guides)}, and GUIDES and TRANSLATED in {__file__} name {sorted(named)}')

@call_parse
def main(
    out:str='_docs', # Folder of the site, from the repository root; an older site there is replaced
    jobs:int=os.cpu_count() or 1, # Notebooks that run at the same time; default: one for each core
    # Run only these notebooks, named as in the site, with commas between them: index,mel;
    # the others show their API as bare names
    only:str='',
):
    "Build the documentation site"
    os.chdir(ROOT)
    cfg, out, only = get_config(), Path(out).absolute(), set(filter(None, only.split(',')))
    if not is_free(out): sys.exit(f'{out} is not empty and not an older site: give another folder')
    notebooks = sorted(cfg.nbs_path.glob('[!_.]*.ipynb'))
    guides = {p.stem: guide(p.read_text(encoding='utf-8')) for p in sorted((ROOT/'docs'/'pages').glob('*.md'))}
    check_names(notebooks, guides, only)
    set_environment(jobs)
    with tempfile.TemporaryDirectory() as tmp:
        late = make_pages(notebooks, Path(tmp), cfg, only, jobs)
        add_guides(guides, Path(tmp), cfg)
        shutil.rmtree(out, ignore_errors=True)
        sphinx(tmp, out, jobs)
    in_russian(out)
    name_pictures(out)
    add_reports(out, cfg)
    add_vocoder(out)
    guide_paths = [ROOT/'docs'/'pages'/f'{g}.md' for g in GUIDES]
    (out/'llms.txt').write_text(llms_txt(notebooks, guide_paths, site_of(cfg)), encoding='utf-8')
    check_docs(out)
    if late: sys.exit('\n\n'.join(late) + '\n\n(- kept, + now) python tools/outputs.py keeps the outputs of now')
    print(f'{len(notebooks)+len(guides)} pages: {out}/index.html')

"""How the code reads, as far as it can be counted: lines, cells and functions of the notebooks, lines of the other
Python files, and which outputs are kept.
The limits are those of the house style; where one bites, break the line or the thought, not the limit"""
import ast, json, re, subprocess, sys
from pathlib import Path
from statistics import median
import pytest
from PIL import Image
from test_layers import code_cells, is_exported

ROOT = Path(__file__).parent.parent
LONGEST_LINE, LONGEST_CELL = 120, 60
sys.path.insert(0, str(ROOT/'tools'))

def cells_of(path): return json.loads(path.read_text(encoding='utf-8'))['cells']
def source(cell): return ''.join(cell['source'])
def share(values, p): return sorted(values)[int(p*len(values))]

notebooks = sorted((ROOT/'nbs').glob('*.ipynb'))
code = {p.stem: code_cells(p) for p in notebooks}
exported = [src for cells in code.values() for src in cells if is_exported(src)]
files = sorted(p for d in ('tests', 'tools', 'benchmarks', 'docs') for p in (ROOT/d).rglob('*.py')) + [ROOT/'setup.py']

def syntax(src):
    "Syntax tree of a file or a cell, without the lines that only Jupyter understands; None of what is no Python"
    for s in (src, re.sub(r'^(\s*)[%!].*$', r'\1pass', src, flags=re.M)):
        try: return ast.parse(s)
        except SyntaxError: pass

def docstrings(tree):
    "The nodes of the docstrings of a module, its classes and functions"
    places = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    found = [o for o in ast.walk(tree) if isinstance(o, places) and ast.get_docstring(o, clean=False) is not None]
    return [o.body[0].value for o in found]

def is_text(node, src):
    "Is it one triple-quoted string over several lines, and not strings that stand below each other?"
    if not isinstance(node, (ast.Constant, ast.JoinedStr)) or node.lineno==node.end_lineno: return False
    return bool(re.match(r'''\w*(['"])\1\1''', ast.get_source_segment(src, node)))

def lines_of_texts(src):
    "Numbers of the lines that hold a text, such as a page, whose own lines are long; a docstring is no such text"
    tree = syntax(src)
    if tree is None: return set()
    ours = docstrings(tree)
    texts = [o for o in ast.walk(tree) if is_text(o, src) and o not in ours]
    return {i for o in texts for i in range(o.lineno, o.end_lineno+1)}

def is_long(line):
    "Is it beyond the limit? An address cannot be broken"
    return len(line)>LONGEST_LINE and not re.search(r'https?://\S{60,}', line)

def long_lines(name, src):
    "Lines beyond the limit, but for those of texts"
    found = [(i, l) for i,l in enumerate(src.splitlines(), 1) if is_long(l)]
    texts = lines_of_texts(src) if found else ()
    return [f'{name}: {l}' for i,l in found if i not in texts]

def functions(src):
    "(name, characters without indentation) of all functions and methods, signature and docstring included"
    found = [o for o in ast.walk(ast.parse(src)) if isinstance(o, (ast.FunctionDef, ast.AsyncFunctionDef))]
    return [(o.name, sum(len(l.strip()) for l in ast.get_source_segment(src, o).splitlines())) for o in found]

def test_no_line_is_long():
    lines = [o for stem,cells in code.items() for src in cells for o in long_lines(stem, src)]
    lines += [o for p in files for o in long_lines(p.relative_to(ROOT), p.read_text(encoding='utf-8'))]
    assert lines==[]

def test_long_lines_of_a_text_are_not_code():
    long = 'x'*130
    def found(src): return len(long_lines('a', src))
    for src in (f'a = """{long}\n{long}"""', f'a = f\'\'\'\n{long} {{b}}\n\'\'\'', f'%x\n!y\nf(r"""\n{long}""")'):
        assert found(src)==0 and found(f'{src}\n# {long}')==1, src
    for src in (f'"""A\n{long}"""', f'def f():\n    """A\n    {long}"""', f'class A:\n    """{long}\n    b"""'):
        assert found(src)==1, src
    for src in (f'a = ("b"\n     "{long}")', f'a = """{long}"""', f'f("""b\nc""",\n  {long})', f'%%bash\n{long}'):
        assert found(src)==1, src

def test_most_lines_are_shorter():
    lengths = [len(l) for cells in code.values() for src in cells for l in src.splitlines() if l.strip()]
    assert share(lengths, .95)<=115

def test_exported_cells_are_one_thought():
    "At most 60 lines, and nine of ten at most 40"
    sizes = [len(src.splitlines()) for src in exported]
    long = [src.splitlines()[1] for src in exported if len(src.splitlines())>LONGEST_CELL]
    assert long==[] and share(sizes, .9)<=40

def test_functions_are_small():
    sizes = [n for src in exported for _,n in functions(src)]
    assert median(sizes)<=260 and share(sizes, .9)<=900, (median(sizes), share(sizes, .9))

def only_imports(src): return all(isinstance(o, (ast.Import, ast.ImportFrom)) for o in ast.parse(src).body)

def kind(cell):
    "X for an exported cell that holds more than imports"
    return 'X' if cell['cell_type']=='code' and is_exported(src := source(cell)) and not only_imports(src) else '.'

def test_at_most_two_exports_in_a_row():
    rows = [p.stem for p in notebooks if 'XXX' in ''.join(map(kind, cells_of(p)))]
    assert rows==[]

# One name, one thing

def test_public_classes_and_constants_have_names_of_their_own():
    where = {}
    for stem,cells in code.items():
        for src in filter(is_exported, cells):
            for n in names_of(src): where.setdefault(n, set()).add(stem)
    assert {n: s for n,s in where.items() if len(s)>1}=={}

def names_of(src):
    "The public classes and constants that a cell defines"
    body = ast.parse(src).body
    names = [o.name for o in body if isinstance(o, ast.ClassDef)]
    targets = [n for o in body for t in getattr(o, 'targets', ()) for n in ast.walk(t) if isinstance(n, ast.Name)]
    names += [n.id for n in targets if n.id.isupper()]
    return [n for n in names if not n.startswith('_')]

# Outputs

def test_eight_chapters_keep_their_outputs():
    """And nobody else: outputs are kept where people read them on the repository's page; the site says when they are
    stale"""
    from outputs import CHAPTERS, MOST, path_of, shows
    chapters = {path_of(c) for c in CHAPTERS}
    for p in notebooks:
        outputs = [o for c in cells_of(p) for o in c.get('outputs', ())]
        assert bool(outputs)==(p in chapters), f'{p.name}: python tools/outputs.py'
        assert len(json.dumps(outputs))<=MOST, p.name
        assert all(shows(c) for c in cells_of(p) if c.get('outputs')), p.name

def test_what_changes_from_run_to_run_is_taken_out():
    from outputs import cleaned
    said = [stream('<a at 0x7fe012ab> in /tmp/tmpab1/x\n'), stream('2.5 steps/s')]
    assert cleaned(said)==[stream('<a at 0x…> in /tmp/…\n… steps/s')]
    assert cleaned([stream('x') | dict(name='stderr')])==[]

def stream(text): return dict(output_type='stream', name='stdout', text=text)

def test_outputs_are_the_same_but_for_a_shade():
    from outputs import same_output, same_text
    assert same_text('loss 1.000, 20 steps', 'loss 1.004, 20 steps')
    assert same_text('p2 .00 p3 -.01', 'p2 -.00 p3 .00') and not same_text('p2 .10', 'p2 .13')
    assert not same_text('loss 1.00', 'loss 1.20') and not same_text('a 1', 'b 1')
    assert not same_output(stream('a'), dict(output_type='display_data', data={'text/plain': 'a'}))

def picture(shade, width=4):
    from outputs import as_png
    return dict(output_type='display_data', data={'image/png': as_png(Image.new('RGB', (width, 3), (shade,)*3))})

def test_outputs_of_a_training_differ_by_processor():
    "CI failed on a processor whose training of 24 steps came out 3 % lower"
    from outputs import same_output, stale
    kept, now = stream('step 24 grad 4.2 mel 2.37'), stream('step 24 grad 5.9 mel 2.14')
    assert not same_output(kept, now) and same_output(kept, now, trained=True)
    for other in ('step 24 grad 4.2 mel 2.37 | dead', 'step 24 grad 4.2 mel 7.37', 'step 24 grad 4.2'):
        assert not same_output(kept, stream(other), trained=True), other
    assert not same_output(picture(9), picture(99)) and same_output(picture(9), picture(99), trained=True)
    assert not same_output(picture(9), picture(9, width=5), trained=True)
    for source,n in (('fit()', 1), ('#| trains\nfit()', 0)):
        cell = dict(cell_type='code', id='a', source=source, outputs=[kept])
        assert len(stale([cell], [cell | dict(outputs=[now])]))==n

def test_stale_outputs_are_named():
    from outputs import stale
    cell = dict(cell_type='code', id='a', source='print(1)', outputs=[stream('1\n')])
    assert stale([cell], [cell])==[]
    assert stale([cell], [cell | dict(outputs=[stream('2\n')])])==['print(1)\n\n- 1\n+ 2']
    assert stale([cell], [])==['print(1)\n\n- 1']
    shown = cell | dict(outputs=[picture(9)])
    assert stale([shown], [shown | dict(outputs=[picture(99)])])==['print(1)\n\na picture looks different']

# The repository's own settings

def test_generated_files_are_marked():
    asked = ('hifigan_ruslan/step.py hifigan_ruslan/base/files.py hifigan_ruslan/_modidx.py kernel/train.ipynb '
             'README.md nbs/30_step.ipynb').split()
    done = subprocess.run(['git', 'check-attr', 'linguist-generated', *asked], cwd=ROOT, capture_output=True, text=True)
    if done.returncode: pytest.skip('this is no git repository')
    assert [l.endswith(': true') for l in done.stdout.splitlines()]==[True]*5+[False]

def test_the_host_runs_ci_for_every_python():
    text = (ROOT/'.github'/'workflows'/'ci.yml').read_text(encoding='utf-8')
    pythons = re.search(r"^pythons = '([\d. ]+)'", (ROOT/'setup.py').read_text(encoding='utf-8'), re.M)[1].split()
    assert re.search(r'python: \[(.*)\]', text)[1].replace("'", '').split(', ')==pythons
    assert '- run: .ci/run' in text and 'pull_request:' in text and 'push:' in text

def test_a_notebook_as_text():
    from nb_text import notebook_text
    shown = dict(output_type='stream', name='stdout', text=['1\n'])
    cell = dict(cell_type='code', id='ab', source=['x = 1\n', 'x'], outputs=[shown])
    assert notebook_text(json.dumps(dict(cells=[cell])))=='---- code ab\nx = 1\nx\n-> stdout: 1\n'
    assert notebook_text('<<<<<<< HEAD')=='<<<<<<< HEAD'

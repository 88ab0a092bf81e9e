"""Who may import whom. The tens of the notebooks' numbers are wings: a notebook imports only from lower numbers,
inference (40s) and training (30s) never reach each other, not even through a third module, no module imports a
private name of another, and the package runs without nbdev"""
import ast, json, re, subprocess, sys
from pathlib import Path
import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = 'hifigan_ruslan'
# Sub-packages, of the tens 0 to 7
WINGS = 'base dataset model training inference evaluation listening kaggle'.split()
# Modules of the package itself
SPINE = 'config data mel generator discriminators losses step checkpoint train vocoder metrics eval cli'.split()
APART = [{3, 4}] # Wings that never import each other, whatever the numbers allow
STORIES = '00_story', '00_story_ru' # They make no module and import from everywhere
NO_MODEL = {'losses': 'generator discriminators'.split()} # Losses know no model

def code_cells(path):
    cells = json.loads(path.read_text(encoding='utf-8'))['cells']
    return [''.join(c['source']) for c in cells if c['cell_type']=='code']

def is_exported(src): return bool(re.search(r'^#\|\s*exports?i?\b', src, re.M))

def default_exp(cells):
    "Name of the module that the notebook makes, or None"
    return next((m[1] for m in (re.search(r'^#\|\s*default_exp\s+(\S+)', c, re.M) for c in cells) if m), None)

def parse(src):
    "Syntax tree of a cell, without the lines that only Jupyter understands"
    return ast.parse(re.sub(r'^(\s*)[%!].*$', r'\1pass', src, flags=re.M))

def own_imports(tree, modules):
    "(module, name or None) of our own that are imported under `tree`, at any depth"
    out = set()
    for o in ast.walk(tree):
        if isinstance(o, ast.Import): out |= {(a.name, None) for a in o.names if a.name.split('.')[0]==PACKAGE}
        elif isinstance(o, ast.ImportFrom):
            base = '.'.join(filter(None, [PACKAGE if o.level else '', o.module]))
            if base.split('.')[0]!=PACKAGE: continue
            for a in o.names: # a module, or a name in one
                whole = f'{base}.{a.name}'.partition('.')[2]
                out.add((f'{PACKAGE}.{whole}', None) if whole in modules or base==PACKAGE else (base, a.name))
    # __version__ belongs to the package itself
    return {(m.partition('.')[2], n) for m,n in out if '.' in m and not m.endswith('__')}

def top_imports(tree, modules):
    "The same, but not inside functions"
    outside = [o for o in tree.body if not isinstance(o, (ast.FunctionDef, ast.AsyncFunctionDef))]
    return set().union(*(own_imports(o, modules) for o in outside))

def wrong(importer, imported):
    "Why a notebook of number `importer` must not import from one of number `imported`, or None"
    if {importer//10, imported//10} in APART: return 'training and inference never import each other'
    return f'which is number {imported:02}' if imported>=importer else None

def violations(notebooks):
    "What is wrong with the imports of `notebooks`, a dict from file stem, such as 20_mel, to the list of code cells"
    number = {default_exp(cells): int(stem[:2]) for stem,cells in notebooks.items()
              if re.match(r'\d\d_', stem) and default_exp(cells)}
    return [v for stem,cells in notebooks.items() for src in cells
            for v in _violations(stem, default_exp(cells), src, number)]

def _violations(stem, me, src, number):
    tree, mine, exported = parse(src), int(stem[:2]), is_exported(src)
    for m,name in sorted(own_imports(tree, number), key=str):
        if m==me and not exported: continue # an example whose child process needs functions that can be imported
        if m not in number: yield f'{stem} imports {m}, which no numbered notebook makes'
        elif stem not in STORIES and (why := wrong(mine, number[m])): yield f'{stem} imports {m}, {why}'
        elif exported and m in NO_MODEL.get(me, ()): yield f'{stem} must never import {m}'
        if m!=me and name and name.startswith('_') and exported:
            yield f'{stem} imports {name}, which is private to {m}'
    if me!='cli' or not exported: return
    if top := {m for m,_ in top_imports(tree, number)}-{'base.commands'}:
        yield f'{stem} imports {sorted(top)} outside a function'

def imported_names(path):
    "First name of every module that a Python file imports, at any depth"
    tree = ast.parse(path.read_text(encoding='utf-8'))
    names = [a.name for o in ast.walk(tree) if isinstance(o, ast.Import) for a in o.names]
    names += [o.module for o in ast.walk(tree) if isinstance(o, ast.ImportFrom) and o.module and not o.level]
    return {n.split('.')[0] for n in names}

notebooks = {p.stem: code_cells(p) for p in sorted((ROOT/'nbs').glob('[0-9]*.ipynb'))}
number = {default_exp(cells): int(stem[:2]) for stem,cells in notebooks.items() if default_exp(cells)}
modules = [p for p in sorted((ROOT/PACKAGE).rglob('*.py')) if p.name not in ('_modidx.py', '__init__.py')]

def module_name(path): return '.'.join(path.relative_to(ROOT/PACKAGE).with_suffix('').parts)

def test_layers():
    assert violations(notebooks)==[]

def test_every_module_has_its_notebook():
    "nbdev leaves the module of a notebook that was removed or renamed"
    assert {module_name(p) for p in modules}==set(number)

def test_every_module_is_in_the_room_of_its_number():
    assert {m for m in number if '.' not in m}==set(SPINE)
    assert {m: WINGS[n//10] for m,n in number.items() if '.' in m}=={m: m.split('.')[0] for m in number if '.' in m}

@pytest.mark.parametrize('path', modules, ids=module_name)
def test_runs_without_nbdev(path):
    assert not imported_names(path) & {'nbdev', 'execnb', 'ghapi', 'jupyter', 'kaggle', 'pytest'}

# What an import loads: in a fresh interpreter, with all that it brings along

LOADED = '''import json, os, sys
def ours(): return sorted(m.partition('.')[2] for m in sys.modules if m.startswith('hifigan_ruslan.'))
for name in HEAVY: __import__(name) # once; the processes forked off from here begin without any module of ours
for module in MODULES:
    if not (child := os.fork()):
        __import__('hifigan_ruslan.'+module)
        print(json.dumps([module, ours()]), flush=True)
        os._exit(0)
    assert os.waitpid(child, 0)[1]==0, module
'''

def loaded(names):
    "Module -> our modules that a fresh interpreter holds after importing it"
    heavy = 'torch numpy scipy.signal matplotlib.pyplot ipywidgets'.split()
    code = f'MODULES = {list(names)!r}\nHEAVY = {heavy!r}\n{LOADED}'
    done = subprocess.run([sys.executable, '-c', code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode==0, done.stderr
    return dict(map(json.loads, done.stdout.splitlines()))

@pytest.fixture(scope='module')
def held(): return loaded(number)

def test_imports_bring_nothing_from_above(held):
    packages = set(WINGS)
    found = [(m, o) for m,os in held.items() for o in os if o not in packages and o!=m and wrong(number[m], number[o])]
    assert sorted(held)==sorted(number) and found==[]

def test_evaluation_and_vocoder_load_nothing_of_training(held):
    training = {m for m,n in number.items() if n//10==3}
    assert {'step', 'train', 'checkpoint'}<training
    for m in ('vocoder', 'eval', 'metrics', 'mel', 'generator'): assert not training & set(held[m]), m
    assert not {m for m,n in number.items() if n//10==4} & set(held['train'])

def test_the_commands_load_nothing_before_they_are_asked(held):
    assert held['cli']==['base', 'base.commands', 'base.files', 'cli']

# The checkers see what they are there for

def cells(name, *srcs): return [f'#| default_exp {name}', *srcs]

IMPORTS_OF_MEL = ['from hifigan_ruslan.mel import LogMel', 'from .mel import LogMel', 'from . import mel',
                  'import hifigan_ruslan.mel as m', 'from hifigan_ruslan import config, mel',
                  'def f():\n    from hifigan_ruslan.mel import LogMel', '%matplotlib inline\nfrom .mel import *']

@pytest.mark.parametrize('src', IMPORTS_OF_MEL)
def test_checker_sees_an_import_from_above(src):
    nbs = {'01_config': cells('config', '#| export\n'+src),
           '20_mel': cells('mel', '#| export\nfrom hifigan_ruslan.config import V1')}
    assert any('01_config imports mel, which is number 20' in v for v in violations(nbs))
    assert violations({'01_config': cells('config'), '20_mel': nbs['20_mel']})==[]

BASE = {'01_config': cells('config'), '33_train': cells('train'),
        '51_stats': cells('evaluation.stats', '#| export\nx = 1')}

def said_of(stem, *srcs):
    "The violations when the notebook `stem`, with these cells, stands beside those of BASE"
    return violations(BASE | {stem: cells(stem[3:], *srcs)})

def test_checker_sees_training_in_inference():
    for src in ('#| export\nfrom .train import fit', 'from hifigan_ruslan.train import fit',
                '#| export\nfrom hifigan_ruslan import train'):
        never = '45_vocoder imports train, training and inference never import each other'
        assert said_of('45_vocoder', src)==[never]

def test_checker_sees_what_the_commands_load():
    assert said_of('80_cli', '#| export\nfrom .train import fit')==["80_cli imports ['train'] outside a function"]
    assert said_of('80_cli', '#| export\ndef f():\n    from .train import fit')==[]

def test_checker_sees_modules_that_are_not_there():
    found = said_of('80_cli', '#| export\nfrom .tarin import fit')
    assert found[0]=='80_cli imports tarin, which no numbered notebook makes'

def test_checker_sees_a_module_that_imports_itself():
    own = cells('mel', '#| export\nfrom hifigan_ruslan.mel import LogMel')
    assert violations({'20_mel': own})==['20_mel imports mel, which is number 20']
    harmless = cells('mel', 'import hifigan_ruslan.mel', '#| export\nfrom hifigan_ruslan import __version__')
    assert violations({'20_mel': harmless})==[]

def test_checker_sees_private_names():
    private = 'from hifigan_ruslan.evaluation.stats import _x'
    said = '53_eval imports _x, which is private to evaluation.stats'
    assert said_of('53_eval', f'#| export\n{private}')==[said]
    a_test_may = said_of('53_eval', private, '#| export\nfrom hifigan_ruslan.evaluation import stats')
    assert a_test_may==[]

def test_checker_lets_the_story_import_all():
    "It makes no module, and tells the whole story"
    for s in STORIES: assert violations(BASE | {s: ['from hifigan_ruslan.train import fit']})==[]
    page = {'12_page': ['from hifigan_ruslan.train import fit']} # makes no module, and is not the story
    assert violations(BASE | page)==['12_page imports train, which is number 33']

def test_checker_sees_nbdev(tmp_path):
    (tmp_path/'a.py').write_text('def f():\n    from nbdev.showdoc import show_doc\n')
    assert imported_names(tmp_path/'a.py')=={'nbdev'}

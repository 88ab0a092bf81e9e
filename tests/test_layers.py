"A notebook imports only from notebooks with lower numbers, and the package runs without nbdev"
import ast, json, re
from pathlib import Path
import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = 'hifigan_ruslan'
NEVER = dict(losses='generator discriminators') | {m: 'discriminators losses train' for m in 'exchange fast onnx vocoder metrics systems eval report blind listen weights'.split()} # whatever the numbers allow

def code_cells(path): return [''.join(c['source']) for c in json.loads(path.read_text(encoding='utf-8'))['cells'] if c['cell_type']=='code']

def is_exported(src): return bool(re.search(r'^#\|\s*exports?i?\b', src, re.M))

def default_exp(cells):
    "Name of the module that the notebook makes, or None"
    return next((m[1] for m in (re.search(r'^#\|\s*default_exp\s+(\S+)', c, re.M) for c in cells) if m), None)

def parse(src):
    "Syntax tree of a cell, without the lines that only Jupyter understands"
    return ast.parse(re.sub(r'^(\s*)[%!].*$', r'\1pass', src, flags=re.M))

def own_imports(tree):
    "Our own modules that are imported under `tree`, at any depth"
    out = set()
    for o in ast.walk(tree):
        if isinstance(o, ast.Import): out |= {a.name for a in o.names if a.name.split('.')[0]==PACKAGE}
        elif isinstance(o, ast.ImportFrom):
            base = '.'.join(filter(None, [PACKAGE if o.level else '', o.module]))
            if base==PACKAGE: out |= {f'{PACKAGE}.{a.name}' for a in o.names}
            elif base.startswith(PACKAGE+'.'): out.add(base)
    return {m.split('.')[1] for m in out if '.' in m and not m.endswith('__')} # __version__ belongs to the package itself

def top_imports(tree):
    "The same, but not inside functions"
    return set().union(*(own_imports(o) for o in tree.body if not isinstance(o, (ast.FunctionDef, ast.AsyncFunctionDef))))

def violations(notebooks):
    "What is wrong with the imports of `notebooks`, a dict from file stem, such as 02_mel, to the list of code cells"
    number = {default_exp(cells): stem.split('_')[0] for stem,cells in notebooks.items() if re.match(r'\d\d[a-z]?_', stem) and default_exp(cells)} # 05 < 05a < 06
    out = []
    for stem,cells in notebooks.items():
        me = default_exp(cells)
        if me not in number: continue
        for src in cells:
            tree = parse(src)
            for m in sorted(own_imports(tree)):
                if m==me and not is_exported(src): continue # an example whose child process needs functions that can be imported
                if m not in number: out.append(f'{stem} imports {m}, which no numbered notebook makes')
                elif number[m]>=number[me]: out.append(f'{stem} imports {m}, which is number {number[m]}')
                elif is_exported(src) and m in NEVER.get(me, '').split(): out.append(f'{stem} must never import {m}')
            if me=='cli' and is_exported(src) and top_imports(tree): out.append(f'{stem} imports {sorted(top_imports(tree))} outside a function')
    return out

def imported_names(path):
    "First name of every module that a Python file imports, at any depth"
    tree = ast.parse(path.read_text(encoding='utf-8'))
    names = [a.name for o in ast.walk(tree) if isinstance(o, ast.Import) for a in o.names]
    names += [o.module for o in ast.walk(tree) if isinstance(o, ast.ImportFrom) and o.module and not o.level]
    return {n.split('.')[0] for n in names}

notebooks = {p.stem: code_cells(p) for p in sorted((ROOT/'nbs').glob('[0-9]*.ipynb'))}
modules = [p for p in sorted((ROOT/PACKAGE).glob('*.py')) if p.name!='_modidx.py']

def test_layers():
    assert violations(notebooks)==[]

def test_every_module_has_its_notebook():
    "nbdev leaves the module of a notebook that was removed or renamed"
    made = {f'{default_exp(cells)}.py' for cells in notebooks.values() if default_exp(cells)} | {'__init__.py'}
    assert {p.name for p in modules}==made

@pytest.mark.parametrize('path', modules, ids=lambda p: p.stem)
def test_runs_without_nbdev(path):
    assert not imported_names(path) & {'nbdev', 'execnb', 'ghapi', 'jupyter', 'kaggle', 'pytest'}

def cells(name, *srcs): return [f'#| default_exp {name}', *srcs]

@pytest.mark.parametrize('src', ['from hifigan_ruslan.mel import LogMel', 'from .mel import LogMel', 'from . import mel', 'import hifigan_ruslan.mel as m',
                                 'from hifigan_ruslan import config, mel', 'def f():\n    from hifigan_ruslan.mel import LogMel', '%matplotlib inline\nfrom .mel import *'])
def test_checker_sees_an_import_from_above(src):
    nbs = {'00_config': cells('config', '#| export\n'+src), '02_mel': cells('mel', '#| export\nfrom hifigan_ruslan.config import V1')}
    assert any('00_config imports mel, which is number 02' in v for v in violations(nbs))
    assert violations({'00_config': cells('config'), '02_mel': nbs['02_mel']})==[]

def test_checker_sees_the_other_rules():
    base = {'00_config': cells('config'), '06_train': cells('train')}
    assert violations(base | {'07_vocoder': cells('vocoder', '#| export\nfrom .train import fit')})==['07_vocoder must never import train']
    assert violations(base | {'07_vocoder': cells('vocoder', 'from hifigan_ruslan.train import fit')})==[] # an example may
    assert violations(base | {'11_cli': cells('cli', '#| export\nfrom .train import fit')})==["11_cli imports ['train'] outside a function"]
    assert violations(base | {'11_cli': cells('cli', '#| export\ndef f():\n    from .train import fit')})==[]
    assert violations(base | {'11_cli': cells('cli', '#| export\nfrom .tarin import fit')})[0]=='11_cli imports tarin, which no numbered notebook makes'
    assert violations({'02_mel': cells('mel', '#| export\nfrom hifigan_ruslan.mel import LogMel')})==['02_mel imports mel, which is number 02']
    assert violations({'02_mel': cells('mel', 'import hifigan_ruslan.mel', '#| export\nfrom hifigan_ruslan import __version__')})==[]

def test_checker_sees_nbdev(tmp_path):
    (tmp_path/'a.py').write_text('def f():\n    from nbdev.showdoc import show_doc\n')
    assert imported_names(tmp_path/'a.py')=={'nbdev'}

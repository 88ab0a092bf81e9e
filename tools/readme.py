"""Render README.md from nbs/index.ipynb, and README.ru.md from nbs/index_ru.ipynb.

    python tools/readme.py           write both
    python tools/readme.py --check   only compare: exit status 1 and a diff when one is stale
"""
import difflib, json, re, sys
from pathlib import Path
from fastcore.script import call_parse

ROOT = Path(__file__).parent.parent
DIRECTIVE = re.compile(r'^#\|\s*(\w+).*\n?', re.M)
# `site`: what only the documentation site can show, such as a player
HIDDEN = {'hide', 'export', 'exporti', 'default_exp', 'site'}
PAGES = {'index.ipynb': 'README.md', 'index_ru.ipynb': 'README.ru.md'}
LINK = re.compile(r'(\]\()(\w+\.ipynb)') # to a neighbouring notebook, which from README.md lies in nbs/

def at_root(md):
    "Markdown of a notebook with its links as they are from the root of the repository"
    md = LINK.sub(lambda m: m[1]+PAGES.get(m[2], f'nbs/{m[2]}'), md)
    md = re.sub(r'\]\((images|sounds)/', r'](nbs/\1/', md)
    return md.replace('](../', '](')

def cell_md(cell):
    "Markdown of one notebook cell, empty for a hidden one"
    src = ''.join(cell['source']).strip('\n')
    if cell['cell_type']=='markdown': return at_root(src)
    if cell['cell_type']!='code' or HIDDEN & set(DIRECTIVE.findall(src)): return ''
    code = DIRECTIVE.sub('', src).strip('\n')
    return f'```python\n{code}\n```' if code else ''

def render(path):
    "README text of the notebook at `path`"
    cells = json.loads(Path(path).read_text(encoding='utf-8'))['cells']
    head = f'<!-- Made from nbs/{Path(path).name} by tools/readme.py: edit the notebook, not this file -->'
    return '\n\n'.join([head, *filter(None, map(cell_md, cells))]) + '\n'

def stale(old, new, name, notebook):
    "Unified diff from the README that is there to the one that should be; empty when they are equal"
    return list(difflib.unified_diff(old.splitlines(), new.splitlines(), name, f'from nbs/{notebook}',
                                     lineterm='', n=1))

@call_parse
def main(
    check:bool=False, # Write nothing, fail when a README is stale
    readme:str=None, # Write or check only this file, from index.ipynb; default: README.md and README.ru.md
):
    "Render README.md from index.ipynb, and README.ru.md from index_ru.ipynb"
    late = []
    for source,readme in ({'index.ipynb': Path(readme)} if readme else {k: ROOT/v for k,v in PAGES.items()}).items():
        new = render(ROOT/'nbs'/source)
        if not check: readme.write_text(new, encoding='utf-8', newline='\n'); continue
        diff = stale(readme.read_text(encoding='utf-8') if readme.exists() else '', new, readme.name, source)
        print('\n'.join(diff[:40]) if diff else f'{readme.name} is fresh')
        if diff: late.append(f'{readme.name} is stale ({len(diff)} lines of diff)')
    if late: sys.exit(f'{", ".join(late)}: run python tools/readme.py')

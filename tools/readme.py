"""Render README.md from nbs/index.ipynb.

    python tools/readme.py           write README.md
    python tools/readme.py --check   only compare: exit status 1 and a diff when README.md is stale
"""
import difflib, json, re, sys
from pathlib import Path
from fastcore.script import call_parse

ROOT = Path(__file__).parent.parent
DIRECTIVE = re.compile(r'^#\|\s*(\w+).*\n?', re.M)
HIDDEN = {'hide', 'export', 'exporti', 'default_exp'}
LINK = re.compile(r'(\]\()(\w+\.ipynb)') # to a neighbouring notebook, which from README.md lies in nbs/

def cell_md(cell):
    "Markdown of one notebook cell, empty for a hidden one"
    src = ''.join(cell['source']).strip('\n')
    if cell['cell_type']=='markdown': return LINK.sub(r'\1nbs/\2', src)
    if cell['cell_type']!='code' or HIDDEN & set(DIRECTIVE.findall(src)): return ''
    code = DIRECTIVE.sub('', src).strip('\n')
    return f'```python\n{code}\n```' if code else ''

def render(path):
    "README text of the notebook at `path`"
    cells = json.loads(Path(path).read_text(encoding='utf-8'))['cells']
    head = '<!-- Made from nbs/index.ipynb by tools/readme.py: edit the notebook, not this file -->'
    return '\n\n'.join([head, *filter(None, map(cell_md, cells))]) + '\n'

def stale(old, new):
    "Unified diff from the README that is there to the one that should be; empty when they are equal"
    return list(difflib.unified_diff(old.splitlines(), new.splitlines(), 'README.md', 'from nbs/index.ipynb', lineterm='', n=1))

@call_parse
def main(
    check:bool=False, # Write nothing, fail when README.md is stale
    notebook:str=str(ROOT/'nbs'/'index.ipynb'), # Where the text is
    readme:str=str(ROOT/'README.md'), # Where it goes
):
    "Render README.md from index.ipynb"
    new, readme = render(notebook), Path(readme)
    if not check: return readme.write_text(new, encoding='utf-8', newline='\n') and None
    diff = stale(readme.read_text(encoding='utf-8') if readme.exists() else '', new)
    if diff:
        print('\n'.join(diff[:40]))
        sys.exit(f'{readme.name} is stale ({len(diff)} lines of diff): run python tools/readme.py')
    print(f'{readme.name} is fresh')

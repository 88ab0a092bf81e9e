"""A notebook as plain text, cell by cell, so that `git diff`, `git log -p` and `git show` speak of lines of code and
prose and not of JSON.

Once in a clone, whose .gitattributes names the notebooks:

    git config diff.notebook.textconv 'python3 tools/nb_text.py'

Outputs are a line each: their kind, and their text or size."""
import json, sys

LONGEST = 300 # Characters of an output's text

def output_line(o):
    "What a cell has shown, in a line"
    if o['output_type']=='error': return f"-> error {o['ename']}: {o['evalue']}"
    if o['output_type']=='stream': return f"-> {o['name']}: {short(o['text'])}"
    return '-> ' + ', '.join(f'{kind}: {short(data)}' for kind,data in o['data'].items())

def as_text(data):
    "A text, the lines of one, or JSON"
    if isinstance(data, str): return data
    return ''.join(data) if isinstance(data, list) else json.dumps(data, sort_keys=True)

def short(data):
    "Text in a line; of what is long, the size"
    text = as_text(data)
    return text.strip().replace('\n', '\n   ') if len(text)<=LONGEST else f'{len(text):,} characters'

def cell_text(cell):
    "A cell under a line that names it"
    lines = [f"---- {cell['cell_type']} {cell.get('id', '')}".rstrip(), ''.join(cell['source'])]
    return '\n'.join(lines + [output_line(o) for o in cell.get('outputs', ())])

def notebook_text(text):
    "The whole notebook; what is none, such as one with conflict marks in it, stays as it is"
    try: return '\n\n'.join(map(cell_text, json.loads(text)['cells'])) + '\n'
    except (ValueError, KeyError, TypeError): return text

if __name__=='__main__':
    with open(sys.argv[1], encoding='utf-8', errors='replace') as f: text = f.read()
    sys.stdout.write(notebook_text(text))

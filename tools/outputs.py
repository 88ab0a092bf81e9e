"""The outputs that eight notebooks keep, so that they show something on the repository's page: small pictures, numbers
and short sounds.

    python tools/outputs.py                  run the eight chapters and keep what they show; one whose outputs are
                                             still true is left as it is
    python tools/outputs.py --only mel,step  only these

What changes from run to run (addresses, folders for a day, times and speeds) is taken out. Two outputs count as the
same if their words are the same, their numbers differ by less than 2 % (or .02) and their pictures by less than a
shade: another processor rounds in another way. A training makes more of that with every step (measured: 10 % after 24
steps), so a cell that begins with `#| trains` has the same words, numbers of the same size and pictures as large. So a
second run leaves no diff, and tools/build_docs.py, which runs every notebook anyway, says which chapter is stale, and
in what."""
import base64, difflib, io, json, os, re, sys
from html import unescape
from pathlib import Path
import nbformat, numpy as np, soundfile as sf
from fastcore.script import call_parse
from PIL import Image

ROOT = Path(__file__).parent.parent.absolute()
CHAPTERS = 'story mel generator discriminators losses step train calibration'.split()
MOST = 300_000 # Bytes of all outputs of a chapter, in the file
HIDDEN = re.compile(r'^#\|\s*(hide|default_exp|export|exporti|test_only|include: *false|output: *false)\b', re.M)
TRAINS = re.compile(r'^#\|\s*trains\b', re.M)
VOLATILE = [(re.compile(p), r) for p,r in (
    (r'0x[0-9a-f]{6,}', '0x…'), (r'/tmp/[\w./-]*', '/tmp/…'), (r'\b\d+:\d\d:\d\d left', '… left'),
    (r'\b[\d.,]+ (steps|s of audio)/s', r'… \1/s'), (r'(waiting for data )[\d.]+ ?%', r'\1…'),
    (r'\b[\d.,]+ (s|ms|min|h)\b(?= (?:a step|alone|in all|for|of training))', r'… \1'))]
NUMBER = re.compile(r'-?(?:\d+(?:[.,]\d+)*|\.\d+)(?:e[+-]?\d+)?') # also -.03
TEXT, PICTURE = ('text/plain', 'text/html', 'text/markdown'), 'image/png'

def path_of(chapter):
    "mel -> nbs/20_mel.ipynb"
    return next((ROOT/'nbs').glob(f'[0-9][0-9]_{chapter}.ipynb'))

def shows(cell):
    "Is it a code cell whose outputs a reader sees?"
    return cell['cell_type']=='code' and not HIDDEN.search(''.join(cell['source']))

# Cleaning

def text_of(x): return x if isinstance(x, str) else ''.join(x)

def settled(text):
    "A text without what changes from run to run"
    for pattern,new in VOLATILE: text = pattern.sub(new, text)
    return text

def opened(png): return Image.open(io.BytesIO(base64.b64decode(png)))

def small_picture(data):
    "A PNG in at most 40 colours, in its own size or at most 640 pixels wide, whichever takes less, as base64"
    picture = opened(data).convert('RGB')
    narrow = picture.resize((640, round(640*picture.height/picture.width)), Image.Resampling.LANCZOS)
    sizes = [p for p in (picture, narrow) if p.width<=picture.width]
    return min((as_png(p.quantize(40, dither=Image.Dither.NONE)) for p in sizes), key=len)

def as_png(picture):
    out = io.BytesIO()
    picture.save(out, 'PNG', optimize=True)
    return base64.b64encode(out.getvalue()).decode()

def as_mp3(sound):
    "A sound file in base64 as a link that holds its MP3, some tenth of the size"
    wave, rate = sf.read(io.BytesIO(base64.b64decode(sound)))
    out = io.BytesIO()
    sf.write(out, wave, rate, format='MP3', subtype='MPEG_LAYER_III', compression_level=.5)
    return f'data:audio/mpeg;base64,{base64.b64encode(out.getvalue()).decode()}'

def small_sounds(html):
    "HTML with its sounds as MP3; of the player, which needs a frame and a script, a plain player for each track"
    if 'srcdoc=' in html and (inside := re.search(r'application/json">(\[.*?\])</script>', unescape(html), re.S)):
        names = re.findall(r'data-name="(.*?)"', unescape(html))
        tracks = zip(names, json.loads(inside[1]), strict=True)
        return '\n'.join(f'<div>{name}: <audio controls src="{as_mp3(sound)}"></audio></div>' for name,sound in tracks)
    html = re.sub(r'data:audio/(?:x-)?wav;base64,([A-Za-z0-9+/=]+)', lambda m: as_mp3(m[1]), html)
    return html.replace('type="audio/wav"', 'type="audio/mpeg"')

def kept_data(data):
    "Of what a cell displays: the texts, or a picture with its plain text"
    texts = {k: small_sounds(settled(text_of(v))) for k,v in data.items() if k in TEXT}
    if PICTURE not in data: return texts
    return {PICTURE: small_picture(text_of(data[PICTURE])), 'text/plain': texts.get('text/plain', '')}

def cleaned(outputs):
    "Outputs as they are kept: streams of one kind as one, no errors output, no widget, no counts"
    out = []
    for o in outputs:
        if o['output_type']=='stream' and o['name']=='stdout':
            out.append(dict(output_type='stream', name='stdout', text=settled(text_of(o['text']))))
        elif o['output_type'] in ('display_data', 'execute_result'):
            if data := kept_data(o['data']): out.append(dict(output_type='display_data', data=data, metadata={}))
    return joined(out)

def joined(outputs):
    "Neighbouring pieces of a stream as one"
    out = []
    for o in outputs:
        if out and o['output_type']==out[-1]['output_type']=='stream':
            out[-1] = out[-1] | dict(text=out[-1]['text']+o['text'])
        else: out.append(o)
    return out

def in_lines(outputs):
    "As nbformat writes them: texts as lists of lines"
    def lines(s): return s.splitlines(keepends=True)
    def data(d): return {k: v if k==PICTURE else lines(v) for k,v in d.items()}
    def content(o): return dict(text=lines(o['text'])) if 'text' in o else dict(data=data(o['data']))
    return [o | content(o) for o in outputs]

# Comparing

def numbers(text): return [float(n.replace(',', '')) for n in NUMBER.findall(text) if n.count('.')<2]

def same_text(a, b, eps=.02):
    "Equal but for numbers that are close"
    if NUMBER.sub('#', a)!=NUMBER.sub('#', b): return False
    x, y = numbers(a), numbers(b)
    return len(x)==len(y) and all(abs(p-q)<=eps*max(abs(p), abs(q), 1) for p,q in zip(x, y))

def same_picture(a, b, trained=False):
    "Of one size, and unless a training drew them, alike but for a shade: a mean difference of 6 of 255"
    x, y = (np.asarray(opened(o).convert('RGB'), float) for o in (a, b))
    return x.shape==y.shape and (trained or np.abs(x-y).mean()<6)

def same_output(a, b, trained=False):
    "Do two outputs say the same? Of a training: as far as two processors can"
    eps = .5 if trained else .02
    if a['output_type']!=b['output_type']: return False
    if 'text' in a: return same_text(text_of(a['text']), text_of(b['text']), eps)
    if a['data'].keys()!=b['data'].keys(): return False
    if PICTURE in a['data']: return same_picture(a['data'][PICTURE], b['data'][PICTURE], trained)
    return all(same_html(text_of(a['data'][k]), text_of(b['data'][k]), eps) for k in a['data'])

def same_html(a, b, eps):
    "As texts; sounds and pictures that are inside only by their size"
    inside = re.compile(r'data:[\w/+-]+;base64,([A-Za-z0-9+/=]+)')
    sizes = [[len(o) for o in inside.findall(s)] for s in (a, b)]
    if len(sizes[0])!=len(sizes[1]) or any(abs(p-q)>.1*max(p, q) for p,q in zip(*sizes)): return False
    return same_text(inside.sub('', a), inside.sub('', b), eps)

def same_outputs(old, new, trained):
    return len(old)==len(new) and all(same_output(a, b, trained) for a,b in zip(old, new))

def in_words(outputs):
    "What outputs say, in lines; a picture as its size"
    def size(png): return 'a picture of %d x %d' % opened(png).size
    def words(o):
        if 'text' in o: return text_of(o['text'])
        return '\n'.join(size(v) if k==PICTURE else text_of(v) for k,v in o['data'].items())
    return '\n'.join(map(words, outputs)).splitlines()

def difference(old, new):
    "The first eight lines in which two lists of outputs differ, each of at most 300 characters"
    lines = [l for l in difflib.ndiff(in_words(old), in_words(new)) if l[:2] in ('- ', '+ ')]
    return '\n'.join(l[:300] for l in lines[:8]) or 'a picture looks different'

def stale(stored, fresh):
    """The cells whose kept outputs are not what a run shows now: each as its source, and in what they differ (- kept,
    + now); both are lists of cells"""
    def wanted(cell): return cleaned(cell.get('outputs', ())) if shows(cell) else []
    now = {c['id']: wanted(c) for c in fresh if c['cell_type']=='code'}
    out = []
    for c in (c for c in stored if c['cell_type']=='code'):
        source, new = text_of(c['source']), now.get(c['id'], [])
        if not same_outputs(c['outputs'], new, bool(TRAINS.search(source))):
            out.append(f'{source}\n\n{difference(c["outputs"], new)}')
    return out

def kept(stored, fresh):
    "The stored cells with the outputs of a run"
    now = {c['id']: c for c in fresh if c['cell_type']=='code'}
    def shown(c): return shows(c) and c['id'] in now
    def outputs(c): return in_lines(cleaned(now[c['id']].get('outputs', ()))) if shown(c) else []
    return [c | dict(outputs=outputs(c)) if c['cell_type']=='code' else c for c in stored]

# Running

def run(path):
    "The cells of a notebook after a run, as the documentation runs it"
    from build_docs import execute
    from nbdev.config import get_config
    nb = nbformat.read(path, 4)
    for c in nb.cells: c.outputs = [] if c.cell_type=='code' else c.get('outputs', [])
    execute(nb, path, set(get_config().tst_flags.split()))
    return json.loads(nbformat.writes(nb))['cells']

def renew(path):
    "Run a chapter and keep its outputs; a line about what was done"
    nb = json.loads(path.read_text(encoding='utf-8'))
    fresh = run(path)
    if not stale(nb['cells'], fresh): return f'{path.name}: still true'
    nb['cells'] = kept(nb['cells'], fresh)
    size = len(json.dumps([c['outputs'] for c in nb['cells'] if c['cell_type']=='code']))
    if size>MOST:
        sys.exit(f'{path.name}: its outputs would take {size:,} bytes, and {MOST:,} are the most: '
                 'show fewer or smaller pictures')
    path.write_text(json.dumps(nb, ensure_ascii=False, indent=1, sort_keys=True)+'\n', encoding='utf-8')
    return f'{path.name}: outputs kept, {size:,} bytes'

@call_parse
def main(
    only:str='' # Chapters, with commas between them: mel,step; default: all eight
):
    "Keep the outputs of the chapters that are read on the repository's page"
    from build_docs import set_environment
    os.chdir(ROOT)
    set_environment(jobs=1)
    names = only.split(',') if only else CHAPTERS
    if unknown := set(names)-set(CHAPTERS):
        sys.exit(f'{", ".join(sorted(unknown))}: outputs are kept by {", ".join(CHAPTERS)}')
    for name in names: print(renew(path_of(name)), flush=True)

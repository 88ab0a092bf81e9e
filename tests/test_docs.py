"The documentation: its guides, its links, and what the package exports"
import hashlib, inspect, re, sys
from pathlib import Path
import nbformat, pytest
from hifigan_ruslan import cli
from hifigan_ruslan.config import Config
from hifigan_ruslan.kaggle.session import Session
from hifigan_ruslan.metrics import NoValue
from hifigan_ruslan.vocoder import Vocoder
from nbformat.v4 import new_code_cell, new_notebook

ROOT = Path(__file__).parent.parent
GUIDES = sorted((ROOT/'docs'/'pages').glob('*.md'))
sys.path.insert(0, str(ROOT/'tools'))
import api_entry, build_docs, check_docs

def test_no_gap_in_the_documentation_of_the_package():
    assert list(check_docs.gaps())==[]

def site(tmp_path, **pages):
    for name,html in pages.items(): (tmp_path/f'{name}.html').write_text(html, encoding='utf-8')
    return {p: check_docs.Page(p.read_text(encoding='utf-8')) for p in sorted(tmp_path.glob('*.html'))}

def test_dead_links_are_seen(tmp_path):
    (tmp_path/'clip.wav').write_bytes(b'')
    good = ('<h1 id="top">a</h1><a href="b.html#me">b</a><a href="#top">top</a><audio src="clip.wav"></audio>'
            '<img src="data:image/png;base64,AA"><a href="https://x.org/y">x</a>')
    bad = ('<h1 id="me">b</h1><a href="no.html">1</a><a href="a.html#no">2</a><a href="#no">3</a>'
           '<img src="no.png?v=1"><audio><source src="no.wav"></audio><a href="../a">6</a>')
    pages = site(tmp_path, a=good, b=bad)
    dead = check_docs.dead_links(pages, tmp_path)
    assert [d.split()[1].rstrip(':') for d in dead]==['no.html', 'a.html#no', '#no', 'no.png?v=1', 'no.wav', '../a']
    assert all(d.startswith('b.html: ') for d in dead)
    assert check_docs.outside(pages)=={'https://x.org/y': 1}

def test_what_is_fetched_from_elsewhere_is_seen(tmp_path):
    page = ('<link rel="canonical" href="https://x.org"><link rel="stylesheet" href="https://x.org/a.css">'
            '<a href="https://x.org/b">b</a><script src="//x.org/c.js"></script><img src="d.png">'
            '<audio src="https://x.org/e.wav"></audio>')
    fetched = check_docs.fetched(site(tmp_path, a=page), tmp_path)
    assert [f.split()[1] for f in fetched]==['https://x.org/a.css', '//x.org/c.js', 'https://x.org/e.wav']

def test_text_is_what_one_reads():
    assert check_docs.Page('<p>a <b>bold</b></p><script>var hidden</script><p>end</p>').text=='a boldend'

def test_names_missing_from_a_site_are_seen(tmp_path):
    missing = check_docs.missing({}, tmp_path)
    assert 'hifigan_ruslan.mel.LogMel does not stand on mel.html' in missing
    assert len(missing)==len(list(check_docs.exported()))

RUSSIAN = [p for p in GUIDES if p.stem.endswith('_ru')]

def test_guides_are_those_of_the_menu():
    named = [*build_docs.GUIDES, *(f'{g}_ru' for g in build_docs.TRANSLATED)]
    assert sorted(p.stem for p in GUIDES)==sorted(named)

@pytest.mark.parametrize('path', RUSSIAN, ids=lambda p: p.stem)
def test_a_translation_is_as_new_as_its_original(path):
    "And has the same headings, commands and links; its first line has the hash of what was translated"
    text, original = path.read_text(encoding='utf-8'), path.with_name(f'{path.stem[:-3]}.md')
    digest = hashlib.sha256(original.read_bytes()).hexdigest()[:12]
    assert f'{original.name}, {digest}' in text.split('\n')[0], f'bring {path} up to date, then write {digest} there'
    assert shape(text)==shape(original.read_text(encoding='utf-8'))

def shape(md):
    "Levels of the headings, commands without comments, pages that are linked to in either language"
    blocks = [re.sub(r' +(#|//) .*', '', b) for b in re.findall(r'^```.*?^```', md, re.M|re.S)]
    rest = re.sub(r'^```.*?^```', '', md, flags=re.M|re.S)
    links = sorted(re.sub(r'_ru(?=\.)', '', l) for l in re.findall(r'\]\(([^)#]+)', rest))
    return re.findall(r'^#+', rest, re.M), blocks, links

def test_what_a_translation_has_left_out_is_seen():
    assert shape('# a\n```sh\nls # b\n```\n[c](d.md#e)')==shape('# а\n```sh\nls # б\n```\n[в](d_ru.md#д)')
    assert shape('```js\nf()  // a\n```')==shape('```js\nf()  // б\n```')!=shape('```js\ng()\n```')
    assert shape('# a\n## b')!=shape('# а') and shape('[a](b)')!=shape('a')

@pytest.mark.parametrize('path', GUIDES, ids=lambda p: p.stem)
def test_links_of_a_guide_work_in_the_repository(path):
    local = [l for l in re.findall(r'\]\(([^)#]+)', path.read_text(encoding='utf-8')) if '://' not in l]
    assert [l for l in local if not (path.parent/l).exists()]==[]

def test_links_in_the_site():
    assert build_docs.guide('[a](../../nbs/20_mel.ipynb#logmel) [b](tts.md)')=='[a](../mel.ipynb#logmel) [b](tts.md)'
    assert build_docs.relink('[a](../docs/pages/tts.md) [b](20_mel.ipynb)',
                             'https://x.org/')=='[a](guides/tts.md) [b](mel.ipynb)'

# the run of the notebooks

def ran(tmp_path, *sources):
    "A notebook of these code cells, run as the site runs it"
    nb = new_notebook(cells=[new_code_cell(s) for s in sources])
    build_docs.execute(nb, tmp_path/'nb.ipynb', {'slow'})
    return nb.cells

def test_outputs_of_a_page(tmp_path):
    "In the notebook's folder, cell by cell; what is not for the site is left alone"
    *_, shown, text = ran(tmp_path, '#| test_only\nraise ValueError', '#| slow\nraise ValueError',
                          'from pathlib import Path\nprint("a\\nb"); Path.cwd()', 'print("c")')
    assert [o.get('text') or o.data['text/plain'] for o in shown.outputs]==['a\nb\n', f'{tmp_path!r}']
    assert text.outputs[0].text=='c\n'

def test_a_page_that_fails(tmp_path):
    with pytest.raises(SystemExit, match=r'(?s)nb.ipynb failed in the cell.*1/0.*ZeroDivisionError'):
        ran(tmp_path, '1/0')

def test_what_the_site_does_not_run_has_nothing_to_show():
    for p in sorted((ROOT/'nbs').glob('*.ipynb')):
        for c in nbformat.read(p, 4).cells:
            if 'test_only' in build_docs.directives(c):
                shows = c.outputs or re.search(r'^(plt|display|print)', c.source, re.M)
                assert not shows, f'{p.name}: {c.source[:200]}'

# the entries of the API

def test_entry_of_a_function():
    "Its signature, and a table in which nothing is taken for markup"
    def f(a:int, # Of *all*, in `code_x`, [0, 1]
          b:str|None=None, # _b_ | c
          *,
          quick:bool=False # Faster
         )->bytes: # (B, T)
        "Does <this>"
    md = api_entry.entry('f', f)
    assert '```python\nf(a, b=None, *, quick=False)->bytes\n```' in md and r'Does \<this>' in md
    assert r'| `a` | `int` |  | Of \*all\*, in `code_x`, \[0, 1\] |' in md
    assert r'| `b` | `str \| None` | `None` | \_b\_ \| c |' in md
    assert '| returns | `bytes` |  | (B, T) |' in md and '```{api} function f\n```' in md

def test_entry_of_a_class_has_its_methods_and_fields():
    assert '```{api} attribute Config.segment_size\n```' in api_entry.entry('Config', Config)
    assert '| `segment_size` | `int` | `8192` | Samples of a training segment |' in api_entry.entry('Config', Config)
    md = api_entry.entry('Vocoder', Vocoder)
    assert all(f'**Vocoder.{k}**' in md for k in ('load', 'vocode', 'stream', 'resynthesize')) and 'Vocoder._' not in md
    assert '```python\nclass NoValue(Exception)\n```' in api_entry.entry('NoValue', NoValue)
    assert '| `resume` | `flag` |' in api_entry.entry('train_cli', cli.train_cli)

def test_entry_of_a_method_in_a_cell_of_its_own():
    "Under fastcore's patch, a property too"
    start, mel = api_entry.Entry(Session.start)._repr_markdown_(), api_entry.Entry(Vocoder.mel)._repr_markdown_()
    assert start.startswith('### Session.start\n\n```{api} property Session.start\n```\n\n**start**: `dict`\n\n')
    assert '```{api} method Vocoder.mel\n```\n\n```python\nmel(wav, sample_rate)->Tensor\n```' in mel

# the commands in the guides

BLOCKS = [(p.stem, b) for p in GUIDES
          for b in re.findall(r'^```sh\n(.*?)^```', p.read_text(encoding='utf-8'), re.M|re.S)]

def known_options(name):
    "Options of a command, such as train, or of an action of hifigan-kaggle, such as kaggle train"
    action = name.removeprefix('kaggle ')
    f = cli.kaggle_actions()[action] if action!=name else getattr(cli, f'{name}_cli')
    return set(inspect.signature(inspect.unwrap(f)).parameters) | {'help'}

def used(block):
    "(command or action, options) of each of our commands in a block"
    for line in block.splitlines():
        for m in re.finditer(r'hifigan-(\w+)([^|#]*)', line):
            words = re.sub(r"'[^']*'", '', m[2]).split()
            # hifigan-kaggle takes either
            options = [w[2:].replace('-', '_') for w in words if w.startswith('--')]
            yield (f'kaggle {words[0]}' if m[1]=='kaggle' else m[1]), options

@pytest.mark.parametrize('guide,block', BLOCKS, ids=[f'{g}-{i}' for i,(g,_) in enumerate(BLOCKS)])
def test_commands_in_the_guides_have_the_options_that_are_named(guide, block):
    for name,options in used(block): assert set(options)<=known_options(name), f'{guide}: {name}'

def test_an_option_that_is_not_there_is_seen():
    block = "hifigan-train a b --preset V1 --train '--x 1' | hifigan-kaggle push --minuts 3"
    assert list(used(block))==[('train', ['preset', 'train']), ('kaggle push', ['minuts'])]
    assert 'preset' in known_options('train') and 'minuts' not in known_options('kaggle push')
    assert 'until' in known_options('kaggle train') and 'until' not in known_options('train')

def test_a_picture_is_called_by_its_section_and_not_by_its_file(tmp_path):
    (tmp_path/'a.html').write_text('<h2>A &amp; B<a class="headerlink">¶</a></h2><img alt="_images/0f.png" src="x">'
                                   '<img alt="../_images/1f.png"><h3>C</h3><img alt="_images/2f.png"><img alt="said">',
                                   encoding='utf-8')
    build_docs.name_pictures(tmp_path)
    text = (tmp_path/'a.html').read_text(encoding='utf-8')
    assert re.findall('alt="(.*?)"', text)==['A &amp; B, 1', 'A &amp; B, 2', 'C, 1', 'said']

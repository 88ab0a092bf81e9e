"""The Russian side of the story: its code is the English code, but for the cell of the words, and everything that a
picture or a table says goes through these words"""
import ast, re, sys
from pathlib import Path
import nbformat
from test_docs import shape

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT/'tools'))
import build_docs

WORDS = '57030020' # The cell that differs
SUFFIX = '-ru' # Of the ids of the Russian cells
CYRILLIC = re.compile('[а-яё]', re.I)
KEYWORDS = {'xlabel', 'ylabel', 'title', 'label'} # What a reader sees of a call
WRITERS = {'set_title', 'set_xlabel', 'set_ylabel', 'legend', 'text', 'suptitle', 'annotate', 'print', 'Track'}

def cells_of(name): return nbformat.read(ROOT/'nbs'/f'{name}.ipynb', 4).cells

english, russian = cells_of('00_story'), cells_of('00_story_ru')

def differences(english, russian):
    "Where two sides of a notebook are not of one shape, cell by cell"
    if len(english)!=len(russian): yield f'{len(english)} cells in English, {len(russian)} in Russian'
    for e,r in zip(english, russian):
        if r.id!=e.id+SUFFIX: yield f'{e.id}{SUFFIX} is expected, found {r.id}'
        if r.cell_type!=e.cell_type: yield f'{r.id} is {r.cell_type}, not {e.cell_type}'
        elif e.cell_type=='code':
            if e.id!=WORDS and r.source!=e.source: yield f'{r.id}: other code than in English'
        elif form(r.source)!=form(e.source): yield f'{r.id}: other headings, links or names in code than in English'
        elif not CYRILLIC.search(r.source): yield f'{r.id} is not in Russian'

def form(md):
    "Headings, links and what stands in backquotes, in whatever order the language wants"
    return shape(md), sorted(re.findall(r'`[^`]+`', md))

def test_both_sides_have_the_same_cells():
    assert list(differences(english, russian))==[]

def test_what_differs_is_seen():
    def changed(i, **kw): return [c if k!=i else nbformat.from_dict(c | kw) for k,c in enumerate(russian)]
    def said(cells): return ' '.join(differences(english, cells))
    at = {c.id: i for i,c in enumerate(english)}
    assert 'other code' in said(changed(at['57030003'], source='cfg = None'))
    assert 'other headings' in said(changed(at['57030005'], source=russian[at['57030005']].source.replace('##', '###')))
    assert 'not in Russian' in said(changed(at['57030009'], source=english[at['57030009']].source))
    assert 'other headings' in said(changed(at['57030010'], source=russian[at['57030010']].source.replace('22_', '2_')))
    assert 'cells in English' in said(russian[:-1]) and 'is expected' in said(russian[1:])
    words = at[WORDS]
    assert said(changed(words, source='lang, words = "ru", {}'))==''

# Words

def words_of(cells):
    "Language and words, as the cell defines them"
    value = next(ast.parse(c.source).body[0].value for c in cells if c.id.removesuffix(SUFFIX)==WORDS)
    return ast.literal_eval(value)

def is_say(node): return isinstance(node, ast.Call) and getattr(node.func, 'id', '')=='say'

def said(src):
    "Texts that the code of a cell gives to `say`"
    return {o.args[0].value for o in ast.walk(ast.parse(src)) if is_say(o) and isinstance(o.args[0], ast.Constant)}

def texts(node):
    "Words in an expression that do not go through `say`; what is only compared or looked up is no text"
    if is_say(node) or isinstance(node, (ast.Compare, ast.Subscript)): return
    if isinstance(node, ast.Constant):
        if isinstance(node.value, str) and re.search('[a-zа-яё]', node.value, re.I): yield node.value
        return
    # of {x:6.2f} only x: a format is no text
    inside = [node.value] if isinstance(node, ast.FormattedValue) else ast.iter_child_nodes(node)
    for o in inside: yield from texts(o)

def unsaid(src):
    "Texts that a picture or a table would say in English on both pages"
    found = []
    for call in (o for o in ast.walk(ast.parse(src)) if isinstance(o, ast.Call)):
        seen = [k.value for k in call.keywords if k.arg in KEYWORDS]
        if getattr(call.func, 'attr', getattr(call.func, 'id', '')) in WRITERS: seen += call.args
        found += [t for o in seen for t in texts(o)]
    return found

code = [c.source for c in english if c.cell_type=='code']

def test_all_that_is_shown_goes_through_the_words():
    assert [t for src in code for t in unsaid(src)]==[]

def test_a_label_without_its_word_is_seen():
    assert unsaid("ax.set(xlabel='s', title=k)\nax.set_title(f'{n:6.2f} of it')")==['s', ' of it']
    assert unsaid("print(f'{say(n):12}')")==[] and unsaid("print('mean score')")==['mean score']
    assert unsaid("ax.set(ylabel=say('a') if n=='recording' else '')\nax.legend([say('a'), d['b']])")==[]

def test_every_word_is_translated_and_used():
    lang, own = words_of(russian)
    assert words_of(english)==('en', {}) and lang=='ru'
    parts = {'recording', 'untrained', 'step'} # Of the names of the waves
    assert own.keys()==set().union(parts, *map(said, code))
    assert all(map(CYRILLIC.search, own.values()))
    assert all(len(re.findall('{.*?}', k))==len(re.findall('{.*?}', v)) for k,v in own.items())

def test_names_of_the_waves_are_those_that_are_translated():
    "And fit into the first column of the tables"
    files = {p.stem.partition('_')[0] for p in (ROOT/'nbs'/'runs'/'voice'/'moments').glob('*.flac')}
    _, own = words_of(russian)
    assert files=={'recording', 'step'}
    assert all(len(own[k])<=12 for k in ('recording', 'untrained', 'mean score')) and len(own['step'])<=6

# The site

def test_the_site_has_it_among_the_russian_pages():
    menu = build_docs.menu_of(sorted((ROOT/'nbs').glob('*.ipynb')))
    russian_part = re.search(r':caption: По-русски\n(.*?)```', menu, re.S)[1].split('\n')
    assert 'story_ru' in russian_part and menu.count('story_ru')==1

def test_programs_read_the_english_side():
    notebooks = [ROOT/'nbs'/f'{n}.ipynb' for n in ('00_story', '00_story_ru', '01_config', 'index', 'index_ru')]
    text = build_docs.llms_txt(notebooks, [], 'https://x.org/')
    assert 'x.org/story.html' in text and 'x.org/config.html' in text and '_ru.html' not in text

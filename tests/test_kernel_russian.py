"""A kernel that speaks Russian: what its session says, what is written in it, and that each sentence is still said"""
import argparse, ast, contextlib, io, json, os, re, shutil, sys
from pathlib import Path
import numpy as np, pytest
from hifigan_ruslan.base.russian import RUSSIAN
from hifigan_ruslan.base.speech import own_words
from hifigan_ruslan.dataset.corpus import synth_corpus
from hifigan_ruslan.evaluation.compare import verdict
from hifigan_ruslan.kaggle import session as sessions
from hifigan_ruslan.kaggle.kernel import KERNEL, SOURCE, build, compiled, stale
from hifigan_ruslan.kaggle.progress import budget_table, in_a_sentence, outlook
from hifigan_ruslan.kaggle.session import Session, SessionFailed
from hifigan_ruslan.step import disc_health
import test_kernel
from test_kernel import attach, execute, slow

python = test_kernel.python # the fixture: a Python as it is there
ROOT = Path(__file__).parent.parent
SMALL = dict(upsample_initial_channel=32, disc_shrink=32, segment_size=2048, batch_size=2, valid_every=20)
# Names that are the same in Russian: of programs, files, settings and their values, units of Kaggle's editor
NAMES = set('''GPU CPU TPU CUDA T4 torch Python hifigan ruslan RUSLAN HiFi GAN mel PESQ kaggle Kaggle pull continue LANG
    PRESET CONFIG TRAIN MINUTES INIT CORPUS NEW RUN None True TINY SEED Settings Accelerator Add Input CC BY NC SA
    SpeechData voice universal feature matching lr LJSpeech daft exprt ParallelWaveGAN NeMo SIGTERM toy train begin
    SHA ffmpeg for do done in prepare bob OWNER NAME scratch generate gain push true many int cuda cpu backward'''.split())

def english(text):
    "What is left of a text that is in no other language: words that are no names, and stand in no path or quotation"
    bare = re.sub(r"'[^'\n]*'|\"[^\"\n]*\"|\{[^}\n]*\}|--?[a-z]\S*|\S*[/_.]\w\S*|\S*=\S*", ' ', text)
    return [w for w in re.findall(r'\b[A-Za-z]{2,}\b', bare) if w not in NAMES]

def test_english_is_seen():
    assert english('going on from /kaggle/working/run, step 40')=='going on from step'.split()
    assert english("Шаг 40, mel L1, 'a b', --lr 3, best.pt, CONFIG = {'epochs': 2}")==[]

def sitting(root, **kw):
    "All that a session says of itself, its error last; the lines of the training are not its own"
    with contextlib.redirect_stdout(io.StringIO()) as out, pytest.MonkeyPatch.context() as patch:
        patch.setattr(Session, '_line', lambda self, line: setattr(self, '_words', line))
        try: _all_steps(Session('TINY', minutes=50., config=SMALL, root=root, cpu=True, lang='ru', **kw))
        except SessionFailed as e: print(e)
    return out.getvalue()

def _all_steps(s):
    corpus = s.find()
    data = s.prepare(corpus)
    s.train(data)
    s.compare(data)
    s.export()
    s.page(corpus.texts)
    s.end()

@pytest.fixture(scope='module')
def first(tmp_path_factory):
    "Where a session of 20 steps was, and what it said"
    root = tmp_path_factory.mktemp('session')
    synth_corpus(root/'input/datasets/freezerainml/ruslan', n=12, seconds=1., sample_rate=22050)
    return root, sitting(root, train='--steps 20')

@pytest.fixture(scope='module')
def place(first): return first[0]

def own_lines(said):
    "Without the tree of what is attached, and the versions"
    return [l for l in said.splitlines() if not re.match(r' +\S+$|hifigan_ruslan \d', l)]

def all_russian(said):
    left = {line: words for line in own_lines(said) if (words := english(line))}
    assert left=={}

def page_words(root):
    page = (root/'working/index.html').read_text(encoding='utf-8')
    alts = re.findall(r'alt="(.*?)"', page)
    return page, re.sub(r'<style>.*?</style>|<[^>]*>', '\n', page, flags=re.S)+'\n'.join(alts)

def test_a_session_in_russian(first):
    "From the beginning to the end, and the page; the record stays English, for hifigan-kaggle"
    place, said = first
    all_russian(said)
    for words in ('проба на', 'записи: ', 'новое обучение', 'до шага 20', 'готовый генератор', 'обучено: Шаг 20',
                  'Дальше: hifigan-kaggle pull', 'reading_the_log_ru.md'): assert words in said, words
    page, words = page_words(place)
    assert '<html lang="ru">' in page and 'Кривые обучения' in words and 'спектрограмма: ' in words
    all_russian(words)
    record = json.loads((place/'working/session.json').read_text())
    assert record['outcome']=='trained' and record['settings']['LANG']=='ru'
    failed = sitting(place, train='--steps 20') # nothing to do
    all_russian(failed)
    assert failed.splitlines()[-1].startswith('Сессия не начата: ') and 'шаг 20 (TINY) уже дошло до предела' in failed
    assert json.loads((place/'working/session.json').read_text())['why'].startswith('The session was not begun')

REFUSED = { # settings -> what is said in Russian
    'weights': (dict(init='universal', new_run=True), 'веса universal, а они не подключены (подключённые веса: нет'),
    'an option that is a setting': (dict(train='--lr 1'), 'нельзя писать в TRAIN'),
    'an option cut short': (dict(train='--hour 1'), 'у hifigan-train нет параметра --hour; может быть'),
    'a value': (dict(train='--steps many'), '--steps: '),
    'a precision': (dict(train='--precision half'), 'точности'),
    'a device': (dict(train='--device cuda:99'), 'torch не видит'),
    'numbers': (dict(train='--epochs 0'), 'нужно целое число больше 0'),
    'a quotation': (dict(train="--steps '3"), 'не делится на слова'),
    'a run with a limit': (dict(train='--steps 20'), 'учить нечего'),
    'a corpus': (dict(corpus='bob/my-voice'), 'но это не подключено; подключено: freezerainml/ruslan')}

@pytest.mark.parametrize('kw, words', REFUSED.values(), ids=REFUSED)
def test_what_ends_a_session_at_once(place, kw, words):
    "Its run is there, of 20 steps"
    said = sitting(place, **kw)
    assert words in said, said
    all_russian(said.replace('No closing quotation', ''))

def test_other_numbers_are_told_in_russian(place):
    with contextlib.redirect_stdout(io.StringIO()) as out, pytest.raises(SessionFailed) as e:
        Session('V2', minutes=1., root=place, cpu=True, lang='ru')
    all_russian(re.sub(r'\w+: там', '', f'{out.getvalue()}\n{e.value}'))
    assert '(resblock: там 2, задано 1; ' in str(e.value) and 'Уберите PRESET' in str(e.value)

def test_no_gpu(place):
    with contextlib.redirect_stdout(io.StringIO()), pytest.MonkeyPatch.context() as patch:
        patch.setattr(sessions, 'gpus_tried', lambda: [dict(name='Tesla P100', why='it computes wrongly')])
        with pytest.raises(SessionFailed) as e: Session(root=place, lang='ru')
    assert str(e.value).startswith('Сессия не начата: нет пригодного GPU')
    all_russian(str(e.value).replace('Tesla P100', ''))

def test_a_kernel_without_the_words_says_so(place, monkeypatch):
    "LANG was changed in Kaggle's editor, and the kernel was built to speak English"
    monkeypatch.setitem(sys.modules, 'hifigan_ruslan.base.russian', None)
    said = sitting(place, corpus='bob/my-voice')
    assert 'в этой тетради нет русских слов, их везёт hifigan-kaggle push --lang ru' in said
    assert 'which is not attached' in said

def curve(run, falls, n=20):
    rows = ''.join(f'{s},1,2,{1-falls*np.log(s)+.004*(-1)**(s//1000):.4f}\n' for s in range(1000, 1000*n+1, 1000))
    (run/'log.csv').write_text(f'step,epoch,steps_per_s,valid_ema\n{rows}')
    return run

def test_words_at_the_end(tmp_path):
    "Outlook, budget, the comparison, the discriminators: as their functions make them"
    ahead = {'one more session': 20_000, 'one more week': 30_000, 'one more month': 10**6}
    row = dict(id='a', start=dict(mel_l1=.3), now=dict(mel_l1=.4))
    heard = dict(id='a', start=dict(mel_l1=.3, pesq=2.), now=dict(mel_l1=.2, pesq=3.))
    logs = dict(disc=3.1, fm=.3, real_p2=.6, fake_p2=.3)
    said = [outlook(curve(tmp_path, .07), ahead), outlook(curve(tmp_path, 0.), ahead),
            outlook(curve(tmp_path, .07, 3), ahead), outlook(curve(tmp_path, .07), {'one more week': 10**6}),
            budget_table(2.5, 16, reached=40), in_a_sentence({}), in_a_sentence(dict(step=9, epoch=1)),
            *(verdict(dict(rows=rows, step=step), 'toy', health) for rows in ([row], [heard], [row, row])
              for step in (0, 90) for health in ('', disc_health(logs)[1])),
            *(disc_health(dict(disc=d, real_a=.5, fake_a=.5))[1] for d in (.01, .5, .5556, 3.))]
    for text in said: all_russian(own_words(text, 'ru'))
    assert 'от 0,2' in own_words(said[0], 'ru')

def source_words():
    "Two words in a row, as any text in the package has them"
    files = [p for p in (ROOT/'hifigan_ruslan').rglob('*.py') if p.name not in ('russian.py', '_modidx.py')]
    files.append(Path(argparse.__file__))
    trees = [ast.parse(p.read_text(encoding='utf-8')) for p in files]
    texts = [o.value for t in trees for o in ast.walk(t) if isinstance(o, ast.Constant) and isinstance(o.value, str)]
    kernel = (ROOT/SOURCE).read_text(encoding='utf-8')
    texts += [kernel, *map(os.strerror, range(1, 40))]
    return {pair for t in texts for pair in pairs(t)}

COLUMNS = next(k for k in RUSSIAN if k.startswith('   steps')) # of a table; their widths are put in

def pairs(text):
    words = re.findall(r"\w+(?:['-]\w+)*", text)
    return {*zip(words, words[1:])} or {(w,) for w in words}

def test_each_sentence_is_still_said():
    "Most of its pairs of words stand side by side somewhere: what a session no longer says leaves no translation"
    there, old = source_words(), []
    for english in RUSSIAN:
        own = {p for part in re.split(r'\{\w+\}', english) for p in pairs(part) if len(p)==2}
        if len(own)>2 and english!=COLUMNS and sum(p in there for p in own)<.7*len(own): old.append(english)
    assert old==[]

# What is written in the kernel

def prose(text):
    "Markdown cells, but for the mark of the build and the names of the modules"
    cells = json.loads(text)['cells']
    found = [''.join(c['source']) for c in cells if c['cell_type']=='markdown']
    return [s for s in found if not re.match(r'<!-- Made|### [\w.]+$', s)]

def in_a_row(text):
    "The longest row of English words"
    bare = re.sub(r'`[^`]*`|\*\*unseen mel\*\*', '.', text)
    return max((m.split() for m in re.findall(r"[A-Za-z]+(?: [A-Za-z]+)*", bare)), key=len, default=[])

@pytest.fixture(scope='module')
def kernels(): return {lang: compiled(ROOT, LANG=lang) for lang in ('en', 'ru')}

def test_the_kernel_is_in_one_language(kernels):
    english, russian = kernels['en'], kernels['ru']
    assert not any(re.search('[а-яё]', s) for s in prose(english)) and '### base.russian' not in english
    assert len(prose(english))==len(prose(russian))>9
    for s in prose(russian): assert re.search('[а-яё]', s) and len(in_a_row(s))<4, (s, in_a_row(s))
    a, b = (code(t) for t in (english, russian))
    assert [c for c in a if c not in b]==[] and "LANG    = 'ru'" in russian
    comments = re.findall(r'# (.*)', settings(russian))
    assert len(comments)==14 and all(re.search('[а-яё]|input/', c) for c in comments)
    assert len(json.dumps(json.loads(english)))<880_000 and len(json.dumps(json.loads(russian)))<980_000

def code(text):
    "What the cells do, without those that write modules or tell which"
    cells = [''.join(c['source']) for c in json.loads(text)['cells'] if c['cell_type']=='code']
    return [ast.dump(ast.parse(s)) for s in cells if not re.match('%%|import hashlib|PRESET', s)]

def settings(text):
    return next(s for c in json.loads(text)['cells'] if (s := ''.join(c['source'])).startswith('PRESET'))

def test_the_kernel_explains_itself_in_either_language(kernels):
    for lang,more in (('en', 'commercial use'), ('ru', 'коммерческого')):
        whole = '\n'.join(prose(kernels[lang]))
        for words in ('GPU T4 x2', 'Add Input', 'Save & Run All', 'Your Work', 'CC BY-NC-SA 4.0', more):
            assert words in whole, (lang, words)

def test_the_committed_kernel_follows_its_language(kernels, tmp_path):
    "LANG changed by hand: it is out of date, and built in that language, once"
    for name in ('nbs', 'kernel'): (tmp_path/name).mkdir()
    shutil.copy(ROOT/SOURCE, tmp_path/SOURCE)
    shutil.copytree(ROOT/'hifigan_ruslan', tmp_path/'hifigan_ruslan',
                    ignore=lambda d, names: [n for n in names if Path(n).suffix and not n.endswith('.py')])
    path = tmp_path/KERNEL
    path.write_text(kernels['en'].replace("LANG    = 'en'", "LANG    = 'ru'"), encoding='utf-8')
    assert 'LANG, its language, has changed since' in stale(tmp_path)
    build(tmp_path)
    assert stale(tmp_path)=='' and '# Обучение вокодера' in path.read_text(encoding='utf-8')

@slow
def test_as_kaggle_runs_it(python, kernels, tmp_path):
    "Papermill, and no package of ours but what the kernel brings"
    attach(tmp_path, 'old', 'A', n=12)
    log, code = execute(python, kernels['ru'], tmp_path, TRAIN='--steps 20')
    assert code==0, log
    for words in ('пакет записан в', 'проба на', 'строк с текстом 12 из 12', 'обучено: Шаг 20', 'Дальше: '):
        assert words in log, words
    assert 'step 20/20' in log # a line of the training, as it is

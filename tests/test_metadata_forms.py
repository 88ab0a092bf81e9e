"""Metadata as people have it: any encoding, separator, head row, end of line and spelling of names that can be told;
and what prepare has written it reads back, whatever the texts and names hold"""
import json, os, random, subprocess, sys, threading, unicodedata
from pathlib import Path
import numpy as np, pytest, soundfile as sf
from hifigan_ruslan.base.files import only_one
from hifigan_ruslan.data import SpeechData
from hifigan_ruslan.dataset.corpus import Corpus, find_corpus
from hifigan_ruslan.dataset.prepare import prepare

TEXTS = ['Ёжик вышел из дому', 'Съешь ещё этих булок', 'Чайка летит над морем', 'Где-то идёт дождь']
LINUX = pytest.mark.skipif(sys.platform!='linux', reason='file names of bytes are tried on Linux')

def sound(path, rate=16000, seconds=.1):
    "A short sound"
    path.parent.mkdir(parents=True, exist_ok=True)
    sf.write(path, .1*np.sin(np.arange(int(rate*seconds))), rate, format='WAV')

def corpus(folder, raw, name='metadata.csv', sounds=None):
    "A corpus of four sounds and one file of metadata"
    for s in sounds or [f'c{i}.wav' for i in range(4)]: sound(folder/s)
    (folder/name).write_bytes(raw)
    return folder

def rows(sep, name='c{}', end='\n'): return ''.join(f'{name.format(i)}{sep}{t}{end}' for i,t in enumerate(TEXTS))

def prep(source, out, **kw):
    return prepare(source, out, sample_rate=16000, workers=1, progress=False, min_seconds=.05, valid=0, test=0, **kw)

FORMS = {
    'utf-8': rows('|').encode(), 'bom': rows('|').encode('utf-8-sig'), 'cp1251': rows('|').encode('cp1251'),
    'cp866': rows('|').encode('cp866'), 'koi8-r': rows('|').encode('koi8-r'),
    'mac': rows('|').encode('mac_cyrillic'), 'utf-16, tab': rows('\t').encode('utf-16'),
    'utf-16 without a mark': rows('|').encode('utf-16-be'), 'utf-32': rows('|').encode('utf-32'),
    ';': rows(';', 'c{}.wav').encode(), ',': rows(',', 'c{}.wav').encode(),
    'Excel, cp1251': rows(';', 'wavs\\c{}.wav', '\r\n').encode('cp1251'),
    'Excel, quoted': ''.join(f'c{i}.wav;"{t}"\r\n' for i,t in enumerate(TEXTS)).encode(),
    'old Mac': rows('|', end='\r').encode(), 'old Mac, ;': rows(';', end='\r').encode(),
    'absolute': rows('|', '/data/wavs/c{}.wav').encode(), 'Windows': rows('|', 'D:\\data\\c{}.wav').encode(),
    'Common Voice': ('client_id\tpath\tsentence\tup_votes\n' +
                     ''.join(f'u\tc{i}.mp3.wav\t{t}\t2\n'.replace('.mp3', '') for i,t in enumerate(TEXTS))).encode(),
    'text first': ('text,file_name\n' + ''.join(f'{t},c{i}.wav\n' for i,t in enumerate(TEXTS))).encode(),
    'three columns': ''.join(f'c{i}|{t}|{t.lower()}\n' for i,t in enumerate(TEXTS)).encode(),
}

@pytest.mark.parametrize('form', FORMS)
def test_the_texts_are_taken(tmp_path, form):
    c = find_corpus(corpus(tmp_path, FORMS[form]))
    assert [c.texts.get(f'c{i}') for i in range(4)]==TEXTS, c.layout

@pytest.mark.parametrize('form,why', {
    rows('|').encode()[:-2]+b'\n': "line 4 is damaged, the rest is UTF-8: 'c3|Где-то идёт дож",
    'ЁЖ|c0'.encode('cp866'): "what else it is, is not sure: '\\\\xf0\\\\x86|c0'; save it as UTF-8",
    b'PK\3\4 and so on': 'it is a ZIP or Excel file',
    b'': 'it is empty',
    b'c0 one\nc1 two\n': "no line names a sound before |, a tab, ; or ,; its first line: 'c0 one'",
    b'1|2019|c0|what\n2|2019|c1|is\n':
        "which of its columns holds the text is not sure; its first line: '1|2019|c0|what'",
}.items())
def test_what_is_not_sure_is_said_with_its_line(tmp_path, form, why):
    c = find_corpus(corpus(tmp_path, form))
    assert c.texts=={} and 'metadata.csv could not be read (' in c.layout and why in c.layout, c.layout

def test_an_encoding_that_was_told_by_its_letters_is_said(tmp_path):
    assert 'read as koi8_r' in find_corpus(corpus(tmp_path, rows('|').encode('koi8_r'))).layout

def test_texts_of_single_files_are_told_in_the_same_way(tmp_path):
    for i,t in enumerate(TEXTS):
        sound(tmp_path/f'c{i}.wav')
        (tmp_path/f'c{i}.txt').write_bytes(t.encode(('utf-8', 'cp1251', 'koi8_r', 'utf-16')[i]))
    (tmp_path/'c3.txt').write_bytes(b'\xff')
    c = find_corpus(tmp_path)
    assert c.texts=={f'c{i}': t for i,t in enumerate(TEXTS[:3])}
    assert '1 .txt files could not be read (c3.txt: line 1 is no UTF-8' in c.layout

def test_a_manifest_that_is_nested_very_deep_is_named(tmp_path):
    c = find_corpus(corpus(tmp_path, b'['*5000, 'manifest.json'))
    assert 'manifest.json could not be read (it is nested too deep' in c.layout
    assert len(prep(tmp_path, tmp_path/'out').utterances)==4

@LINUX
def test_a_pipe_called_metadata_is_no_metadata(tmp_path):
    sound(tmp_path/'a.wav')
    os.mkfifo(tmp_path/'metadata.csv')
    done = []
    t = threading.Thread(target=lambda: done.append(find_corpus(tmp_path)), daemon=True)
    t.start()
    t.join(60) # a guard against waiting for ever
    assert done and 'no texts' in done[0].layout

BITS = (b'', b'\0', b'"', b'\r', b'\n', b'|', b'\xff', b'\xfe\xff', b'[', b'{', b'9'*20, b'\xef\xbb\xbf', b'../',
        b'/'*50)

def mutated(raw, r):
    "The bytes with something changed in one to five places"
    raw = bytearray(raw)
    for _ in range(r.choice((1, 1, 2, 5))):
        i = r.randrange(len(raw)+1)
        raw[i:i+r.choice((0, 1, 1, 3, 30))] = r.choice((*BITS, r.randbytes(8)))
    return bytes(raw)

def test_no_damage_ends_in_an_error(tmp_path):
    "600 damaged files of metadata: texts, or a reason in the layout"
    manifest = json.dumps([dict(path=f'c{i}.wav', text=t) for i,t in enumerate(TEXTS)]).encode()
    r, forms = random.Random(5), [('metadata.csv', raw) for raw in FORMS.values()] + [('manifest.json', manifest)]*3
    corpus(tmp_path, b'')
    for _ in range(600):
        name, raw = r.choice(forms)
        for p in (tmp_path/'metadata.csv', tmp_path/'manifest.json'): p.unlink(missing_ok=True)
        (tmp_path/name).write_bytes(mutated(raw, r))
        c = find_corpus(tmp_path)
        assert f'{name}: ' in c.layout or f'{name} could not be read' in c.layout

# names

def test_names_meet_in_any_form_of_unicode(tmp_path):
    "As an archive from a Mac has them, and as the metadata has them, in all four pairings"
    names = ['Ёжик й', 'café', 'ёж']
    for kind in ('NFC', 'NFD'):
        folder = tmp_path/kind
        for name in names: sound(folder/f'{unicodedata.normalize(kind, name)}.wav')
        for other in ('NFC', 'NFD'):
            text = ''.join(f'{unicodedata.normalize(other, n)}|{i}\n' for i,n in enumerate(names))
            (folder/'metadata.csv').write_text(text, encoding='utf-8')
            assert sorted(find_corpus(folder).texts.values())==['0', '1', '2'], (kind, other)

# what is written is read back

ODD = ['', ' ', 'да', 'a\rb', 'a\nb', 'a\r\nb', '\r', '"', '""', 'a"b', '"a"', ',', 'a,b', '|', '\t', "'", '=1+1',
       '\u2028', 'a\u2029b', '\x85', '\x0b\x0c', '\x1c\x1d\x1e', '\0', 'a\0b', '\ufeff', '\ud83d', '\udcd0\udc96',
       'я'*200_000, '"'*140_000, '😀', 'e\u0301', '\u202e', '\x1b[2J', '\\', '\\n', 'null', '#', '%s', '{}']
ALPHABET = 'аяё eE,"\'|;\t\r\n\0\u2028\x85\ud800😀\\'

def texts(seed, n):
    "Odd texts, and random ones of odd letters"
    r = random.Random(seed)
    return ODD + [''.join(r.choices(ALPHABET, k=r.randrange(30))) for _ in range(n-len(ODD))]

def names(seed, n):
    "Names of files that Linux allows"
    r, letters = random.Random(seed), 'аё,"\'|;\t\r\n\u2028\x85😀\\ е\u0308'
    return [f'{i:03d}{"".join(r.choices(letters, k=r.randrange(12)))}' for i in range(n)]

@LINUX
@pytest.mark.parametrize('seed', [0])
def test_any_text_and_any_name_is_read_back(tmp_path, seed):
    n = len(ODD)+20
    said, files = texts(seed, n), names(seed, n)
    for f in files: sound(tmp_path/'c'/f'{f}.wav')
    os.rename(tmp_path/'c'/f'{files[0]}.wav', os.fsencode(tmp_path/'c')+b'/000\xff.wav')
    found = find_corpus(tmp_path/'c')
    assert len(found.files)==n
    found = Corpus(found.root, found.files, dict(zip(found.files, said)), found.layout, found.counts)
    prep(found, tmp_path/'out')
    data = SpeechData.open(tmp_path/'out').verify()
    kept = {u.id: u.text for u in data.utterances}
    plain = {id: ''.join('\ufffd' if '\ud800'<=c<='\udfff' else c for c in t) for id,t in found.texts.items()}
    assert kept==plain and [u.path for u in data.utterances]==[found.rel(id) for id in found.files]
    assert len(prep(found, tmp_path/'out').utterances)==n # once more, and it is finished

@pytest.mark.parametrize('form', ['|', 'json'])
def test_texts_from_a_file_are_read_back(tmp_path, form):
    said = [t for t in texts(3, 60) if t.strip() and (form=='json' or '\n' not in t and '|' not in t)]
    said = [t.encode('utf-8', 'replace').decode().strip() for t in said]
    for i in range(len(said)): sound(tmp_path/'c'/f'c{i}.wav')
    if form=='json': (tmp_path/'c'/'manifest.json').write_text(json.dumps([dict(path=f'c{i}.wav', text=t)
                                                                          for i,t in enumerate(said)]))
    else: (tmp_path/'c'/'metadata.csv').write_bytes(''.join(f'c{i}|{t}\n' for i,t in enumerate(said)).encode())
    data = prep(tmp_path/'c', tmp_path/'out')
    assert [u.text for u in SpeechData.open(tmp_path/'out').utterances]==[t.strip() for t in said]
    assert data.meta['counts']['texts']==sum(t!='' for t in said)

def test_the_ends_of_lines_of_an_old_mac(tmp_path):
    corpus(tmp_path/'c', rows('|', end='\r').encode())
    prep(tmp_path/'c', tmp_path/'out')
    assert [u.text for u in SpeechData.open(tmp_path/'out').utterances]==TEXTS

# two at once, and outputs among inputs

def test_a_folder_that_is_being_prepared_is_not_prepared_twice(tmp_path):
    corpus(tmp_path/'c', b'')
    code = ('import sys; from hifigan_ruslan.base.files import only_one\n'
            'with only_one(sys.argv[1]): print("held", flush=True); sys.stdin.read()')
    with subprocess.Popen([sys.executable, '-c', code, str(tmp_path/'out')], stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE) as other:
        other.stdout.readline()
        with pytest.raises(ValueError, match=f'is being written by another process .number {other.pid}'):
            prep(tmp_path/'c', tmp_path/'out')
        other.stdin.close()
    assert len(prep(tmp_path/'c', tmp_path/'out').utterances)==4

def test_several_prepares_at_once_leave_one_whole_corpus(tmp_path):
    "Each of them says that another one writes, or that it is finished, or has written it"
    corpus(tmp_path/'c', rows('|').encode())
    code = ('import sys; from hifigan_ruslan.dataset.prepare import prepare\n'
            'try: prepare(*sys.argv[1:], workers=1, progress=False, min_seconds=.05, valid=0, test=0)\n'
            'except ValueError as e: print("refused", e)')
    args = [sys.executable, '-c', code, str(tmp_path/'c'), str(tmp_path/'out')]
    all = [subprocess.Popen(args, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    ends = [(p.communicate(), p.returncode) for p in all]
    for (out, err),code in ends:
        assert code==0 and 'Traceback' not in err, err
        assert 'SpeechData' in out or 'is being written by another process' in out, out
    assert [u.text for u in SpeechData.open(tmp_path/'out').verify().utterances]==TEXTS
    assert not list((tmp_path/'out').glob('.*.part*'))

def test_our_own_folders_below_a_corpus_are_not_recordings(tmp_path):
    from hifigan_ruslan.base.audio import write_wav
    from hifigan_ruslan.base.files import claim
    corpus(tmp_path/'c', rows('|').encode())
    first = prep(tmp_path/'c', tmp_path/'c'/'data')
    with claim(tmp_path/'c'/'evaluation', 'evaluation').writing('waves/a/c0.wav'):
        sound(tmp_path/'c'/'evaluation'/'waves'/'a'/'c0.wav')
    write_wav(tmp_path/'c'/'generated'/'c1.wav', np.zeros(1600, 'f4')+.1, 16000)
    found = find_corpus(tmp_path/'c')
    assert sorted(found.files)==['c0', 'c1', 'c2', 'c3'] and found.counts['same_name']==0
    assert '1 sounds left out that hifigan-generate made, in generated/' in found.layout
    again = prep(tmp_path/'c', tmp_path/'c'/'data') # finished: nothing has changed
    assert again.fingerprint==first.fingerprint
    assert list(find_corpus(tmp_path/'c'/'generated').files)==['c1'] # given by itself it is taken
    with pytest.raises(ValueError, match='is the corpus itself'): prep(tmp_path/'c', tmp_path/'c')

def test_the_lock_is_taken_again_by_who_has_it(tmp_path):
    with only_one(tmp_path), only_one(Path(tmp_path)): pass

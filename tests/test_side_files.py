"""Files beside what matters that are damaged or of somebody else, a disk that is full or closed, a console that has no
letter for a name, Ctrl-C: one line that names the file, and nobody's work is lost or stopped"""
import contextlib, csv, errno, io, json, os, random, shutil, signal, subprocess, sys, tempfile
from pathlib import Path
import numpy as np, pytest, soundfile as sf
from hifigan_ruslan.base import audio
from hifigan_ruslan.base.files import MARKER, NotWritten, claim, new_file, only_one
from hifigan_ruslan.config import TINY
from hifigan_ruslan.data import SpeechData
from hifigan_ruslan.dataset.corpus import synth_corpus
from hifigan_ruslan.dataset.prepare import prepare
from hifigan_ruslan.eval import evaluate, read_rows
from hifigan_ruslan.evaluation.systems import eval_clips, open_systems
from hifigan_ruslan.listening.listening_test import RATING_COLUMNS
from hifigan_ruslan.listening.ratings import read_ratings
from hifigan_ruslan.training.logging import RunLog, log_columns, plot_curves, read_log
from hifigan_ruslan.vocoder import generate

ROOT = Path(__file__).parent.parent
POSIX = pytest.mark.skipif(os.name!='posix', reason='signals, pipes and rights are tried on POSIX')
slow = pytest.mark.skipif('slow' not in os.environ.get('NB_FLAGS', ''), reason='NB_FLAGS=slow runs it')
DEEP, LONG, BYTES = b'['*100_000, b'x'*300_000, bytes(range(256))

@pytest.fixture(scope='module')
def data(tmp_path_factory):
    "A small corpus, prepared"
    work = tmp_path_factory.mktemp('side')
    synth_corpus(work/'corpus', n=4, seconds=.6, sample_rate=16000)
    with contextlib.redirect_stdout(io.StringIO()): prepared(work/'corpus', work/'data')
    return work

def prepared(source, out, **kw):
    return prepare(source, out, workers=1, progress=False, valid=0, test=0, **kw)

def command(name, *args, **kw):
    "A command of ours in a process of its own"
    code = f'import sys; sys.argv[0] = "hifigan-{name}"; from hifigan_ruslan.cli import {name}_cli; {name}_cli()'
    script = Path(tempfile.mkdtemp())/f'hifigan-{name}'
    script.write_text(code)
    env = os.environ | dict(PYTHONPATH=str(ROOT), OMP_NUM_THREADS='1') | kw.pop('env', {})
    return subprocess.run([sys.executable, script, *map(str, args)], env=env, timeout=600, **dict(
        stdout=subprocess.PIPE, stderr=subprocess.PIPE) | kw)

# dataset.json and utterances.csv

VALUES = [None, True, -1, 0, 1.5, '22050', [], {}, 10**30, float('nan'), float('inf'), 'x'*200]

@pytest.mark.parametrize('key', 'format sample_rate samples hours sha256 table_sha256 counts splits plan'.split())
def test_a_wrong_value_in_dataset_json_is_refused_by_its_name(data, tmp_path, key):
    for value in VALUES:
        shutil.copytree(data/'data', tmp_path/'d', dirs_exist_ok=True)
        meta = json.loads((data/'data'/'dataset.json').read_text())
        fits = key.startswith(('sha', 'table_sha')) and isinstance(value, str) or key=='plan' and value=={}
        fits = fits or key=='hours' and value==1.5 or key=='splits' and value=={} # these are of the right kind
        (tmp_path/'d'/'dataset.json').write_text(json.dumps(meta | {key: value}))
        if fits: continue
        with pytest.raises(ValueError, match='dataset.json'): repr(SpeechData.open(tmp_path/'d'))

@pytest.mark.parametrize('raw', [DEEP, b'', b'null', b'[]', b'{"format": 1}', BYTES, b'1'*5000, LONG])
def test_a_damaged_dataset_json_is_named(data, tmp_path, raw):
    shutil.copytree(data/'data', tmp_path/'d')
    (tmp_path/'d'/'dataset.json').write_bytes(raw)
    with pytest.raises(ValueError, match='dataset.json'): SpeechData.open(tmp_path/'d')

def test_a_mutated_table_is_refused_by_name_or_is_a_table(data, tmp_path):
    "Whatever is changed in it: no error but our own, and `verify` sees it"
    shutil.copytree(data/'data', tmp_path/'d')
    table, r = (data/'data'/'utterances.csv').read_bytes(), random.Random(0)
    for _ in range(200):
        raw, i = bytearray(table), r.randrange(len(table))
        raw[i:i+r.choice((0, 1, 40))] = r.choice((b'', b'"', b'\r', b'\n', b',', b'-', b'9'*30, b'\xff', b'\0'))
        (tmp_path/'d'/'utterances.csv').write_bytes(raw)
        if bytes(raw)==table: continue
        with pytest.raises(ValueError, match='utterances.csv'): SpeechData.open(tmp_path/'d').verify()

# an unfinished preparation

def test_a_mutated_journal_ends_in_the_same_corpus_or_is_refused(data, tmp_path, capsys):
    r = random.Random(1)
    whole = (data/'data'/'utterances.csv').read_bytes()
    for k in range(8):
        journal = unfinished(data, tmp_path/f'{k}')
        raw, i = bytearray(journal.read_bytes()), r.randrange(len(journal.read_bytes()))
        raw[i:i+1] = r.choice((b'', b'7', b'"', b'\n', b'[', b'\xff'))
        journal.write_bytes(raw)
        try: prepared(data/'corpus', tmp_path/f'{k}')
        except ValueError as e: assert 'unfinished preparation of something else' in str(e)
        else: assert (tmp_path/f'{k}'/'utterances.csv').read_bytes()==whole, (k, i)

def unfinished(data, out):
    "The journal of a preparation that ended just before it was published"
    import hifigan_ruslan.dataset.prepare as module
    def stop(*_): raise KeyboardInterrupt
    publish, module._publish = module._publish, stop
    try: prepared(data/'corpus', out)
    except KeyboardInterrupt: return out/'journal.jsonl'
    finally: module._publish = publish

def test_a_number_that_changed_in_the_journal_is_not_believed(data, tmp_path, capsys):
    journal = unfinished(data, tmp_path/'d')
    raw = journal.read_bytes()
    at = raw.index(b'"peak_dbfs": -')+len(b'"peak_dbfs": -')
    journal.write_bytes(raw[:at]+b'9'+raw[at:])
    d = prepared(data/'corpus', tmp_path/'d')
    assert 'line 2 of' in (said := capsys.readouterr().out) and 'converted again' in said
    assert [u.peak_dbfs for u in d.utterances]==[u.peak_dbfs for u in SpeechData.open(data/'data').utterances]

# log.csv

ALIEN = {'no step': b'epoch,loss\n1,2\n', 'numbers': b'1,2\n3,4\n', 'another': b'step,loss\n1,2\n',
         'bytes': b'\xff\n\xfe\n','deep': DEEP+b'\n', 'long': LONG+b'\n1\n', 'zeros': bytes(5000)+b'\n'}

@pytest.mark.parametrize('what', ALIEN)
def test_a_log_of_something_else_is_named(tmp_path, what):
    (tmp_path/'log.csv').write_bytes(ALIEN[what])
    with pytest.raises(ValueError, match='log.csv is no log of a run: it has no'): plot_curves(tmp_path/'log.csv')
    if what=='another': return
    with pytest.raises(ValueError, match='log.csv is no log of a run'): RunLog(tmp_path, log_columns(TINY), 5)
    assert (tmp_path/'log.csv').read_bytes()==ALIEN[what] # and is left as it is

def test_an_empty_log_or_damaged_rows_stop_no_run(tmp_path, capsys):
    columns = log_columns(TINY)
    (tmp_path/'log.csv').write_bytes(b'')
    log = RunLog(tmp_path, columns)
    for i in (10, 20): log.add({k: 1. for k in columns} | dict(step=i, health='ok'))
    with open(log.path, 'ab') as f: f.write(b'\0'*100+b'\nnan,1\n1e999'+b',1'*(len(columns)-1)+b'\n')
    assert read_log(log.path)['step'].tolist()==[10, 20]
    RunLog(tmp_path, columns, 20)
    assert '3 damaged rows are left out' in capsys.readouterr().out
    assert read_log(log.path)['step'].tolist()==[10, 20]

# clips.csv

def test_a_mutated_clips_csv_is_measured_anew_or_refused_by_name(data, tmp_path):
    "No number that changed is believed, and no error but our own"
    systems, clips, r = open_systems([f'a={data/"corpus"}'])[0], eval_clips(data/'corpus')[:2], random.Random(2)
    with contextlib.redirect_stdout(io.StringIO()): evaluate(systems, clips, out=tmp_path/'e', progress=False)
    table = (tmp_path/'e'/'clips.csv').read_bytes()
    true = {(o['system'], o['clip']): repr(o['mel_l1']) for o in read_rows(tmp_path/'e'/'clips.csv')}
    for _ in range(60):
        raw, i = bytearray(table), r.randrange(len(table))
        raw[i:i+r.choice((0, 1, 40))] = r.choice((b'', b'"', b'\r', b',', b'9', b'inf', b'\xff', b'x'*140_000))
        (tmp_path/'e'/'clips.csv').write_bytes(raw)
        try: rows = read_rows(tmp_path/'e'/'clips.csv')
        except ValueError as e: assert 'clips.csv' in str(e)
        else: assert all(true.get((o['system'], o['clip']))==repr(o['mel_l1']) for o in rows if o['stamp']), i

@pytest.mark.parametrize('raw', [b'', LONG+b'\n', BYTES])
def test_a_clips_csv_that_is_none(data, tmp_path, raw):
    "In a folder of ours: measured anew where it is empty, else named and left"
    systems, clips = open_systems([f'a={data/"corpus"}'])[0], eval_clips(data/'corpus')[:1]
    claim(tmp_path/'e', 'evaluation').note('clips.csv')
    (tmp_path/'e'/'clips.csv').write_bytes(raw)
    try: evaluate(systems, clips, out=tmp_path/'e', progress=False)
    except ValueError as e: assert 'clips.csv' in str(e) and (tmp_path/'e'/'clips.csv').read_bytes()==raw
    else: assert len(read_rows(tmp_path/'e'/'clips.csv'))==2

# ratings, markers

@pytest.mark.parametrize('line', [DEEP, LONG, b'"', BYTES.replace(b'\n', b''), b'1'*5000, b','*12])
def test_damaged_ratings_are_problems_of_their_line(tmp_path, line):
    for raw in (line, line+b'\r\n', ','.join(RATING_COLUMNS).encode()+b'\r\n'+line+b'\r\n'):
        (tmp_path/'a.csv').write_bytes(raw)
        with pytest.raises(ValueError, match='No ratings were found'): read_ratings(tmp_path)
    row = dict.fromkeys(RATING_COLUMNS, '1') | dict(kind='abx', order='['*5000, plays='{}')
    with open(tmp_path/'a.csv', 'w', newline='') as f:
        w = csv.DictWriter(f, RATING_COLUMNS)
        w.writeheader()
        w.writerow(row)
    with pytest.raises(ValueError, match='a.csv, line 2'): read_ratings(tmp_path)

# whose files they are

def someone(folder, names):
    "A folder of somebody's work"
    for n in names:
        (folder/n).parent.mkdir(parents=True, exist_ok=True)
        (folder/n).write_text(f'mine: {n}')
    return {n: (folder/n).read_text() for n in names}

CROWDS = {'thesis': ['summary.csv', 'comparisons.csv', 'report.html', 'waves/a/b.flac'],
          'lightning': ['checkpoints/epoch=3.ckpt', 'config.json', 'log.csv', 'curves.png'],
          'model': ['model.safetensors', 'config.json', 'README.md'],
          'demo': ['.hifigan-demo', 'index.html', 'run/log.csv'],
          'data': ['audio.npy', 'dataset.json', 'utterances.csv', 'journal.jsonl'], 'one': ['clips.csv']}

@pytest.mark.parametrize('whose', CROWDS)
def test_no_folder_of_somebody_is_taken_for_ours(data, tmp_path, whose):
    "By any of the kinds, with a marker that is none, a copied one, or none at all"
    for marker in (None, b'', b'{}', DEEP, (data/'data'/MARKER).read_bytes().replace(b'"data"', b'"run"')):
        there = someone(tmp_path, CROWDS[whose])
        if marker is not None: (tmp_path/MARKER).write_bytes(marker)
        for kind in ('data', 'run', 'export', 'evaluation', 'demo', 'test', 'results', 'corpus'):
            with pytest.raises(ValueError, match='could be lost'): claim(tmp_path, kind)
        with pytest.raises(ValueError): prepared(data/'corpus', tmp_path)
        with pytest.raises(ValueError, match='could be lost'): synth_corpus(tmp_path)
        assert {n: (tmp_path/n).read_text() for n in there}==there

def test_a_folder_of_inputs_is_no_folder_for_outputs(data, tmp_path):
    for out in (data/'corpus', str(data/'corpus')+'/../corpus'):
        with pytest.raises(ValueError, match='is the folder of the inputs'): generate([data/'corpus'], out, 'universal')

# the disk

@pytest.fixture
def small(tmp_path):
    "A disk of 300 kB"
    d = tmp_path/'small'
    d.mkdir()
    mount = ['mount', '-t', 'tmpfs', '-o', 'size=300k', 'tmpfs', d]
    if subprocess.run(mount, capture_output=True).returncode: pytest.skip('this user may not mount a small file system')
    yield d
    subprocess.run(['umount', '-l', d], check=True)

def test_a_full_disk_is_said_with_the_file_the_need_and_what_is_free(data, small):
    with pytest.raises(NotWritten, match=r'the disk is full: .*audio.partial could not be written. It needs .*free'):
        prepared(synth_corpus(data.parent/'large', n=40, seconds=.6, sample_rate=16000), small/'out')
    assert not list((small/'out').glob('.*.part*'))

@slow
def test_every_command_says_that_the_disk_is_full(data, small):
    clips = ROOT/'hifigan_ruslan'/'clips'
    (small/'ballast').write_bytes(b'x'*250_000)
    one = clips/'ru_0003.flac'
    for name,args in dict(prepare=(clips, small/'d', '--workers', 1), generate=(one, '--out', small/'g'),
                          export=('universal', small/'e'),
                          eval=('griffin-lim', one, '--workers', 1, '--out', small/'v')).items():
        p = command(name, *args)
        said = p.stderr.decode()
        print(name, p.returncode, said[-700:], p.stdout.decode()[-300:])
        assert p.returncode==1 and 'Traceback' not in said and 'the disk is full' in said, said

@POSIX
def test_a_folder_that_is_closed_is_said(data):
    "As nobody, where we are root"
    here = Path(tempfile.mkdtemp(dir='/tmp'))
    (here/'shut').mkdir()
    os.chmod(here, 0o755)
    (here/'shut').chmod(0o555)
    code = '''
import os, sys, contextlib
from hifigan_ruslan.base.files import new_file, only_one, claim
if os.getuid()==0: os.setuid(65534)
def write():
    with new_file('shut/a.txt') as part: part.write_text('x')
for f in (write, lambda: only_one('shut/run').__enter__(),
          lambda: only_one('shut').__enter__(), lambda: claim('shut', 'data').note('a')):
    try: f()
    except OSError as e: print(e.strerror)
'''
    env = os.environ | dict(PYTHONPATH=str(ROOT))
    p = subprocess.run([sys.executable, '-c', code], cwd=here, env=env, capture_output=True, text=True)
    said = p.stdout.splitlines()
    if 'ModuleNotFoundError' in p.stderr: pytest.skip('nobody may not read this checkout')
    assert len(said)==4 and all('is read-only for this user. Give another folder' in s for s in said), p
    shutil.rmtree(here)

# words

def test_a_console_without_a_letter_for_a_name_stops_nothing(data, tmp_path):
    "The first name is odd, the second is not, and both are done"
    (tmp_path/'Ёж').mkdir()
    for name in ('日本', 'b'): shutil.copy(data/'corpus'/'000000_RUSLAN.wav', tmp_path/'Ёж'/f'{name}.wav')
    for encoding in ('cp1251', 'ascii'):
        p = command('prepare', tmp_path/'Ёж', tmp_path/f'日本 {encoding}', '--workers', 1, '--valid', 0, '--test', 0,
                    env=dict(PYTHONIOENCODING=encoding))
        assert p.returncode==0 and b'\\u65e5\\u672c' in p.stdout, p
        assert len(SpeechData.open(tmp_path/f'日本 {encoding}').utterances)==2

@POSIX
def test_a_reader_that_has_gone_stops_nothing(data, tmp_path):
    read, write = os.pipe()
    os.close(read)
    p = command('prepare', data/'corpus', tmp_path/'out', '--workers', 1, '--valid', 0, '--test', 0, stdout=write)
    os.close(write)
    assert p.returncode==0 and b'Traceback' not in p.stderr and b'the work goes on' in p.stderr, p
    assert len(SpeechData.open(tmp_path/'out').utterances)==4

@POSIX
@pytest.mark.parametrize('when', [0., .1, .5])
def test_ctrl_c_at_the_beginning_leaves_no_traceback(data, tmp_path, when):
    "However early it comes after the first line of ours is run"
    script = tmp_path/'hifigan-prepare'
    script.write_text('import hifigan_ruslan.base.commands, sys; print("here", flush=True)\n'
                      'from hifigan_ruslan.cli import prepare_cli\nprepare_cli()')
    env = os.environ | dict(PYTHONPATH=str(ROOT))
    args = [sys.executable, script, data/'corpus', tmp_path/'out', '--workers', '2', '--valid', '0', '--test', '0']
    with subprocess.Popen(args, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True) as p:
        p.stdout.readline()
        with contextlib.suppress(subprocess.TimeoutExpired): p.wait(when)
        with contextlib.suppress(ProcessLookupError): os.killpg(p.pid, signal.SIGINT)
        out, err = p.communicate(timeout=600)
    assert p.returncode in (0, 130, -signal.SIGINT) and b'Traceback' not in err, (p.returncode, err.decode())
    begun = any((tmp_path/'out'/n).exists() for n in ('journal.jsonl', 'dataset.json'))
    if p.returncode==130: assert (b'what was saved is whole' in err)==begun, err

@POSIX
def test_ctrl_c_in_the_middle_of_decoding_is_no_damaged_file(data, monkeypatch, capfd):
    "What is raised where a decoder asks for bytes is lost, and the file would seem to end there"
    path, read, asked = next((data/'corpus').rglob('*.wav')), audio._Window.readinto, []
    def interrupted(self, b):
        asked.append(1)
        if len(asked)==at: signal.raise_signal(signal.SIGINT)
        return read(self, b)
    monkeypatch.setattr(audio._Window, 'readinto', interrupted)
    was = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        for at in (1, 3):
            asked.clear()
            with pytest.raises(KeyboardInterrupt): audio.read_wav(path)
    finally: signal.signal(signal.SIGINT, was)
    assert capfd.readouterr().err==''

# two at once

def test_two_writers_of_one_file_leave_one_whole_file(tmp_path):
    code = ('import sys; from hifigan_ruslan.base.files import new_file\n'
            'for _ in range(200):\n'
            '    with new_file(sys.argv[1]) as part: part.write_text(sys.argv[2]*50_000)')
    both = [subprocess.Popen([sys.executable, '-c', code, tmp_path/'x', c], env=os.environ | dict(PYTHONPATH=str(ROOT)))
            for c in 'ab']
    seen = set()
    while any(p.poll() is None for p in both):
        if (tmp_path/'x').exists(): seen.add((tmp_path/'x').read_text())
    assert {p.returncode for p in both}=={0} and seen<={'a'*50_000, 'b'*50_000}
    assert [p.name for p in tmp_path.iterdir()]==['x']

@pytest.mark.parametrize('kind', ['export', 'evaluation', 'data', 'demo'])
def test_a_folder_is_locked_while_it_is_written(tmp_path, kind):
    code = ('import sys; from hifigan_ruslan.base.files import claim\n'
            f'try:\n    with claim(sys.argv[1], {kind!r}).writing("a"): pass\n'
            'except ValueError as e: print(e)')
    def other(): return subprocess.run([sys.executable, '-c', code, tmp_path/'x'], capture_output=True, text=True,
                                       env=os.environ | dict(PYTHONPATH=str(ROOT))).stdout
    with only_one(tmp_path/'x'): assert 'is being written by another process' in other()
    assert other()==''

def test_an_error_of_the_disk_that_is_none_of_ours_stays_as_it_is(tmp_path):
    with pytest.raises(OSError, match='Input/output'):
        with new_file(tmp_path/'a'): raise OSError(errno.EIO, 'Input/output error')
    with pytest.raises(RuntimeError, match='a fault'):
        with new_file(tmp_path/'a'): raise RuntimeError('a fault')

# names

def test_an_evaluation_of_names_in_any_form(tmp_path):
    "Composed here and decomposed there, with a line feed, and no UTF-8: a row each, and a table"
    import unicodedata
    x = .1*np.sin(np.arange(9600)*.2)
    for folder,form in (('rec', 'NFC'), ('made', 'NFD')):
        (tmp_path/folder).mkdir()
        for name in ('й', 'a\nb', 'в "кавычках"'):
            sf.write(tmp_path/folder/f'{unicodedata.normalize(form, name)}.wav', x, 16000)
        if sys.platform=='linux': os.rename(tmp_path/folder/'a\nb.wav', os.fsencode(tmp_path/folder)+b'/a\n\xff.wav')
    from hifigan_ruslan.listening.report import run_eval
    page = run_eval([tmp_path/'made'], tmp_path/'rec', tmp_path/'out', workers=1)
    rows = read_rows(tmp_path/'out'/'clips.csv')
    assert len(rows)==6 and not any('has no wave' in r['error'] for r in rows) and page.stat().st_size>10_000

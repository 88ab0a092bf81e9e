"""What a user may do wrong at hifigan-kaggle and in the settings cell of the kernel: each is told in words, with an
exit code, and before it has cost anything.
Version 0.1 sent most of these, or refused them under a wrong reason."""
import contextlib, io, json, os, re, shutil, subprocess, sys
from pathlib import Path
from unittest.mock import patch
import pytest
from hifigan_ruslan.cli import kaggle_cli
from hifigan_ruslan.kaggle.kernel import KERNEL, build, hand_edits, stale
from kaggle_stub import KaggleStub

ROOT, ID = Path(__file__).parent.parent, 'alice/hifigan-ruslan-train'
META = json.loads((ROOT/'kernel-metadata.json').read_text(encoding='utf-8')) | dict(id=ID)

@pytest.fixture(scope='module')
def made(tmp_path_factory):
    "What a clone has that the kernel needs"
    root = tmp_path_factory.mktemp('clone')
    shutil.copytree(ROOT/'hifigan_ruslan', root/'hifigan_ruslan', ignore=shutil.ignore_patterns('clips', '__pycache__'))
    (root/'nbs').mkdir(); shutil.copy(ROOT/'nbs'/'76_train_kernel.ipynb', root/'nbs')
    build(root)
    return root

@pytest.fixture
def root(made):
    "The clone, as it was after each test"
    metadata(made)
    kept = (made/KERNEL).read_bytes()
    yield made
    (made/KERNEL).write_bytes(kept)

@pytest.fixture(scope='module')
def kaggle(tmp_path_factory):
    "A stub of Kaggle with a kernel of the user's, his recordings, and recordings of which nothing can be read"
    with KaggleStub('alice', datasets=('freezerainml/ruslan', 'bob/voice', 'bob/m4a')) as stub:
        stub.files_of['bob/m4a'] = {f'{i}.m4a': b'' for i in range(3)}
        stub.kernels[ID] = [{}]
        with patch.dict(os.environ, stub.env(tmp_path_factory.mktemp('home')), clear=True): yield stub

@pytest.fixture
def stub(kaggle):
    kaggle.statuses, kaggle.output, kaggle.save_answer = ['COMPLETE'], {}, None
    kaggle.requests.clear()
    return kaggle

def metadata(root, **changes): (root/'kernel-metadata.json').write_text(json.dumps(META|changes), encoding='utf-8')
def sent(stub): return stub.asked('SaveKernel')

def told(root, *words):
    "Exit code, and what the command says on stdout and on stderr"
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try: kaggle_cli(*words, '--root', str(root))
        except SystemExit as e: return e.code, out.getvalue(), err.getvalue()
    return 0, out.getvalue(), err.getvalue()

# At the command: words of the line, exit code, what is said

AT_THE_COMMAND = {
    'hours beyond the limit': (['push', '--hours', '13'], 1, 'HOURS must be a number above 0 and at most 12'),
    'no time': (['push', '--minutes', '0'], 1, 'MINUTES must be above 0'),
    'hours that are no number': (['push', '--hours', 'long'], 2, "invalid float value: 'long'"),
    'an option cut short': (['push', '--hour', '20'], 2, '--hours may be meant'),
    'an option cut short in --train': (['push', '--train', '--hour 20'], 1, '--hours may be meant'),
    'an option misspelt': (['push', '--corups', 'bob/voice'], 2, '--corpus may be meant'),
    'a preset that is none': (['push', '--preset', 'V4'], 1, 'choose one of V1, V2, V3'),
    'a folder of this computer as the corpus': (['push', '--corpus', '~/wavs'], 1, 'Kaggle has no such folder'),
    'a corpus without its owner': (['push', '--corpus', 'voice'], 1, 'as OWNER/NAME'),
    "a corpus by a kernel's address": (['push', '--corpus', 'https://www.kaggle.com/code/bob/voice'], 1, 'OWNER/NAME'),
    'a corpus that nobody has': (['push', '--corpus', 'bob/voise'], 1, 'no data set bob/voise on Kaggle'),
    'a corpus of m4a': (['push', '--corpus', 'bob/m4a'], 1, 'ffmpeg -i a.m4a a.flac'),
    'weights that nobody has': (['push', '--init', 'bob/weights'], 1, 'There is no file or folder bob/weights here'),
    'weights of no name': (['push', '--init', 'univers'], 1, 'There is no checkpoint file univers'),
    'weights that are not attached': (['push', '--init', '/kaggle/input/base/best.pt'], 1, 'nothing of the name base'),
    'weights and none': (['push', '--init', 'universal', '--from-scratch'], 1, 'exclude each other'),
    'weights left from the page': (['push', '--init', 'YOUR_NAME/base'], 1, 'put your user name there'),
    'a file in --train': (['push', '--train', '--config my.json'], 1, '--config (CONFIG) says it'),
    'a voice in --train': (['push', '--train', '--init festvox-ru-v2'], 1, '--init (INIT) says it'),
    'a folder in --train': (['push', '--train', '--out runs/a'], 1, 'unrecognized arguments: --out runs/a'),
    'a word too many in --train': (['push', '--train', 'V2'], 1, 'unrecognized arguments: V2'),
    'a quotation left open': (['push', '--train', "--precision 'fp32"], 1, 'close the quotation'),
    'a precision that is none': (['push', '--train', '--precision half'], 1, 'fp32, bf16 or fp16'),
    'a CPU in --train': (['push', '--train', '--device cpu'], 1, '--cpu with --minutes'),
    'a CPU for eleven hours': (['push', '--cpu', '--from-scratch'], 1, 'CPU is for a short try'),
    'a number that no configuration has': (['push', '--config', 'learning_rate=1'], 1, "unknown key 'learning_rate'"),
    'a configuration that is not here': (['push', '--config', 'my.json'], 1, 'expected NAME=VALUE'),
    'a language that is not spoken': (['push', '--lang', 'fr'], 1, "LANG must be 'en' or 'ru'"),
    'a kernel without its owner': (['push', '--sources', 'mine', '--from-scratch'], 1, "has 'mine', expected OWNER"),
    'a new run in continue': (['continue', '--new_run'], 2, 'unrecognized arguments: --new_run')}

@pytest.mark.parametrize('name', AT_THE_COMMAND)
def test_a_mistake_at_the_command_is_told_before_anything_is_sent(name, stub, root):
    words, code, said = AT_THE_COMMAND[name]
    found, _, err = told(root, *words)
    assert (found, sent(stub))==(code, []) and said in err and 'Traceback' not in err, (found, err)
    assert err.startswith('error: ') or code==2

# In the settings cell of kernel/train.ipynb: what stands in place of which lines, and what is said

def changed(root, *pairs):
    "The kernel with other lines in its settings cell"
    nb = json.loads((root/KERNEL).read_text(encoding='utf-8'))
    cell = next(c for c in nb['cells'] if 'parameters' in c['metadata'].get('tags', ()))
    source = ''.join(cell['source'])
    for name,value in pairs: source = re.sub(rf'^{name} *=.*$', value.replace('\\', r'\\'), source, flags=re.M)
    cell['source'] = source
    (root/KERNEL).write_text(json.dumps(nb), encoding='utf-8')

IN_THE_CELL = {
    'a misspelt name': ([('PRESET', "PRESETS = 'V2'")], 'the kernel has no setting PRESETS, PRESET may be meant'),
    'a setting taken out': ([('HOURS', '')], 'the setting HOURS is missing'),
    'no quotes': ([('PRESET', 'PRESET = V2')], 'PRESET = V2: expected a plain value'),
    'a calculation': ([('HOURS', 'HOURS = 22/2')], 'HOURS = 22/2: expected a plain value'),
    'a quotation left open': ([('PRESET', "PRESET = 'V2")], 'the settings cell is no Python (line 1'),
    'a line that sets nothing': ([('PROCS', 'PROCS = None\nprint(1)')], 'a line that sets nothing: print(1)'),
    'a preset that is none': ([('PRESET', "PRESET = 'V4'")], 'choose one of V1, V2, V3'),
    'hours beyond the limit': ([('HOURS', 'HOURS = 20')], 'HOURS must be a number above 0 and at most 12'),
    'hours in quotes': ([('HOURS', "HOURS = '8'")], "found '8'"),
    'a corpus of this computer': ([('CORPUS', "CORPUS = '/home/me/wavs'")], 'Kaggle has no such folder'),
    'numbers that are no dict': ([('CONFIG', 'CONFIG = 8')], 'CONFIG must be a dict'),
    'a number that does not go': ([('PRESET', "PRESET = 'V1'"), ('CONFIG', "CONFIG = {'batch_size': 0}")],
                                  'batch_size must'),
    'an option cut short': ([('TRAIN', "TRAIN = '--epoch 9'")], '--epochs may be meant'),
    'a CPU for eleven hours': ([('CPU', 'CPU = True')], 'CPU is for a short try'),
    'another root': ([('ROOT', "ROOT = '/tmp'")], "ROOT must be '/kaggle'")}

CHECKED = 'a misspelt name', 'hours beyond the limit', 'a corpus of this computer' # check tells the same as push

@pytest.mark.parametrize('name', IN_THE_CELL)
def test_a_mistake_in_the_settings_cell_is_told_before_anything_is_sent(name, stub, root):
    pairs, said = IN_THE_CELL[name]
    changed(root, *pairs)
    text = (root/KERNEL).read_bytes()
    code, _, err = told(root, 'check' if name in CHECKED else 'push')
    assert (code, stub.requests)==(1, []) and said in err and 'Traceback' not in err, (code, err)
    assert (root/KERNEL).read_bytes()==text

def test_a_cell_that_was_changed_is_refused_by_name(stub, root):
    "Version 0.1 said that the source had changed"
    nb = json.loads((root/KERNEL).read_text(encoding='utf-8'))
    cell = next(c for c in nb['cells'] if c['id']=='module-mel')
    cell['source'] = [*cell['source'], '\nCLAMP = 1']
    (root/KERNEL).write_text(json.dumps(nb), encoding='utf-8')
    code, _, err = told(root, 'push', '--from-scratch')
    assert (code, stub.requests)==(1, []) and 'the module mel was changed' in err and 'git checkout' in err, err

# What is meant well, is sent

def setting(stub, name):
    cell = next(c for c in json.loads(sent(stub)[-1]['text'])['cells'] if 'parameters' in c['metadata'].get('tags', ()))
    values = {}; exec(cell['source'], values)
    return values[name]

def test_settings_changed_by_hand_are_sent_and_kept(stub, root):
    "Version 0.1 refused the edit under a wrong reason, and would have sent its own"
    changed(root, ('PRESET', "PRESET = 'V2' # smaller"), ('HOURS', 'HOURS = 8'))
    code, out, err = told(root, 'push', '--from-scratch', '--hours', '6')
    assert code==0, err
    assert [setting(stub, k) for k in ('PRESET', 'HOURS', 'INIT')]==['V2', 6., 'scratch']
    assert "set by hand in kernel/train.ipynb, and kept: PRESET = 'V2'" in out
    assert 'not sent, as the command line says otherwise: HOURS = 8' in out
    assert hand_edits(root)==(dict(PRESET='V2', HOURS=8), [])

def test_settings_changed_by_hand_outlive_a_build(stub, root):
    changed(root, ('HOURS', 'HOURS = 8'))
    mel = root/'hifigan_ruslan'/'mel.py'; text = mel.read_text(encoding='utf-8')
    mel.write_text(text+'# new\n', encoding='utf-8')
    try:
        code, out, err = told(root, 'push', '--from-scratch')
        assert code==0 and 'is built anew, with its settings as they were changed there: HOURS = 8' in out, (out, err)
        assert setting(stub, 'HOURS')==8 and stale(root)=='' and hand_edits(root)[0]==dict(HOURS=8)
        assert '# new' in sent(stub)[-1]['text']
    finally: mel.write_text(text, encoding='utf-8')

def test_numbers_in_train_become_numbers_of_the_run(stub, root):
    code, out, err = told(root, 'push', '--from-scratch', '--preset', 'V1', '--config', 'seed=7',
                          '--train', '--lr 1e-5 --batch_size 8 --epochs 20')
    assert code==0, err
    assert setting(stub, 'CONFIG')==dict(seed=7, lr_g=1e-5, lr_d=1e-5, batch_size=8)
    assert setting(stub, 'TRAIN')=='--epochs 20' and 'go as CONFIG' in out

@pytest.mark.parametrize('text,source', [('https://www.kaggle.com/datasets/bob/voice', 'bob/voice'),
                                         ('bob/voice/versions/2', 'bob/voice/2')])
def test_own_recordings_take_the_place_of_ruslan(text, source, stub, root):
    code, out, err = told(root, 'push', '--from-scratch', '--corpus', text)
    assert code==0, err
    assert sent(stub)[-1]['datasetDataSources']==[source] and setting(stub, 'CORPUS')=='bob/voice'
    assert f'recordings: {source} is attached, freezerainml/ruslan is not' in out

def test_a_try_without_a_gpu_asks_for_none(stub, root):
    code, _, err = told(root, 'push', '--from-scratch', '--minutes', '10', '--cpu')
    assert code==0, err
    body = sent(stub)[-1]
    assert (body['enableGpu'], body.get('machineShape'), setting(stub, 'CPU'))==(False, None, True)

def test_weights_that_are_a_data_set_on_kaggle_are_attached(stub, root):
    code, out, err = told(root, 'push', '--init', 'https://www.kaggle.com/datasets/bob/voice')
    assert code==0, err
    assert setting(stub, 'INIT')=='bob/voice' and 'from the weights in the data set bob/voice' in out
    assert sent(stub)[-1]['datasetDataSources']==['freezerainml/ruslan', 'bob/voice']

@pytest.mark.parametrize('changes,said', [
    (dict(enable_gpu=False), 'enable_gpu is false, and a session without a GPU'),
    (dict(enable_tpu=True), 'does not train on a TPU'),
    (dict(machine_shape='NvidiaTeslaP100'), 'does not run on a P100')], ids=['no gpu', 'tpu', 'p100'])
def test_the_check_insists_on_the_accelerator(changes, said, stub, root):
    metadata(root, **changes)
    for action in ('check', 'push'):
        code, _, err = told(root, action)
        assert (code, stub.requests)==(1, []) and said in err, err

# After a session

def left(stub, state='COMPLETE', **record):
    stub.statuses, stub.output = [state], {'session.json': json.dumps(record).encode()} if record else {}

V2_OF_8_HOURS = dict(PRESET='V2', INIT='scratch', HOURS=8., MINUTES=None, CORPUS=None, PROCS=None, TRAIN='',
                     CONFIG=None, NEW_RUN=False, CPU=False, LANG='en')

def test_continue_sends_the_settings_of_the_last_session(stub, root):
    "Version 0.1 sent SEED and 11 h after push --preset V2 --hours 8"
    left(stub, outcome='trained', step=900, settings=V2_OF_8_HOURS, inputs=['freezerainml/ruslan', ID])
    code, out, err = told(root, 'continue')
    assert code==0, err
    assert [setting(stub, k) for k in ('PRESET', 'HOURS', 'INIT', 'MINUTES')]==['V2', 8., 'scratch', None]
    assert sent(stub)[-1]['kernelDataSources']==[ID]
    assert "as in the last session (step 900): PRESET = 'V2', HOURS = 8.0" in out.replace("INIT = 'scratch', ", '')

def test_a_change_on_the_command_line_wins_and_is_named(stub, root):
    left(stub, outcome='trained', step=900, settings=V2_OF_8_HOURS | dict(MINUTES=10., CPU=True))
    changed(root, ('LANG', "LANG = 'ru'"))
    code, out, err = told(root, 'continue', '--hours', '6')
    assert code==0, err
    assert [setting(stub, k) for k in ('PRESET', 'HOURS', 'MINUTES', 'CPU', 'LANG')]==['V2', 6., None, False, 'ru']
    for words in ('changed (command line): HOURS = 6.0 in place of 8.0', 'changed (kernel/train.ipynb): LANG',
                  'for that session alone: MINUTES = 10.0', 'for that session alone: CPU = True'): assert words in out

SESSIONS = { # how it was left -> exit code, and what is said
    'failed': (('ERROR', dict(outcome='failed', why='the disk is full')), 3, 'has failed: the disk is full'),
    'failed, as before': (('COMPLETE', dict(outcome='failed', problems=['no GPU'])), 3, 'has failed: no GPU'),
    'killed': (('CANCEL_ACKNOWLEDGED', dict(outcome='running')), 3, 'was killed'),
    'ended before it began': (('ERROR', {}), 3, 'has ended with an error'),
    'stopped': (('ERROR', dict(outcome='stopped', why='SIGTERM', step=70)), 0, 'was stopped (SIGTERM)'),
    'trained': (('COMPLETE', dict(outcome='trained', step=70)), 0, 'trained, step 70')}

@pytest.mark.parametrize('name', SESSIONS)
def test_status_tells_what_became_of_a_session(name, stub, root):
    (state, record), code, said = SESSIONS[name]
    left(stub, state, **record)
    found, out, err = told(root, 'status')
    assert found==code and said in out, (found, out, err)

def test_pull_tells_what_became_of_a_session(stub, root, tmp_path):
    "And not what became of the one before, whose record lies there"
    for name in ('trained', 'failed', 'ended before it began'):
        (state, record), code, said = SESSIONS[name]
        left(stub, state, **record)
        found, out, err = told(root, 'pull', '--out', str(tmp_path/'out'))
        assert found==code and said in out, (found, out, err)

def test_continue_after_a_failure_asks_first(stub, root):
    "Version 0.1 took a failed session, which ended well in Kaggle's eyes, for a good one"
    for name in ('failed', 'failed, as before', 'stopped'):
        (state, record), _, said = SESSIONS[name]
        left(stub, state, **record)
        found, _, err = told(root, 'continue', '--from-scratch')
        assert (found, sent(stub))==(1, []) and said in err and 'add --anyway' in err, err
    found, out, err = told(root, 'continue', '--from-scratch', '--anyway')
    assert (found, len(sent(stub)))==(0, 1) and said in out, err

# From outside, as a user calls it

SCRIPT = Path(sys.executable).with_name('hifigan-kaggle')

def shell(root, *words):
    p = subprocess.run([SCRIPT, *words], capture_output=True, text=True, cwd=root, env=os.environ | {'COLUMNS': '200'})
    return p.returncode, p.stdout+p.stderr

@pytest.mark.parametrize('words,code,said', [
    (['chek'], 2, 'check may be meant'),
    (['push', '--hour', '20'], 2, '--hours may be meant'),
    (['push', '--hours', '13'], 1, 'at most 12'),
    (['push', '--corpus', './wavs'], 1, 'Kaggle has no such folder'),
    (['push', '--train', '--device cpu'], 1, '--cpu with --minutes'),
    (['push', '--preset', 'V4'], 1, 'choose one of'),
    (['check'], 1, 'put your Kaggle user name, alice, in place of'),
    (['build', '--root', '..'], 1, 'run this in a clone')], ids=lambda o: ' '.join(o) if isinstance(o, list) else None)
def test_exit_codes_from_outside(words, code, said, stub, root):
    metadata(root, id='INSERT_KAGGLE_USERNAME/hifigan-ruslan-train')
    found, text = shell(root, *words)
    assert found==code and said in text and 'Traceback' not in text, text

def test_exit_codes_of_a_failed_session_from_outside(stub, root):
    left(stub, 'ERROR', outcome='failed', why='the disk is full')
    for words,code in ((['status'], 3), (['continue'], 1)):
        found, text = shell(root, *words)
        assert found==code and 'has failed: the disk is full' in text, text

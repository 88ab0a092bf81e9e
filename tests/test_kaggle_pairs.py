"""Training on Kaggle on the mels of a TTS: packed and uploaded by the real command to the stub, found by a session, and
the runs that go on with them. Twelve clips and twelve mels; NB_FLAGS=slow runs the compiled kernel under papermill."""
import contextlib, io, json, os, shutil
from pathlib import Path
from unittest.mock import patch
import numpy as np, pytest
import hifigan_ruslan.kaggle.client as client
import hifigan_ruslan.kaggle.pack as packing
from hifigan_ruslan.base.audio import read_wav, wav_at
from hifigan_ruslan.cli import kaggle_cli
from hifigan_ruslan.inference.mel_formats import foreign_mel
from hifigan_ruslan.kaggle.attached import MELS_MARKER, read_mels_marker
from hifigan_ruslan.kaggle.kernel import build, compiled
from hifigan_ruslan.kaggle.pack import pack_mels
from hifigan_ruslan.kaggle.session import Session
from hifigan_ruslan.model.weights import read_checkpoint
from hifigan_ruslan.training.logging import read_log
from kaggle_stub import KaggleStub
from test_kaggle import META, parameter
from test_kaggle_chain import NEW, attach, in_this_process, run_of, sitting
import test_kernel
from test_kernel import execute, slow

python = test_kernel.python # the fixture
ROOT, ID = Path(__file__).parent.parent, 'alice/hifigan-ruslan-train'
CLIPS = sorted((ROOT/'hifigan_ruslan'/'clips').glob('*.flac'))
MELS = 'alice/hifigan-ruslan-mels-tts-out'
SMALL = dict(upsample_initial_channel=32, disc_shrink=32, segment_size=2048, batch_size=2, valid_every=2)

def like_tts(mel, seed):
    "Smoother than the recording's, and a little off"
    rough = np.random.default_rng(seed).normal(0, .2, mel.shape)
    return (np.stack([np.convolve(row, np.ones(3)/3, 'same') for row in mel])+rough).astype(np.float32)

@pytest.fixture(scope='session')
def mels(tmp_path_factory):
    "A folder with a mel for each of the package's clips, as a TTS could have made it"
    folder = tmp_path_factory.mktemp('mels')/'TTS out'
    folder.mkdir()
    for i,f in enumerate(CLIPS):
        np.save(folder/f'{f.stem}.npy', like_tts(foreign_mel(wav_at(*read_wav(f), 22050), 'hifigan').numpy(), i))
    return folder

def quiet(f, *args, **kw):
    "What it gives or raises, and what it says"
    with contextlib.redirect_stdout(io.StringIO()) as said:
        try: found = f(*args, **kw)
        except (ValueError, OSError) as e: found = e
    return found, said.getvalue()

# Packed and uploaded

@pytest.fixture(scope='module')
def clone(tmp_path_factory):
    root = tmp_path_factory.mktemp('clone')
    shutil.copytree(ROOT/'hifigan_ruslan', root/'hifigan_ruslan', ignore=shutil.ignore_patterns('clips', '__pycache__'))
    (root/'nbs').mkdir()
    shutil.copy(ROOT/'nbs'/'76_train_kernel.ipynb', root/'nbs')
    (root/'kernel-metadata.json').write_text(json.dumps(META | dict(id=ID)))
    build(root)
    return root

@pytest.fixture
def stub(tmp_path, monkeypatch):
    monkeypatch.setattr(client, '_PAUSE', .01)
    monkeypatch.setattr(client, '_say_quota', lambda: None)
    with KaggleStub('alice', datasets=('freezerainml/ruslan', 'bob/her-mels', 'bob/wavs')) as s:
        s.files_of['bob/wavs'] = {f'{i}.wav': b'' for i in range(3)}
        s.files_of['bob/her-mels'] = {f'{i}.npy': b'' for i in range(3)}
        s.kernels[ID] = [{}]
        (tmp_path/'tmp').mkdir()
        with patch.dict(os.environ, s.env(tmp_path/'home') | dict(TMPDIR=str(tmp_path/'tmp')), clear=True): yield s

def packs_left(tmp_path): return sorted(p.name for p in (tmp_path/'home').rglob('*.npz'))

def test_mels_are_uploaded_once_and_in_versions(stub, clone, mels, tmp_path):
    "In few files, private, with a marker; the same ones again move nothing, others are a new version"
    id, said = quiet(client.weights, mels=str(mels), root=clone)
    assert id==MELS and '12 mels in half precision, which changes them by 0.0039 at most' in said, (id, said)
    for words in ('only the mels are uploaded', 'Upload successful: mels-aaa.npz', 'is ready'): assert words in said
    body = stub.asked('CreateDataset')[-1]
    assert body['isPrivate'] and 'one for each recording' in body['description']
    assert sorted(stub.stored[MELS][0])==[MELS_MARKER, 'mels-aaa.npz']
    there = np.load(io.BytesIO(stub.stored[MELS][0]['mels-aaa.npz']))
    assert sorted(there)==[f.stem for f in CLIPS] and there[CLIPS[0].stem].dtype==np.float16
    assert np.abs(there[CLIPS[3].stem]-np.load(mels/f'{CLIPS[3].stem}.npy')).max()<.004
    assert packs_left(tmp_path)==[]
    n = len(stub.puts)
    found, said = quiet(client.weights, mels=str(mels), root=clone)
    assert (found, len(stub.puts))==(id, n) and 'nothing is uploaded' in said
    found, said = quiet(client.weights, mels=str(mels), mel_from='tacotron2', root=clone)
    assert found==id and 'a new version of' in said and len(stub.stored[MELS])==2
    assert json.loads(stub.stored[MELS][1][MELS_MARKER])['mel_from']=='tacotron2'

def test_an_upload_that_breaks_off_goes_on(stub, clone, mels, tmp_path, monkeypatch):
    "Not packed anew, and no file is sent twice; of the broken one the rest"
    monkeypatch.setattr(packing, '_SHARD', 10**5)
    stub.breaks = 'mels-aac.npz'
    error, said = quiet(client.weights, mels=str(mels), root=clone)
    assert 'the upload broke off' in str(error) and 'the packed mels stay in' in said, (error, said)
    assert MELS not in stub.stored and len(packs_left(tmp_path))>3
    before, sizes = list(stub.puts), {p.name: p.stat().st_size for p in (tmp_path/'home').rglob('mels-*.npz')}
    id, said = quiet(client.weights, mels=str(mels), root=clone)
    assert id==MELS and 'packed before, and whole' in said and 'Already uploaded' in said, (id, said)
    again = dict(stub.puts[len(before):])
    assert again['mels-aac.npz']<sizes['mels-aac.npz'] and not {n for n,_ in before if n!='mels-aac.npz'} & set(again)
    assert {n: len(b) for n,b in stub.stored[MELS][0].items() if n!=MELS_MARKER}==sizes
    assert packs_left(tmp_path)==[]

WRONG = { # what is given for mels, and what is said before anything is sent
    'no folder': (lambda p: p/'none', 'There is no folder'),
    'empty': (lambda p: p/'empty', 'no mels'),
    'recordings': (lambda p: CLIPS[0].parent, 'recordings'),
    'decibels': (lambda p: p/'db', '--mel_from')}

@pytest.mark.parametrize('what', WRONG)
def test_a_wrong_folder_is_told(what, stub, clone, mels, tmp_path):
    (tmp_path/'empty').mkdir(); (tmp_path/'db').mkdir()
    for p in mels.iterdir(): np.save(tmp_path/'db'/p.name, np.load(p)*8.686)
    given, words = WRONG[what]
    def to_push():
        with client._mels_of(clone, dict(MELS=str(given(tmp_path)))): pass
    for f in (lambda: client.weights(mels=str(given(tmp_path)), root=clone), to_push):
        error, _ = quiet(f)
        assert isinstance(error, (ValueError, OSError)) and words in str(error), error
    assert not stub.asked('StartBlobUpload') and not stub.asked('SaveKernel') and packs_left(tmp_path)==[]

def test_words_that_do_not_go_together(stub, clone, mels):
    for kw,words in ((dict(mel_from='espnet'), 'no --mels FOLDER was given'),
                     (dict(voice='universal', mels=str(mels), name='x1'), '--name names one of both')):
        error, _ = quiet(client.weights, root=clone, **kw)
        assert words in str(error), error
    assert not stub.requests

# Pushed, and gone on with

def left(stub, **record):
    stub.statuses = ['COMPLETE']
    stub.output = {'session.json': json.dumps(dict(outcome='trained', step=40) | record).encode()}

def test_push_carries_the_mels_and_continue_again(stub, clone, mels, tmp_path):
    address, said = quiet(client.push, clone, mels=str(mels), from_scratch=True)
    assert 'It is trained on the mels tts-out (12 mels, SHA-256 ' in said, (address, said)
    digest = json.loads(json.dumps(pack_mels(mels, tmp_path/'p').digest))
    setting = f'{MELS}@{digest[:12]}'
    assert parameter(stub.pushed['text'], 'MELS')==setting and parameter(stub.pushed['text'], 'MEL_FROM') is None
    assert stub.pushed['datasetDataSources']==['freezerainml/ruslan', MELS]
    settings = dict(MELS=setting, MEL_FROM=None, INIT='scratch')
    record = dict(settings=settings, inputs=['freezerainml/ruslan', MELS, ID], mels=dict(sha256=digest))
    left(stub, **record)
    _, said = quiet(client.proceed, clone)
    assert parameter(stub.pushed['text'], 'MELS')==setting, said
    assert stub.pushed['datasetDataSources']==['freezerainml/ruslan', MELS]
    n = len(stub.asked('SaveKernel'))
    other = tmp_path/'TTS out'
    other.mkdir()
    for p in mels.iterdir(): np.save(other/p.name, np.load(p)-.5)
    left(stub, **record)
    error, _ = quiet(client.proceed, clone, mels=str(other))
    assert 'the run was begun with other mels' in str(error), error
    # a version of which the run knows nothing
    newer = json.loads(stub.stored[MELS][0][MELS_MARKER]) | dict(mel_from='espnet')
    stub.stored[MELS].append({MELS_MARKER: json.dumps(newer).encode(), 'mels-aaa.npz': b''})
    left(stub, **record)
    error, _ = quiet(client.proceed, clone)
    assert f'{MELS} has other mels now' in str(error) and 'push --mels begins one' in str(error), error
    assert len(stub.asked('SaveKernel'))==n

def test_mels_on_kaggle_are_looked_up(stub, clone):
    page = 'https://www.kaggle.com/datasets/bob/her-mels'
    _, said = quiet(client.push, clone, mels=page, mel_from='espnet', from_scratch=True)
    assert [parameter(stub.pushed['text'], k) for k in ('MELS', 'MEL_FROM')]==['bob/her-mels', 'espnet'], said
    assert stub.pushed['datasetDataSources']==['freezerainml/ruslan', 'bob/her-mels']
    def found(where):
        with client._mels_of(clone, dict(MELS=where)) as mels: return mels
    path = '/kaggle/input/datasets/bob/her-mels/x'
    assert found(path)[::2]==(dict(MELS=path), ['bob/her-mels'], None) and found('none')==found(None)==client._Mels({})
    for given,words in (('bob/wavs', 'has no files of mels (.npz, .npy, .pt), but .wav'),
                        ('bob/none', 'no data set bob/none'),
                        ('bob/her-mels@0123', 'has no packed mels'), ('mels', 'expected a folder of this computer'),
                        ('~/mels', 'There is no folder ~/mels')):
        error, _ = quiet(found, given)
        assert words in str(error), error
    n = len(stub.requests)
    error, _ = quiet(client.push, clone, mel_from='espent', from_scratch=True)
    assert "There is no mel format 'espent'" in str(error)
    with contextlib.redirect_stderr(io.StringIO()) as err, pytest.raises(SystemExit):
        kaggle_cli('push', '--root', str(clone), '--mels', 'YOUR_NAME/mels')
    assert 'put your user name there' in err.getvalue() and len(stub.requests)==n

# A session

@pytest.fixture
def place(tmp_path, mels, monkeypatch):
    "What is attached: the clips, and the packed mels"
    in_this_process(monkeypatch)
    corpus = tmp_path/'input/datasets/freezerainml/ruslan'
    corpus.mkdir(parents=True)
    for f in CLIPS: shutil.copy(f, corpus)
    quiet(pack_mels, mels, tmp_path/'input/datasets'/MELS)
    return tmp_path

def sat(place, steps=None, **settings):
    "A session of so many steps: what it says, with the error that ends it, and its record"
    said = io.StringIO()
    settings = dict(preset='TINY', config=SMALL | dict(true_mels=.5), minutes=10.) | settings
    if steps: settings['train'] = f'--steps {steps}'
    with contextlib.redirect_stdout(said):
        try: found, record = sitting(place, **settings)
        except ValueError as e: return f'{said.getvalue()}{e}', json.loads((place/'working/session.json').read_text())
    return found, record

def refused(place, *words, **settings):
    "Ended in its first minute, with these words: nothing is prepared, and no step is trained"
    shutil.rmtree(place/'working', ignore_errors=True)
    said, record = sat(place, **settings)
    for w in words: assert w in said, said
    assert record['outcome']=='failed' and not list(place.rglob('dataset.json')), (said, record)
    return said

def test_a_run_on_mels_goes_on_with_them_alone(place, mels):
    "Of eleven clips, as a try takes the mels of its clips alone"
    next((place/'input/datasets/freezerainml/ruslan').iterdir()).unlink()
    said, record = sat(place, 4)
    assert record['outcome']=='trained' and record['mels']['pairs']==11, (said, record)
    assert 'a try: of the mels, those of its clips are taken' in said and '50% of the segments get' in said, said
    assert 'trained on the mels of a TTS: tts-out (12 mels, SHA-256 ' in said and MELS in record['inputs'], said
    assert 'mels of 11 of 11 recordings' in said and '1 mel belongs to no recording' in said, said
    assert record['settings']['MELS'] is None
    assert np.isfinite(read_log(place/'working/run/log.csv')['valid_tts_ema']).any()
    run = attach(place, NEW)
    assert len(read_checkpoint(run/'checkpoints/last.pt')['data_sha256'].split())==3
    packed = place/'input/datasets'/MELS
    shutil.rmtree(place/'temp')

    packed.rename(place/'away')
    refused(place, 'was trained on the mels of a TTS, and none are attached. Attach the mels that it was trained on',
            'NEW_RUN = True', steps=6)
    (place/'away').rename(packed)
    refused(place, "and none are attached (MELS = 'none')", steps=6, mels='none')

    other = place/'others'
    other.mkdir()
    for p in mels.iterdir(): np.save(other/p.name, np.load(p)-.1)
    quiet(pack_mels, other, place/'input/datasets/alice/others')
    refused(place, 'More than one set of mels', 'Say which one', steps=6)
    said, record = sat(place, 6, mels='alice/others')
    assert 'trained on the mels of a TTS, and the data holds other ones now. Attach the mels' in said, said
    assert record['outcome']=='failed' and not list((place/'working').glob('run/checkpoints/*.pt'))

    mine = read_mels_marker(packed/MELS_MARKER)
    said, record = sat(place, 6, mels=f'alice/hifigan-ruslan-mels-tts-out@{mine.digest[:12]}', lang='ru')
    for words in ('обучение на мелах TTS: tts-out (мелов: 12', 'записей с мелами 11 из 11'): assert words in said, said
    assert (record['outcome'], record['began_at'], record['step'])==('trained', 4, 6), said

def test_what_does_not_fit_ends_the_session_at_once(place, mels, tmp_path):
    packed = place/'input/datasets'/MELS
    refused(place, 'MELS is \'bob/mels\', which is not attached; attached: alice/hifigan-ruslan-mels-tts-out, freeze',
            'hifigan-kaggle push --mels OWNER/NAME attaches', mels='bob/mels')
    refused(place, 'an old version may be attached', mels=f'{MELS}@000000')
    refused(place, "MEL_FROM: There is no mel format 'espent'", mel_from='espent')
    theirs = tmp_path/'LJ'
    theirs.mkdir()
    for i,p in enumerate(sorted(mels.iterdir())): shutil.copy(p, theirs/f'LJ001-{i:04d}.npy')
    shutil.rmtree(packed)
    quiet(pack_mels, theirs, packed)
    refused(place, 'none of the 13 names in', 'LJ001-0011; expected: ')
    (packed/MELS_MARKER).write_text('{}')
    refused(place, 'is not as version 1 of hifigan-kaggle weights --mels writes it')
    shutil.rmtree(packed)
    refused(place, 'true_mels 0.5 asks for that share')

def test_damaged_mels_are_not_trained_on(place):
    archive = place/'input/datasets'/MELS/'mels-aaa.npz'
    raw = bytearray(archive.read_bytes())
    raw[len(raw)//2] ^= 1
    archive.write_bytes(raw)
    refused(place, 'mels-aaa.npz was changed or damaged, its SHA-256 is not the one in', steps=4)

def test_a_run_without_mels_goes_on_without(place):
    "Those that are attached are named, and not used; asked for, they are refused"
    run_of(place, NEW, 'TINY', 9, data='some data', **SMALL)
    said = refused(place, "was trained on the recordings' own mels, and MELS asks for those of a TTS. Take MELS back",
                   mels=MELS, preset=None, config=None)
    assert 'NEW_RUN = True' in said
    shutil.rmtree(place/'working')
    s, said = quiet(Session, None, minutes=1., root=place, cpu=True)
    assert s.attached.step==9 and s.mels is None, (s, said)
    assert 'are attached and not used: the run that goes on was trained without' in said, said
    s, said = quiet(Session, 'TINY', minutes=1., root=place, cpu=True, new_run=True)
    assert s.mels.name=='tts-out' and 'not used' not in said, (s, said)

# The compiled kernel

@slow
def test_the_kernel_trains_on_mels(python, tmp_path, mels):
    "As Kaggle runs it, in both layouts of the mounts, in Russian the second time"
    corpus = tmp_path/'input/ruslan'
    corpus.mkdir(parents=True)
    for f in CLIPS: shutil.copy(f, corpus)
    quiet(pack_mels, mels, tmp_path/'input/hifigan-ruslan-mels-tts-out')
    log, code = execute(python, compiled(ROOT), tmp_path, CONFIG=SMALL, TRAIN='--steps 20', MELS=MELS)
    assert code==0 and 'trained on the mels of a TTS: tts-out' in log and 'cannot be seen whose it is' in log, log
    record = json.loads((tmp_path/'working/session.json').read_text())
    assert (record['outcome'], record['mels']['pairs'], record['problems'])==('trained', 12, []), log
    shutil.move(tmp_path/'working', tmp_path/'input'/NEW)
    log, code = execute(python, compiled(ROOT, LANG='ru'), tmp_path, CONFIG=SMALL, TRAIN='--steps 30', LANG='ru')
    record = json.loads((tmp_path/'working/session.json').read_text())
    assert code==0 and record['began_at']==20 and record['step']==30, log
    assert 'обучение на мелах TTS: tts-out' in log, log

"""Training on the mels of a TTS: which segments are heard, that a run can be cut and shared like any other, what is
said, what the best goes by, and what is refused"""
import contextlib, io, json, math, os, shutil, signal, socket, subprocess, sys
from dataclasses import replace
from functools import partial
from unittest.mock import patch
import numpy as np, pytest, torch
from hifigan_ruslan import train
from hifigan_ruslan.base.commands import parsed
from hifigan_ruslan.config import TINY, V1_44K, save_config
from hifigan_ruslan.data import Batch, PairedMels, SegmentDataset, SpeechData, store_mels
from hifigan_ruslan.dataset.corpus import synth_corpus
from hifigan_ruslan.dataset.prepare import prepare
from hifigan_ruslan.checkpoint import load_checkpoint, save_checkpoint
from hifigan_ruslan.mel import CLAMP, LogMel
from hifigan_ruslan.step import new_state, train_step
from hifigan_ruslan.training import command
from hifigan_ruslan.training.command import train_cli
from hifigan_ruslan.training.logging import VALID_COLUMNS, plot_curves, read_log

TOY = replace(TINY, upsample_initial_channel=32, disc_shrink=32, segment_size=2048, batch_size=2, valid_every=4,
              mpd_periods=(2,), msd_scales=1, true_mels=.3, random_gain_db=3.)
torch.set_num_threads(1)
LOGMEL = LogMel(TOY)

def smooth(data, u):
    "A stand-in for what a TTS says: the recording's mel, smeared over three frames"
    m = LOGMEL(torch.from_numpy(data.wav(u))[None])[0].numpy()
    return (np.roll(m, 1, 1)+m+np.roll(m, -1, 1))/3

def store(data, us, cfg=TOY, **facts):
    return store_mels(data, cfg, ((u, smooth(data, u), 0) for u in us), **dict(mel_from='stand-in')|facts)

@pytest.fixture(scope='module')
def plain(tmp_path_factory):
    "A prepared corpus without mels"
    folder = tmp_path_factory.mktemp('pairs')
    corpus = synth_corpus(folder/'RUSLAN', n=12, seconds=1.2, sample_rate=22050)
    with contextlib.redirect_stdout(io.StringIO()):
        return prepare(corpus, folder/'data', valid=.2, test=0., workers=0, progress=False)

def copy_of(plain, folder): return SpeechData.open(shutil.copytree(plain.path, folder))

@pytest.fixture(scope='module')
def paired(plain, tmp_path_factory):
    "The same, with a mel of all utterances but the second and the last of the training part"
    data = copy_of(plain, tmp_path_factory.mktemp('paired')/'data')
    without = {data.split('train')[i].id for i in (1, -1)}
    store(data, [u for u in data.utterances if u.id not in without], source='tts/out')
    return data

def fitted(data, out, cfg=TOY, drawn=False, **kw):
    "A run, and what it said; without its pictures, which take the most time"
    draws = {} if drawn else dict(save_samples=lambda *args: None, _draw=lambda r: None)
    with contextlib.redirect_stdout(io.StringIO()) as said, patch.dict(train.fit.__globals__, draws):
        s = train.fit(data, out, cfg, view='lines', device='cpu', log_every=2, **kw)
    return s, said.getvalue()

def numbers(s): return [x for n in s.networks().values() for x in n.state_dict().values()]

def rows(out):
    "The log, with -1 where there is no number"
    return {k: np.nan_to_num(v, nan=-1.).tolist() for k,v in read_log(out/'log.csv').items()}

# Which segments

def old_crop(data, ds, i):
    "A segment as it was cut before there were pairs"
    u, r = ds.utterances[i], np.random.default_rng([ds.seed, ds.epoch, 0, 1]).random((len(ds), 2))
    row, start, size = np.zeros(ds.segment_size, np.int16), u.start, ds.segment_size
    if u.length>size: start += int(r[i,0]*(u.length-size+1))
    n = min(size, u.length)
    row[:n] = data.audio[start:start+n]
    wav = row*np.float32(1/32768)
    if not ds.random_gain_db: return wav
    gain = 10**((2*r[[i],1]-1)*ds.random_gain_db/20)
    return wav*np.minimum(gain, 1/np.abs(wav).max().clip(1e-5)).astype(np.float32)

@pytest.mark.parametrize('size', [2048, 40_000])
@pytest.mark.parametrize('gain', [0., 6.])
def test_without_pairs_each_crop_is_what_it_was(plain, size, gain):
    ds = SegmentDataset(plain, size, 7, gain)
    for epoch in range(20):
        ds.set_epoch(epoch)
        for i in range(len(ds)): assert np.array_equal(ds[i][0], old_crop(plain, ds, i))

def test_without_pairs_a_batch_is_its_waves(plain):
    ds = SegmentDataset(plain, 2048)
    b = ds.batch([2, 0])
    assert b[1:]==(None, None) and torch.equal(b.wav, torch.stack([ds[2], ds[0]]))

def test_each_segment_and_its_mel_are_of_one_place(paired):
    mels = PairedMels.open(paired)
    ds = SegmentDataset(paired, 2048, 3, mels=mels)
    seen = set()
    for epoch in range(40):
        ds.set_epoch(epoch)
        b = ds.batch(range(len(ds)))
        for u,wav,mel in zip(ds.utterances, b.wav[:,0].numpy(), b.mel.numpy()):
            whole, w = mels.mel(u), paired.wav(u)
            at = [f for f in range(whole.shape[1]-7) if np.array_equal(whole[:,f:f+8], mel)]
            assert len(at)==1 and np.array_equal(w[256*at[0]:256*at[0]+2048], wav)
            seen.add((u.id, at[0]==0, at[0]==whole.shape[1]-8))
    assert {first for _,first,_ in seen}=={True, False}=={last for *_,last in seen}

@pytest.mark.parametrize('share', [0., .3, 1.])
def test_a_share_is_a_share(paired, share):
    ds = SegmentDataset(paired, 2048, mels=PairedMels.open(paired), true_mels=share)
    drawn = []
    for epoch in range(1000):
        ds.set_epoch(epoch)
        drawn.append(ds.batch(range(len(ds))).true)
    each = torch.stack(drawn).float().mean(0) # of each utterance, over the epochs
    assert len(each)==len(ds) and each.sub(share).abs().max()<.07 and abs(each.mean()-share)<.03

def test_short_utterances_end_in_silence(paired, tmp_path):
    "Behind its last whole frame an utterance is silent in both; and one can train on nothing else"
    mels = PairedMels.open(paired)
    b = SegmentDataset(paired, 256*110, mels=mels, random_gain_db=6.).batch([0])
    u = mels.split('train')[0]
    n = u.length//256
    assert n<110 and not b.wav[0,0,256*n:].any()
    assert b.mel[0,:,n:].unique().tolist()==[np.float32(math.log(CLAMP))]
    s, said = fitted(paired, tmp_path/'run', replace(TOY, segment_size=256*110), steps=1)
    assert s.step==1 and s.skipped==0

def test_only_what_has_a_mel_is_heard(paired, tmp_path):
    heard = set()
    class Heard(SegmentDataset):
        def batch(self, indices):
            heard.update(self.utterances[i].id for i in indices)
            return super().batch(indices)
    with patch.dict(train.fit.__globals__, SegmentDataset=Heard): s, said = fitted(paired, tmp_path/'run', steps=8)
    mels = PairedMels.open(paired)
    assert heard=={u.id for u in mels.split('train')} and len(heard)==len(paired.split('train'))-2
    assert '8 of 10 training and 2 of 2 validation utterances have one' in said
    assert 'stand-in, tts/out' in said and "30% of the segments get the recording's own mel" in said
    assert 'the others are left out' in said
    assert (s.epoch, s.seen)==(2, 0) and '8 training utterances' in said and '4 steps an epoch' in said

# The step

def test_the_generator_gets_the_right_mel():
    wav, rng = torch.randn(3, 1, 2048)*.1, torch.Generator().manual_seed(0)
    tts = torch.randn(3, 80, 8, generator=rng)-5
    def input_of(batch, **kw):
        s, got = new_state(replace(TOY, **kw), precision=kw.pop('precision', 'fp32')), []
        s.generator.register_forward_pre_hook(lambda m, args: got.append(args[0]))
        logs = train_step([batch], s)
        assert s.skipped==0 and logs['total'].isfinite()
        return got[0]
    own = LOGMEL(wav)
    assert torch.equal(input_of(wav), own) and torch.equal(input_of(Batch(wav)), own)
    assert torch.equal(input_of(Batch(wav, tts)), tts)
    mixed = input_of(Batch(wav, tts, torch.tensor([True, False, True])))
    assert torch.equal(mixed, torch.stack([own[0], tts[1], own[2]]))
    warm = input_of(Batch(wav, tts), mel_warmup=1)
    assert torch.equal(warm, tts)

@pytest.mark.parametrize('precision,kw', [
    ('fp16', dict(mel_warmup=1, grad_accum=2)), ('fp32', dict(cosine_steps=9, ema_decay=0.)),
    ('bf16', dict(discriminators=('mpd','mrd'), mel_loss='multiscale', lambda_mel=6.5))])
def test_all_kinds_of_training(paired, tmp_path, precision, kw):
    s, said = fitted(paired, tmp_path/'run', replace(TOY, **kw), steps=2, precision=precision)
    log = read_log(tmp_path/'run'/'log.csv')
    assert s.step==2 and np.isfinite([log[k][-1] for k in ('valid_mel', 'valid_tts', 'valid_tts_ema')]).all()

# Cut and shared

SCRIPT = '''
import json, os, signal, sys, torch
torch.set_num_threads(1)
from hifigan_ruslan import train
from hifigan_ruslan.config import load_config
step = train.train_step
def dies(batches, s, stop):
    if s.step==KILL: os.kill(os.getpid(), signal.SIGKILL)
    return step(batches, s, stop)
KILL, data, out, cfg, kw = int(sys.argv[1]), *sys.argv[2:5], json.loads(sys.argv[5])
train.train_step = dies
train.fit(data, out, load_config(cfg), device='cpu', view='lines', log_every=2, **kw)
'''

def started(folder, data, out, cfg, kill=-1, rank=None, port=0, **kw):
    "A run in a process of its own, which kills itself before a step; or one process of two"
    (folder/'run.py').write_text(SCRIPT)
    save_config(cfg, folder/'cfg.json')
    env = dict(os.environ)
    if rank is not None:
        env |= dict(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE='2', TORCHELASTIC_RUN_ID='pairs',
                    MASTER_ADDR='127.0.0.1', MASTER_PORT=str(port))
    command = [sys.executable, folder/'run.py', str(kill), data.path, out, folder/'cfg.json', json.dumps(kw)]
    return subprocess.Popen([*map(str, command)], env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

def stops_at(at):
    "A signal in the middle of the step that comes after this one"
    def stopped(batches, s, stop):
        if s.step==at: os.kill(os.getpid(), signal.SIGTERM)
        return real(batches, s, stop)
    real = train.train_step
    return patch.dict(train.fit.__globals__, train_step=stopped)

def test_a_run_that_was_killed_and_stopped_is_the_undisturbed_one(paired, tmp_path):
    "SIGKILL and SIGTERM, each in the middle of an epoch"
    dead = started(tmp_path, paired, tmp_path/'cut', TOY, kill=3, steps=8, save_minutes=1e-9)
    whole, _ = fitted(paired, tmp_path/'whole', steps=8)
    said, _ = dead.communicate()
    assert dead.returncode==-signal.SIGKILL, said
    with stops_at(5): half, said = fitted(paired, tmp_path/'cut', steps=8)
    assert 'last.pt, step 3\n' in said and half.stopped and half.step==5
    cut, said = fitted(paired, tmp_path/'cut', steps=8)
    assert 'last.pt, step 5\n' in said and all(map(torch.equal, numbers(whole), numbers(cut)))
    assert (whole.epoch, whole.seen, whole.best)==(cut.epoch, cut.seen, cut.best)
    last = [rows(tmp_path/o) for o in ('whole', 'cut')]
    for k in ('valid_mel', 'valid_tts', 'valid_tts_ema', 'valid_tts_ema_8k'): assert last[0][k][-1]==last[1][k][-1]!=-1

def free_port():
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        return s.getsockname()[1]

def test_two_processes_are_one_with_twice_the_batch(paired, tmp_path):
    port, kw = free_port(), dict(steps=4, precision='fp64')
    pair = [started(tmp_path, paired, tmp_path/'two', TOY, rank=r, port=port, **kw) for r in (0, 1)]
    one, _ = fitted(paired, tmp_path/'one', replace(TOY, batch_size=4), **kw)
    told = [p.communicate()[0] for p in pair]
    assert [p.returncode for p in pair]==[0, 0], told
    two = load_checkpoint(tmp_path/'two'/'checkpoints'/'last.pt')[0]
    assert (one.step, one.epoch, one.seen)==(two.step, two.epoch, two.seen)
    assert max((a-b).abs().max().item() for a,b in zip(numbers(one), numbers(two)))<1e-8
    a, b = rows(tmp_path/'one'), rows(tmp_path/'two')
    for k in VALID_COLUMNS: assert a[k]==pytest.approx(b[k], abs=1e-4), k

# What it goes by

def told(*scores):
    "In place of validations: of each the number from the recordings' own mels, and that from the TTS's"
    left = iter(scores)
    def validate(s, clips, **kw):
        own, tts = (dict.fromkeys(names, x) for names,x in zip((VALID_COLUMNS[:4], VALID_COLUMNS[4:]), next(left)))
        return own | tts, [], True
    return patch.dict(train.fit.__globals__, validate=validate)

def test_the_best_is_that_of_the_tts(paired, tmp_path):
    with told((1., 1.), (.9, 1.1)): s, said = fitted(paired, tmp_path/'run', replace(TOY, valid_every=1), steps=2)
    assert s.best==1. and "best mel L1 1.0000 on unseen utterances from the TTS's mels" in said
    assert load_checkpoint(tmp_path/'run'/'checkpoints'/'best.pt')[0].step==1
    assert "best.pt and the alarm go by the mel L1 from the TTS's mels (valid_tts_ema)" in said

def test_the_alarm_compares_what_the_best_does(paired, tmp_path):
    "First the TTS's number is worse than the start and the other better, then the other way round"
    save_checkpoint(new_state(TOY), tmp_path/'init.pt')
    with told((2., 1.), (1., 1.1), (3., .9)):
        s, said = fitted(paired, tmp_path/'run', replace(TOY, valid_every=1), steps=2, init=tmp_path/'init.pt')
    assert (s.start, s.best)==(1., .9) and "the start: mel L1 1.0000 from the TTS's mels on unseen" in said
    assert said.count('ALARM')==1 and "mel L1 1.1000 on unseen utterances from the TTS's mels, 1.0000 at the" in said
    assert read_log(tmp_path/'run'/'log.csv')['vs_start']==pytest.approx([0., .1, -.1])

def test_sounds_and_curves_of_both(paired, tmp_path):
    fitted(paired, tmp_path/'run', steps=1, drawn=True)
    for folder in (tmp_path/'run'/'samples').iterdir():
        names = sorted(p.name for p in folder.iterdir())
        assert names==['real.wav', 'step_00000001.png', 'step_00000001.wav', 'tts_00000001.wav']
    log = read_log(tmp_path/'run'/'log.csv')
    assert log['valid_tts_ema'][-1]!=log['valid_ema'][-1]
    labels = [t.get_text() for t in plot_curves(log).axes[0].get_legend().get_texts()]
    assert "the same, from a TTS's mels" in labels

def test_a_run_without_a_validation_pair(plain, tmp_path):
    data = copy_of(plain, tmp_path/'data')
    store(data, data.split('train'))
    s, said = fitted(data, tmp_path/'run', steps=4)
    log = read_log(tmp_path/'run'/'log.csv')
    assert 'no validation utterance has a mel of the TTS: best.pt and the alarm go by the recordings' in said
    assert '0 of 2 validation utterances' in said and 'valid_tts_ema' not in log
    assert s.best==pytest.approx(log['valid_ema'][-1], abs=1e-4) and "from the TTS's" not in said.splitlines()[-1]
    assert '2 validation clips' in said

# What is refused

def refused(words, data, out, cfg=TOY, **kw):
    with pytest.raises(ValueError) as e: fitted(data, out, cfg, **dict(steps=20)|kw)
    assert words in str(e.value), str(e.value)
    return str(e.value)

def test_other_pairs_or_none_do_not_go_on(plain, paired, tmp_path):
    run, own = tmp_path/'run', tmp_path/'own'
    fitted(paired, run, none := replace(TOY, true_mels=0.), steps=1)
    fitted(plain, own, none, steps=1)
    data = copy_of(paired, tmp_path/'data')
    some = PairedMels.open(data).split('train')
    store_mels(data, TOY, ((u, smooth(data, u)+.01, 0) for u in some))
    assert '--init' in refused('trained on the mels of a TTS, and the data holds other ones now', data, run, none)
    refused('trained on the mels of a TTS, and the data holds none now', plain, run, none)
    refused("trained on the recordings' own mels, and the data holds mels of a TTS now", paired, own, none)
    refused('true_mels: 0.0 there, 0.5 asked for', paired, run, replace(TOY, true_mels=.5))
    assert fitted(paired, run, none, steps=2)[0].step==2

def test_the_same_files_of_the_tts_are_the_same_pairs(plain, tmp_path):
    "Another machine converts them with another rounding: a run goes on by what they were made of"
    data = copy_of(plain, tmp_path/'data')
    store(data, data.utterances, source_sha256='a'*64)
    fitted(data, tmp_path/'run', steps=1)
    rounded = ((u, smooth(data, u)*np.float32(1+1e-6), 0) for u in data.utterances)
    store_mels(data, TOY, rounded, mel_from='stand-in', source_sha256='a'*64)
    assert fitted(data, tmp_path/'run', steps=2)[0].step==2
    store(data, data.utterances, source_sha256='b'*64)
    refused('the data holds other ones now', data, tmp_path/'run')

def test_likely_mistakes(plain, paired, tmp_path):
    none, new = replace(TOY, true_mels=0.), tmp_path/'new'
    said = refused('true_mels 0.3 asks for that share', plain, new)
    assert f'hifigan-prepare CORPUS {plain.path} --mels FOLDER' in said
    said = refused('n_fft: 1024 there, 2048 asked for', paired, new, replace(TOY, n_fft=2048))
    assert 'Use --preset V1' in said
    said = refused('prepare it again with --sample_rate 44100', paired, new, replace(V1_44K, batch_size=2))
    assert 'pair the mels of the TTS anew' in said
    with pytest.raises(ValueError, match='true_mels must be a share from 0 to 1, such as .3, found 3'):
        replace(TOY, true_mels=3)
    data = copy_of(plain, tmp_path/'data')
    store(data, data.split('valid'))
    refused('None of the 10 training utterances', data, new, none)
    odd = replace(TOY, fmax=7000.)
    store(data, data.utterances, odd)
    assert '(--config)' in refused('fmax: 7000.0 there, 8000.0 asked for', data, new, none)
    (data.path/'mels.json').unlink()
    refused('are not finished', data, new, none)
    assert not new.exists()

def test_the_command(paired, tmp_path, capsys):
    save_config(replace(TOY, true_mels=0.), tmp_path/'cfg.json')
    call = partial(train_cli, str(paired.path), str(tmp_path/'run'), config=str(tmp_path/'cfg.json'), device='cpu')
    call(steps=1, true_mels=.5)
    assert "50% of the segments get the recording's own mel" in capsys.readouterr().out
    assert load_checkpoint(tmp_path/'run'/'checkpoints'/'last.pt')[0].cfg.true_mels==.5
    with pytest.raises(SystemExit): call(true_mels=3.)
    assert 'true_mels must be a share from 0 to 1, such as .3, found 3.0' in capsys.readouterr().err
    assert parsed(train_cli, ['data', 'run', '--true_mels', '.3'], 'hifigan-train')['true_mels']==.3

def test_the_length_of_a_fine_tuning_is_that_of_what_is_heard(paired, capsys):
    "500 steps for each minute that has a mel; here for hours in place of seconds"
    with patch.object(SpeechData, 'sample_rate', 22050/3600): command._fine_tuning_steps(paired.path)
    assert f'{PairedMels.open(paired).hours*3600:.2f} h' in capsys.readouterr().out

"""A HiFi-GAN of NVIDIA NeMo wherever a checkpoint is taken. The archive is made here as NeMo's `save_to` makes one, of
a generator whose modules have the names of nemo/collections/tts/modules/hifigan_modules.py"""
import io, json, re, tarfile
from dataclasses import replace
import pytest, torch
from hifigan_ruslan.checkpoint import init_weights, load_checkpoint
from hifigan_ruslan.config import TINY, save_config
from hifigan_ruslan.evaluation.systems import TrainedGenerator
from hifigan_ruslan.generator import random_generator
from hifigan_ruslan.inference.hub import export
from hifigan_ruslan.model.reading import config_of, open_checkpoint, start_weights
from hifigan_ruslan.model.weights import load_generator, old_names, read_checkpoint
from hifigan_ruslan.model.weightset import start_files
from hifigan_ruslan.discriminators import Discriminators
from hifigan_ruslan.step import new_state
from hifigan_ruslan.vocoder import Vocoder

FULL = replace(TINY, disc_shrink=1) # What NeMo has of discriminators
PREPROCESSOR = dict(
    _target_='nemo.collections.asr.parts.preprocessing.features.FilterbankFeatures', nfilt=80, lowfreq=0, highfreq=8000,
    n_fft=1024, n_window_size=1024, n_window_stride=256, pad_to=0, pad_value=-11.52, sample_rate=22050, window='hann',
    normalize=None, preemph=None, dither=0., frame_splicing=1, log=True, log_zero_guard_type='clamp',
    log_zero_guard_value=1e-5, mag_power=1., use_grads=False, exact_pad=True)
GENERATOR = dict(_target_='nemo.collections.tts.modules.hifigan_modules.Generator', resblock=2,
                 upsample_rates=[8, 8, 4], upsample_kernel_sizes=[16, 16, 8], upsample_initial_channel=64,
                 resblock_kernel_sizes=[3, 5], resblock_dilation_sizes=[[1, 2], [2, 6]])
CONFIG = dict(preprocessor=PREPROCESSOR, generator=GENERATOR, target='nemo.collections.tts.models.hifigan.HifiGanModel',
              nemo_version='1.21.0', train_ds=dict(dataset=dict(n_segments=8192)))

def their_name(k):
    "A block of NeMo is numbered in its stage"
    return 'generator.'+re.sub(r'^resblocks\.(\d+)', lambda m: f'resblocks.{int(m[1])//2}.{int(m[1])%2}', k)

def their_discriminators():
    "Each weight one number of its own, seen as many: a file of few bytes"
    shapes = {f'{k}.{n}': w.shape for k,m in Discriminators(FULL).items() for n,w in old_names(m.state_dict()).items()}
    return {n: torch.tensor(.001*(i+1)).expand(shape) for i,(n,shape) in enumerate(shapes.items())}

def write_nemo(path, state, config, mode='w'):
    torch.save(state, weights := io.BytesIO())
    with tarfile.open(path, mode) as t:
        parts = {'model_config.yaml': json.dumps(config).encode(), 'model_weights.ckpt': weights.getvalue()}
        for name,data in parts.items():
            m = tarfile.TarInfo(f'./{name}')
            m.size = len(data)
            t.addfile(m, io.BytesIO(data))
    return path

@pytest.fixture(scope='module')
def made(): return random_generator(TINY, 3)

@pytest.fixture(scope='module')
def nemo(made, tmp_path_factory):
    state = {their_name(k): v for k,v in old_names(made.state_dict()).items()} | their_discriminators()
    for k in ('audio_to_melspec_precessor', 'trg_melspec_fn'):
        state |= {f'{k}.fb': torch.rand(1, 80, 513), f'{k}.window': torch.hann_window(1024, periodic=False)}
    return write_nemo(tmp_path_factory.mktemp('nemo')/'ru_hifigan.nemo', state, CONFIG)

@pytest.fixture(scope='module')
def wave(made):
    mel = torch.randn(1, 80, 30, generator=torch.manual_seed(0))*2-5
    return mel, load_generator(TINY, made.state_dict())(mel).detach()[0]

def test_vocoder(nemo, wave, capsys):
    v = Vocoder.load(nemo)
    assert torch.allclose(v.vocode(wave[0])[0], wave[1], atol=1e-5)
    assert 'is a HiFi-GAN of NeMo, with its discriminators; 80 bands' in capsys.readouterr().err
    assert (v.cfg.sample_rate, v.cfg.fmax) == (22050, 8000.)

@pytest.mark.parametrize('format', ['safetensors', 'official'])
def test_export(nemo, wave, tmp_path, format):
    export(nemo, out := tmp_path/'out', format)
    cfg, weights = open_checkpoint(out if format=='safetensors' else next(p for p in [out] if p.exists()))
    assert torch.allclose(load_generator(cfg, weights)(wave[0])[0], wave[1], atol=1e-5)

def test_evaluation(nemo):
    s = TrainedGenerator(nemo)
    assert s.cfg.n_mels==80 and s.name=='ru_hifigan'
    assert not start_files(nemo.parent)==[]

def test_start_of_a_training(nemo, made):
    "Weights that claim to be many are no weights; of those that are there the generator is taken"
    cfg, _ = open_checkpoint(nemo)
    assert config_of(start_weights(nemo))==cfg and cfg.disc_shrink==1
    with pytest.raises(ValueError, match='ru_hifigan.nemo: mpd does not fit .* numbers are not all there'):
        init_weights(new_state(cfg), start_weights(nemo))

def test_training_starts_with_all_three_networks(made, tmp_path):
    "A file as large as NeMo's are, in half precision"
    state = {their_name(k): v for k,v in old_names(made.state_dict()).items()}
    whole = {k: v.half().contiguous() for k,v in their_discriminators().items()}
    nemo = write_nemo(tmp_path/'whole.nemo', state|whole, CONFIG)
    s = new_state(open_checkpoint(nemo)[0])
    assert init_weights(s, start_weights(nemo))==['generator', 'ema', 'mpd', 'msd']
    for k,v in old_names(made.state_dict()).items(): assert torch.equal(old_names(s.generator.state_dict())[k], v), k
    for k,v in their_discriminators().items():
        net, _, name = k.partition('.')
        assert torch.equal(old_names(s.discriminators[net].state_dict())[name], v.half().float()), k

def test_another_configuration_for_mels_from_files(nemo, made, tmp_path):
    "What no configuration tells, the user may say"
    state = {their_name(k): v for k,v in old_names(made.state_dict()).items()}
    files = dict(train_ds=dict(dataset=dict(load_precomputed_mel=True)))
    tuned = write_nemo(tmp_path/'tuned.nemo', state, CONFIG | files)
    save_config(replace(TINY, fmax=None), tmp_path/'full.json')
    assert Vocoder.load(tuned, tmp_path/'full.json').cfg.fmax is None
    assert 'was trained on mels from files' in read_checkpoint(tuned)['nemo']
    with pytest.raises(ValueError, match='is of another configuration'): Vocoder.load(nemo, tmp_path/'full.json')

def test_it_is_no_run(nemo):
    "Nothing goes on from one as from a checkpoint of ours"
    with pytest.raises(ValueError): load_checkpoint(nemo)

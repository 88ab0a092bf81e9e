"""LIGHT, a generator of another kind, goes everywhere where a HiFi-GAN goes: training and back from its checkpoints,
engines, streams, exports, the page, the kernel; and what cannot be is refused by name"""
import contextlib, importlib, io, json, sys
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch
import pytest, torch
from hifigan_ruslan import train
from hifigan_ruslan.base.commands import parsed
from hifigan_ruslan.checkpoint import init_weights, load_checkpoint
from hifigan_ruslan.config import LIGHT, PRESETS, TINY, V2, config_dict, load_config, preset
from hifigan_ruslan.dataset.corpus import synth_corpus
from hifigan_ruslan.dataset.prepare import prepare
from hifigan_ruslan.generator import (
    GENERATORS, count_params, generator_class, new_generator, random_generator, receptive_field)
from hifigan_ruslan.inference.cpu import FastGenerator
from hifigan_ruslan.inference.hub import export
from hifigan_ruslan.kaggle import kernel
from hifigan_ruslan.model.reading import open_checkpoint, start_weights
from hifigan_ruslan.model.weights import differing, load_generator
from hifigan_ruslan.model.weightset import MODEL
from hifigan_ruslan.step import new_state, train_step
from hifigan_ruslan.training import command
from hifigan_ruslan.vocoder import Vocoder

torch.set_num_threads(1)
TOY = replace(LIGHT, light_channels=16, light_hidden=32, light_blocks=2, disc_shrink=32, segment_size=2048,
              batch_size=2, valid_every=4, mpd_periods=(2,), msd_scales=1)

@pytest.fixture(scope='module')
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp('light')
    corpus = synth_corpus(folder/'RUSLAN', n=8, seconds=1.2, sample_rate=22050)
    with contextlib.redirect_stdout(io.StringIO()):
        return prepare(corpus, folder/'data', valid=.2, test=0., workers=0, progress=False)

def fitted(data, out, cfg=TOY, **kw):
    "A run, without its pictures, which take the most time"
    draws = dict(save_samples=lambda *args: None, _draw=lambda r: None)
    with contextlib.redirect_stdout(io.StringIO()), patch.dict(train.fit.__globals__, draws):
        return train.fit(data, out, cfg, view='lines', device='cpu', log_every=2, **kw)

@pytest.fixture(scope='module')
def run(data, tmp_path_factory):
    out = tmp_path_factory.mktemp('run')/'run'
    fitted(data, out, steps=6)
    return out

def numbers(s): return [x for n in s.networks().values() for x in n.state_dict().values()]

def speech_mel(frames=90, seed=0):
    rough = torch.randn(80, frames+8, generator=torch.manual_seed(seed))
    return rough.unfold(1, 9, 1).mean(-1)*3-5 # as smooth as speech, or the vocoder wonders

def wave(cfg, weights, mel):
    with torch.no_grad(): return load_generator(cfg, weights)(mel[None])[0,0]

def test_a_run_that_is_cut_goes_on_bit_by_bit(data, run, tmp_path):
    whole, _ = load_checkpoint(run/'checkpoints'/'last.pt')
    fitted(data, tmp_path/'cut', steps=3)
    again = fitted(data, tmp_path/'cut', steps=6)
    assert again.step==whole.step==6 and all(torch.equal(a, b) for a,b in zip(numbers(whole), numbers(again)))
    assert load_config(run/'config.json').generator=='light'

def test_every_weight_learns():
    cfg = replace(TOY, lr_g=1e-3)
    s = new_state(cfg)
    before = {k: v.clone() for k,v in s.generator.state_dict().items()}
    wav = [.1*torch.randn(2, 1, 2048, generator=torch.manual_seed(0))]
    assert all(train_step(wav, s)[k].isfinite() for k in ('disc', 'gen', 'fm', 'mel', 'total'))
    still = [k for k,v in s.generator.state_dict().items() if torch.equal(v, before[k])]
    assert still==['prior.matrix'] # is given, not learnt

def test_it_trains_in_half_and_in_double_precision():
    wav = [.1*torch.randn(2, 1, 2048, generator=torch.manual_seed(0))]
    mel = {p: train_step(wav, new_state(TOY, precision=p))['mel'].item() for p in ('fp32', 'bf16', 'fp64')}
    assert abs(mel['fp64']-mel['fp32'])<1e-3*mel['fp32'] and abs(mel['bf16']-mel['fp32'])<.05*mel['fp32']

def test_a_new_run_starts_from_any_of_its_files(run, tmp_path):
    cfg, weights = open_checkpoint(run)
    assert cfg==TOY
    with contextlib.redirect_stdout(io.StringIO()):
        export(run, tmp_path/'voice')
        export(run, tmp_path/'voice.onnx')
    mel = speech_mel()
    for start in (run/'checkpoints'/'last.pt', start_weights(tmp_path/'voice'), start_weights(tmp_path/'voice.onnx')):
        s = new_state(TOY)
        init_weights(s, start)
        got = wave(TOY, s.ema.state_dict(), mel)
        assert (got-wave(*open_checkpoint(start), mel)).abs().max()<1e-6, start

def test_weights_of_another_kind_are_no_start(data, run, tmp_path):
    with pytest.raises(ValueError, match='generator: light there, hifigan asked for'):
        fitted(data, tmp_path/'a', replace(TINY, segment_size=2048), init=run/'checkpoints'/'last.pt', steps=1)
    with pytest.raises(ValueError, match='generator: hifigan there, light asked for'):
        fitted(data, tmp_path/'b', init=start_weights('festvox-ru-v2'), steps=1)

def test_engines_streams_and_pieces_make_one_wave():
    weights, mel = random_generator(LIGHT).state_dict(), speech_mel()
    want = wave(LIGHT, weights, mel)
    for engine,most in (('auto', 1e-5), ('torch', 1e-5), ('onnx', 1e-4)):
        v = Vocoder(LIGHT, weights, engine=engine)
        assert (v.vocode(mel)[0]-want).abs().max()<most, engine
        pieces = list(v.stream(iter(mel.split(7, 1))))
        assert len(pieces)>3 and (torch.cat(pieces, -1)[0]-want).abs().max()<most, engine
    assert Vocoder(LIGHT, weights).engine=='torch'
    half = Vocoder(LIGHT, weights, precision='bf16').vocode(mel)[0]
    assert 0<(half-want).abs().mean()<.5*want.abs().mean()

def test_the_fast_engine_is_refused_by_name():
    weights = random_generator(TOY).state_dict()
    with pytest.raises(ValueError, match="'fast' is for HiFi-GAN, the generator is of the kind 'light'"):
        Vocoder(TOY, weights, engine='fast')
    with pytest.raises(ValueError, match="fast engine is for HiFi-GAN, found the generator 'light'"):
        FastGenerator(load_generator(TOY, weights))

def test_exports_open_again(run, tmp_path):
    mel = speech_mel()
    want = wave(*open_checkpoint(run), mel)
    for name,format,most in (('a', None, 1e-6), ('b', 'safetensors-fp16', .05), ('c.onnx', None, 1e-6),
                             ('d.onnx', 'onnx-fp16', .05)):
        with contextlib.redirect_stdout(io.StringIO()): export(run, tmp_path/name, format=format)
        cfg, weights = open_checkpoint(tmp_path/name)
        assert (cfg.generator, cfg.light_channels)==('light', 16)
        assert (wave(cfg, weights, mel)-want).abs().max()<most, name
    card = (tmp_path/'a'/'README.md').read_text(encoding='utf-8')
    assert '# LIGHT vocoder, 22050 Hz' in card and 'on frames' in card and 'HiFi-GAN' not in card.split('```')[0]
    with pytest.raises(ValueError, match="no generator of the kind 'light', only HiFi-GAN; safetensors"):
        export(run, tmp_path/'e'/'generator', format='official')
    assert not (tmp_path/'e').exists()

def test_the_page_is_told_the_kind():
    page = importlib.import_module('hifigan_ruslan.inference.page')
    said = page._numbers(TOY)
    assert (said['generator'], said['light_blocks'], said['receptive_field'])==('light', 2, receptive_field(TOY))
    assert 'light_blocks' not in page._numbers(TINY)

def test_the_kernel_carries_it():
    files = kernel._reached(kernel._modules(train.__file__.rpartition('/')[0]))
    assert 'model/light.py' in files and list(files).index('generator.py')<list(files).index('model/light.py')

def test_the_command_trains_it(data, tmp_path, monkeypatch):
    monkeypatch.setitem(PRESETS, 'LIGHT', TOY)
    words = [str(data.path), str(tmp_path/'run'), *'--preset light --steps 1 --device cpu --batch_size 1'.split()]
    with patch.dict(train.fit.__globals__, save_samples=lambda *args: None, _draw=lambda r: None):
        with contextlib.redirect_stdout(io.StringIO()): command.train_cli(**parsed(command.train_cli, words, 'x'))
    cfg, weights = open_checkpoint(tmp_path/'run')
    assert cfg==replace(TOY, batch_size=1) and weights['post.weight'].shape==(1539, 16)

def test_the_register_imports_the_kind_that_is_asked_for(monkeypatch):
    monkeypatch.delitem(GENERATORS, 'light')
    monkeypatch.delitem(sys.modules, 'hifigan_ruslan.model.light', raising=False)
    assert generator_class(LIGHT).__name__=='LightGenerator' and count_params(new_generator(LIGHT))<=1_000_000
    for wrong in ('wavenet', 'Light'):
        with pytest.raises(ValueError, match=f"no generator '{wrong}'; the known ones are hifigan, light"):
            new_state(replace(TINY, generator=wrong))

def test_the_configuration_to_train_it_with_is_of_it():
    cfg = load_config(Path(__file__).parent.parent/'nbs'/'runs'/'light'/'config.json')
    assert not differing(cfg, LIGHT, MODEL) and cfg.cosine_steps>=cfg.mel_warmup

def test_files_of_hifigan_do_not_change():
    assert not {'generator', 'light_channels'} & config_dict(V2).keys()
    assert preset('light')==LIGHT and json.dumps(config_dict(LIGHT)).count('light')==4

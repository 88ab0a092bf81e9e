"""Files of version 0.1 (tests/data/v0_1): each opens, both runs go on with the same weights,
and what is written now is read both ways"""
import json, shutil
from pathlib import Path
import numpy as np, pytest, torch
from safetensors.torch import load_file
from hifigan_ruslan.checkpoint import find_checkpoint, init_weights, load_checkpoint, save_checkpoint
from hifigan_ruslan.config import config_dict, load_config, save_config
from hifigan_ruslan.data import SpeechData
from hifigan_ruslan.inference.hub import export
from hifigan_ruslan.listening.listening_test import BlindTest
from hifigan_ruslan.listening.ratings import ListeningSession, read_ratings
from hifigan_ruslan.model.weights import read_checkpoint
from hifigan_ruslan.step import new_state
from hifigan_ruslan.train import fit
from hifigan_ruslan.training.logging import log_columns, read_log
from hifigan_ruslan.vocoder import Vocoder

OLD = Path(__file__).parent/'data'/'v0_1'
RUNS = dict(run=('mpd','msd'), run_mrd=('mpd','mrd'))
FILES = dict(run='run', voice='voice', half='half', onnx='onnx/voice.onnx', official='official/g_4')
FORMATS = dict(voice='safetensors', half='safetensors-fp16', onnx='onnx', official='official')

@pytest.fixture(scope='module')
def expected(): return dict(np.load(OLD/'expected.npz'))

@pytest.fixture
def old(tmp_path):
    "A copy, to write into"
    return Path(shutil.copytree(OLD, tmp_path/'v0_1'))

def weights(s): return torch.cat([p.detach().flatten() for p in [*s.generator.parameters(), *s.disc_params()]]).numpy()

def same_voice(checkpoint, expected, eps=1e-4):
    wav = np.asarray(Vocoder.load(checkpoint).vocode(expected['mel']))
    assert wav.shape==expected['wav'].shape and np.abs(wav-expected['wav']).max()<eps

@pytest.mark.parametrize('name', RUNS)
def test_run_opens(name):
    cfg = load_config(OLD/name/'config.json')
    s, rest = load_checkpoint(OLD/name/'checkpoints'/'last.pt')
    assert s.cfg==cfg and cfg.discriminators==tuple(s.discriminators)==RUNS[name] and s.step==4
    assert not {'msd','mrd'} & rest.keys() and rest['config']['disc']=='+'.join(RUNS[name]) # as it stands in the file
    assert find_checkpoint(OLD/name/'checkpoints', say=pytest.fail)[0].step==4
    assert list(read_log(OLD/name/'log.csv'))==log_columns(cfg)

@pytest.mark.parametrize('name', RUNS)
def test_run_goes_on(name, old, expected, capsys):
    before, cfg = (old/name/'log.csv').read_text(), load_config(old/name/'config.json')
    s = fit(old/'data', old/name, cfg, steps=6, device='cpu', precision='fp32', view='lines', log_every=1)
    assert s.step==6 and f'continuing from {old/name/"checkpoints"/"last.pt"}, step 4' in capsys.readouterr().out
    assert np.abs(weights(s)-expected[f'{name}_6']).max()<1e-3
    assert abs(s.best-expected[f'{name}_mel_l1'])<1e-3
    after = (old/name/'log.csv').read_text()
    assert after.startswith(before) and len(after.splitlines())==len(before.splitlines())+2
    assert load_config(old/name/'config.json')==cfg
    keys = read_checkpoint(old/name/'checkpoints'/'last.pt', whole=False).keys()
    assert keys & {'mpd','msd','mrd'}=={*RUNS[name]}

@pytest.mark.parametrize('name', RUNS)
def test_a_new_run_starts_from_it(name):
    s = new_state(load_config(OLD/name/'config.json'))
    last = OLD/name/'checkpoints'/'last.pt'
    assert init_weights(s, last)==['generator', 'ema', *RUNS[name]]
    assert np.array_equal(weights(s), weights(load_checkpoint(last)[0]))
    other = new_state(load_config(OLD/('run' if name=='run_mrd' else 'run_mrd')/'config.json'))
    with pytest.raises(ValueError, match='does not fit this configuration .discriminators: '): init_weights(other, last)

@pytest.mark.parametrize('name', FILES)
def test_voice_sounds_the_same(name, expected): same_voice(OLD/FILES[name], expected, 2e-3 if name=='half' else 1e-4)

@pytest.mark.parametrize('name', FORMATS)
def test_run_is_exported_as_before(name, tmp_path, expected):
    out = tmp_path/FILES[name]
    out.parent.mkdir(exist_ok=True)
    export(OLD/'run', out, FORMATS[name])
    same_voice(out, expected, 2e-3 if name=='half' else 1e-4)
    if (out/'model.safetensors').is_file():
        now, then = (load_file(o/'model.safetensors') for o in (out, OLD/name))
        assert now.keys()==then.keys() and all(torch.equal(now[k], then[k]) for k in then)

def test_run_of_both_kinds_is_a_voice():
    for name in RUNS: assert Vocoder.load(OLD/name).sample_rate==22050

def test_what_is_written_now_is_what_was_written_then(tmp_path):
    "With the discriminators of version 0.1 and its three losses no key is new, so that it reads our files"
    then = read_checkpoint(OLD/'run'/'checkpoints'/'last.pt')
    s = load_checkpoint(OLD/'run'/'checkpoints'/'last.pt')[0]
    save_checkpoint(s, tmp_path/'now.pt')
    now = read_checkpoint(tmp_path/'now.pt')
    assert list(now)==list(then) and (now['format'], now['version'])==(then['format'], then['version'])
    known = {k: v for k,v in then['config'].items() if k!='disc'}
    assert {k: now['config'][k] for k in known}==known
    assert not {'disc','discriminators','lambda_gen'} & now['config'].keys() # what is left out is the default there
    save_config(s.cfg, tmp_path/'config.json')
    assert json.loads((tmp_path/'config.json').read_text())==now['config']
    assert config_dict(load_config(OLD/'run_mrd'/'config.json'))['discriminators']==['mpd','mrd']

def test_prepared_data_opens():
    data = SpeechData.open(OLD/'data')
    assert data.sample_rate==22050 and len(data.split('train')) and len(data.split('valid'))

def test_blind_test_opens(old):
    test = BlindTest.open(OLD/'blind')
    assert (test.kind, list(test.systems), test.sample_rate)==('abx', ['one','two'], 8000)
    rows = read_ratings(OLD/'blind')
    assert [(r['listener'], r['clip'], r['answer']) for r in rows]==[('x', 'a', 'A')]
    session = ListeningSession(BlindTest.open(old/'blind'), 'x')
    assert session.progress==(1, len(session.trials)) and session.wav('A').shape==(8000,)

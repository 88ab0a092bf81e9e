"""Configurations of anybody: keys that are not known, numbers that are missing, of the wrong kind or absurd are refused
by file and key, and nothing is allocated for them"""
import json
from dataclasses import fields, replace
import pytest
from hifigan_ruslan.config import (
    PRESETS, TINY, V1, V2, Config, config_dict, config_from_dict, load_config, official_dict, preset)
from hifigan_ruslan.training.command import train_cli

OFFICIAL = dict(official_dict(V1), num_workers=4)
HARMLESS = {'num_gpus', 'num_workers', 'num_freq', 'dist_config'}
TRAINING = {'fmax_for_loss', 'segment_size', 'batch_size', 'lr_decay', 'seed', 'learning_rate', 'adam_b1', 'adam_b2'}
MODEL = ('sample_rate n_fft win_length hop_length n_mels fmin fmax resblock upsample_rates upsample_kernel_sizes '
         'upsample_initial_channel resblock_kernel_sizes resblock_dilation_sizes').split()

def said(d):
    with pytest.raises(ValueError) as e: config_from_dict(d)
    return str(e.value)

@pytest.mark.parametrize('name', PRESETS)
def test_both_formats_come_back(name):
    cfg = PRESETS[name]
    assert config_from_dict(config_dict(cfg))==cfg
    if cfg.generator!='hifigan':
        with pytest.raises(ValueError, match='no generator of the kind'): official_dict(cfg)
        return
    official = config_from_dict(official_dict(cfg))
    assert all(getattr(official, k)==getattr(cfg, k) for k in MODEL)

@pytest.mark.parametrize('key', sorted(OFFICIAL))
def test_each_official_key(key):
    "What the model depends on is required, the rest may be missing; misspelt none is passed over"
    without = {k: v for k,v in OFFICIAL.items() if k!=key}
    if key in HARMLESS|TRAINING-{'adam_b1','adam_b2'}: config_from_dict(without)
    elif key in TRAINING: assert 'belong together' in said(without)
    else: assert f'{key} is missing' in said(without)
    assert repr(key+'x') in said(without|{key+'x': OFFICIAL[key]})

@pytest.mark.parametrize('more', [
    dict(discriminator_periods=[3,5]), dict(activation='snakebeta', snake_logscale=True), dict(use_tanh_at_final=False),
    dict(model_type='x'), dict(gen_istft_n_fft=16), dict(sample_rate=22050), dict(disc='mpd+msd'),
    dict(harmonic_num=8), dict(hop_length=256), dict(lambda_mel=45), {'': 1}, {'upsample_rate': 8}])
def test_other_keys_are_named(more):
    assert any(repr(k) in said(OFFICIAL|more) for k in more)

def test_misspelt_v2_is_no_v1():
    d = official_dict(V2)
    d['upsample_initial_chanel'] = d.pop('upsample_initial_channel')
    assert "'upsample_initial_chanel'; did you mean 'upsample_initial_channel'" in said(d)

@pytest.mark.parametrize('key', MODEL)
def test_no_number_of_the_model_is_guessed(key):
    assert f'{key} is missing' in said({k: v for k,v in config_dict(V2).items() if k!=key})
    assert key in said({})

WRONG = ['true', '"1"', '[1]', '[]', '{}', 'Infinity', '-Infinity', 'NaN', '-1', '1'+'0'*400, '9'*5000, '1e400', '"x"',
         '[[1]]']
FREE = {'mel_loss', 'resblock', 'discriminators'} # texts, which have their own tests

@pytest.mark.parametrize('key', [f.name for f in fields(Config) if f.name not in FREE])
def test_each_value_of_each_key(key, tmp_path):
    "One line that names the file and the key, for all values that are none"
    p, d = tmp_path/'cfg.json', config_dict(TINY)
    text = json.dumps({k: v for k,v in d.items() if k!=key})[:-1]
    ok = dict(mpd_periods={'[1]', '[[1]]'}, generator={'"x"'}).get(key, ()) # any name may be in the register
    for value in WRONG:
        if value in ok: continue
        p.write_text(f'{text}, "{key}": {value}}}')
        with pytest.raises(ValueError) as e: load_config(p)
        assert str(e.value).startswith(f'{p}: ') and key in str(e.value) and len(str(e.value))<500, e.value

@pytest.mark.parametrize('text,words', [
    ('['*5000, 'nested too deep'), ('{"seed": '*5000, 'nested too deep'), ('{"seed": 1, "seed": 2}', 'twice'),
    ('{', 'not JSON'), ('', 'not JSON'), ('null', 'found NoneType'), ('3', 'found int'), ('{"a": 1}x', 'not JSON'),
    ('{"\\ud800": 1}', 'unknown key')])
def test_a_file_that_is_none(text, words, tmp_path):
    p = tmp_path/'cfg.json'
    p.write_text(text)
    with pytest.raises(ValueError, match=words) as e: load_config(p)
    assert str(p) in str(e.value)

HUGE = dict(upsample_initial_channel=[10**9, 8192], n_mels=[10**6], msd_scales=[10**9], batch_size=[10**9, 65_536],
            grad_accum=[10**9], segment_size=[2_560_000_000], mpd_periods=[[2]*20_000, [10**9]], n_fft=[2**30],
            win_length=[2**30], hop_length=[2**30], sample_rate=[2**40, 1], upsample_kernel_sizes=[[10**9+1]*3],
            resblock_kernel_sizes=[[10**9+1]*2, [3]*20_000], upsample_rates=[[1]*20_000, [10**9]*3],
            resblock_dilation_sizes=[[[1,10**9],[2,6]], [[1,2]]*20_000], disc_shrink=[10**9], epochs=[10**30])

@pytest.mark.parametrize('key', HUGE)
def test_absurd_numbers_are_refused_before_anything_is_made(key, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr('hifigan_ruslan.train.fit', lambda **kw: pytest.fail('it began to train'))
    (tmp_path/'data').mkdir()
    for value in HUGE[key]:
        (tmp_path/'c.json').write_text(json.dumps(config_dict(TINY)|{key: value}))
        with pytest.raises(SystemExit):
            train_cli(str(tmp_path/'data'), str(tmp_path/'run'), config=str(tmp_path/'c.json'))
        told = capsys.readouterr().err
        assert told.startswith('error: ') and told.count('\n')==1 and 'c.json' in told and len(told)<700, told
    assert not (tmp_path/'run').exists()

def test_wide_models_still_go():
    "The limits are far above what people train"
    replace(V1, upsample_initial_channel=1536, n_mels=128)
    replace(preset('V1_44K'), batch_size=256, segment_size=65_536)
    replace(V1, sample_rate=192_000, fmax=None, n_fft=8192, win_length=8192)

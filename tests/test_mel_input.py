"""A generator that sees the pseudo-inverse of the mel: begun from official weights or refused, trained, gone on with,
exported, streamed, and asked for from every command"""
import contextlib, io, json
from dataclasses import replace
from unittest.mock import patch
import numpy as np, pytest, torch
from hifigan_ruslan import train
from hifigan_ruslan.checkpoint import init_weights
from hifigan_ruslan.config import TINY, V1, V2, config_dict, config_from_dict, load_config, save_config
from hifigan_ruslan.dataset.corpus import synth_corpus
from hifigan_ruslan.dataset.prepare import prepare
from hifigan_ruslan.generator import Generator, random_generator, receptive_field
from hifigan_ruslan.inference.hub import export
from hifigan_ruslan.kaggle.kernel import split_train
from hifigan_ruslan.kaggle.session import train_words
from hifigan_ruslan.mel import LogMel
from hifigan_ruslan.model.reading import open_checkpoint, start_weights
from hifigan_ruslan.model.weights import check_fit, load_generator, widen_input
from hifigan_ruslan.step import new_state, train_step
from hifigan_ruslan.training import command
from hifigan_ruslan.training.command import train_cli
from hifigan_ruslan.vocoder import Vocoder

torch.set_num_threads(1)
TOY = replace(TINY, upsample_initial_channel=32, disc_shrink=32, segment_size=2048, batch_size=2, valid_every=4,
              mpd_periods=(2,), msd_scales=1)
BOTH, PIM = (replace(TOY, mel_input=o) for o in ('mel+pim', 'pim'))
MEL = torch.randn(1, 80, 61, generator=torch.manual_seed(3))*2-5

def waves(seed=0): return torch.randn(2, 1, 2048, generator=torch.manual_seed(seed))*.1

# From official weights

@pytest.mark.parametrize('name', ['universal', 'festvox-ru-v2']) # V1 of the official authors, V2 of ours
def test_official_weights_begin_mel_pim_bit_for_bit(name):
    cfg, weights = open_checkpoint(name)
    both = replace(cfg, mel_input='mel+pim')
    wider = widen_input(both, weights)
    check_fit(both, wider)
    was, now = load_generator(cfg, weights), load_generator(both, wider)
    with torch.inference_mode():
        for frames in (1, 9, 24): assert torch.equal(was(MEL[...,:frames]), now(MEL[...,:frames]))

def test_a_start_is_said_and_learns_from_the_first_step():
    cfg = replace(V2, mel_input='mel+pim', disc_shrink=32, discriminators=('mpd',), segment_size=2048, batch_size=1)
    s, said = new_state(cfg), []
    s.ranks.say = said.append
    assert init_weights(s, start_weights('festvox-ru-v2'))==['generator', 'ema']
    assert len(said)==1 and 'begins with zeros, and the wave is the same until they learn' in said[0]
    g = load_generator(*open_checkpoint('festvox-ru-v2'))
    with torch.no_grad(): assert (s.generator(MEL[...,:9])-g(MEL[...,:9])).abs().max()<1e-6 # one is folded
    new = s.generator.conv_pre.parametrizations.weight.original1[:,80:]
    assert not new.any()
    train_step([waves()[:1]], s)
    heard = (np.fft.rfftfreq(1024, 1/22050)<8000).sum() # above, the guess is a constant
    assert new.abs().amax((0,2))[:heard].min()>0

@pytest.mark.parametrize('kind', ['voice', 'official', 'folded', 'ours'])
def test_pim_is_refused_with_what_to_do(kind, tmp_path):
    "In all forms in which weights come: the sentence says why, and names mel+pim"
    if kind=='voice': cfg, init = replace(V2, mel_input='pim', disc_shrink=32), start_weights('festvox-ru-v2')
    else:
        cfg, g = PIM, random_generator(TOY)
        state = g.state_dict()
        if kind=='folded': state = load_generator(TOY, state).state_dict()
        ck = dict(generator=state)
        if kind=='ours': ck |= dict(format='hifigan_ruslan', version=2, config=config_dict(TOY))
        init = tmp_path/'g_00000007'
        torch.save(ck, init)
    with pytest.raises(ValueError) as e: init_weights(new_state(cfg), init)
    assert 'sees 80 numbers of a frame (mel_input mel), and one with mel_input pim sees 513' in str(e.value)
    assert 'mel_input mel+pim sees both, and begins exactly as these weights are' in str(e.value)
    assert 'Traceback' not in str(e.value) and len(str(e.value).splitlines())==1

def test_from_one_that_sees_more_no_official_one_begins(tmp_path):
    for own,asked in ((BOTH, TOY), (BOTH, PIM), (PIM, TOY), (PIM, BOTH)):
        with pytest.raises(ValueError, match=f'Use mel_input {own.mel_input.replace("+", chr(92)+"+")}$'):
            init_weights(new_state(asked), dict(generator=random_generator(own).state_dict()))

# Trained, and gone on with

@pytest.fixture(scope='module')
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp('pim')
    corpus = synth_corpus(folder/'RUSLAN', n=8, seconds=1.2, sample_rate=22050)
    with contextlib.redirect_stdout(io.StringIO()):
        return prepare(corpus, folder/'data', valid=.2, test=0., workers=0, progress=False)

def fitted(data, out, cfg, **kw):
    draws = dict(save_samples=lambda *args: None, _draw=lambda r: None) # pictures take the most time
    with contextlib.redirect_stdout(io.StringIO()) as said, patch.dict(train.fit.__globals__, draws):
        return train.fit(data, out, cfg, view='lines', device='cpu', log_every=1, **kw), said.getvalue()

def numbers(s): return [x for n in s.networks().values() for x in n.state_dict().values()]

@pytest.mark.parametrize('cfg', [BOTH, PIM], ids=['mel+pim', 'pim'])
def test_a_run_in_two_parts_is_the_whole_run_and_goes_out_in_every_form(data, tmp_path, cfg):
    whole, _ = fitted(data, tmp_path/'whole', cfg, steps=4)
    fitted(data, tmp_path/'run', cfg, steps=2)
    parts, _ = fitted(data, tmp_path/'run', cfg, steps=4)
    assert all(map(torch.equal, numbers(whole), numbers(parts)))
    assert 'mel_input' in json.loads((tmp_path/'run'/'config.json').read_text())
    with pytest.raises(ValueError, match='mel_input: .* there, mel asked for'):
        fitted(data, tmp_path/'run', TOY, steps=9)
    v = Vocoder.load(tmp_path/'run', engine='torch')
    assert v.cfg==cfg
    want = v.vocode(MEL)
    for out,format in (('folder', 'safetensors'), ('a.onnx', 'onnx'), ('half.onnx', 'onnx-fp16')):
        with contextlib.redirect_stdout(io.StringIO()): export(tmp_path/'run', tmp_path/out, format)
        again = Vocoder.load(tmp_path/out)
        assert again.cfg==cfg
        assert (again.vocode(MEL)-want).abs().max()<(1e-2 if 'half' in out else 1e-4), out
    with pytest.raises(ValueError, match=rf'no word for mel_input {cfg.mel_input.replace("+", chr(92)+"+")}'):
        export(tmp_path/'run', tmp_path/'official'/'generator', 'official')
    assert not (tmp_path/'official').exists()

@pytest.mark.parametrize('engine', ['torch', 'fast', 'onnx'])
@pytest.mark.parametrize('cfg', [BOTH, PIM], ids=['mel+pim', 'pim'])
def test_pieces_and_streams_are_the_whole(engine, cfg):
    "The guess belongs to its frame: the reach is that of the mel, and no seam is left"
    assert receptive_field(cfg)==receptive_field(TOY)
    v = Vocoder(cfg, random_generator(cfg), engine=engine)
    want = v.vocode(MEL[0])
    assert want.std()>.05
    for chunk in (5, 17): assert (v.vocode(MEL[0], chunk=chunk)-want).abs().max()<1e-5
    streamed = torch.cat(list(v.stream(MEL[0].split(7, -1))), -1)
    assert streamed.shape==want.shape and (streamed-want).abs().max()<1e-5

@pytest.mark.parametrize('precision', ['fp32', 'bf16'])
def test_the_guess_is_in_fp32_whatever_the_step_computes_in(precision):
    s, seen = new_state(BOTH, precision=precision), []
    s.generator.input.register_forward_hook(lambda m, args, y: seen.append(y))
    wav = waves(1)
    logs = train_step([wav], s)
    assert all(v.isfinite() for v in logs.values())
    mel = LogMel(BOTH)(wav).double()
    inverse = torch.from_numpy(np.linalg.pinv(LogMel(BOTH).basis.double().numpy(), rcond=1e-6))
    guess = (inverse@mel.exp()).abs().clamp(min=1e-5)
    assert seen[0].dtype==torch.float32
    assert torch.allclose(seen[0][:,80:].exp().double(), guess, rtol=1e-3, atol=1e-5)
    assert torch.equal(seen[0][:,:80], LogMel(BOTH)(wav))

def test_silence_and_the_loudest_mel_are_finite():
    "What check_mel lets pass: from silence to values that no speech has"
    for cfg in (BOTH, PIM):
        g = random_generator(cfg)
        for mel in (torch.full((1,80,5), -11.52), torch.full((1,80,5), 12.), torch.zeros(1, 80, 5)):
            with torch.inference_mode(): assert g(mel).isfinite().all()

# Asked for

def test_files_of_before_are_as_they_were(tmp_path):
    "No word of it where nobody asked; and a file that has the word is read by it"
    for cfg in (V1, V2, TOY): assert 'mel_input' not in config_dict(cfg)
    assert set(Generator(TOY).state_dict())==set(Generator(BOTH).state_dict()) # the matrix is stored nowhere
    save_config(BOTH, tmp_path/'c.json')
    assert load_config(tmp_path/'c.json')==BOTH
    with pytest.raises(ValueError, match="mel_input must be 'mel', 'pim' or 'mel\\+pim', found 'both'"):
        config_from_dict(config_dict(TOY)|dict(mel_input='both'))

def test_the_command_takes_it(data, tmp_path, capsys):
    def asked(**kw):
        with patch.object(command, '_train') as started: train_cli(str(data.path), str(tmp_path/'run'), **kw)
        return started.call_args.kwargs['cfg']
    assert asked(preset='V2', mel_input='pim')==replace(V2, mel_input='pim')
    start = asked(init='festvox-ru-v2', mel_input='mel+pim', steps=1)
    assert (start.mel_input, start.upsample_initial_channel)==('mel+pim', 128)
    save_config(BOTH, tmp_path/'c.json')
    assert asked(config=str(tmp_path/'c.json')).mel_input=='mel+pim'
    with pytest.raises(SystemExit): asked(preset='V2', mel_input='invers')
    assert "mel_input must be 'mel', 'pim' or 'mel+pim', found 'invers'" in capsys.readouterr().err

def test_a_session_takes_it():
    assert split_train('--mel_input mel+pim --log_every 5')==('--log_every 5', dict(mel_input='mel+pim'))
    with pytest.raises(ValueError, match=r"Here: CONFIG = \{'mel_input': 'pim'\} in the first cell says that"):
        train_words('--mel_input pim', 'is no option here')

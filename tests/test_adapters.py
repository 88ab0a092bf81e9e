"""Mels of other programs, by formulas written anew after their code (whose files and commits stand in
nbs/44_mel_formats.ipynb), with other libraries than ours: numpy, scipy, librosa, torchaudio. What `foreign_mel` makes
is compared with them"""
import ast, contextlib, re
from dataclasses import replace
from pathlib import Path
import librosa, numpy as np, pytest, soundfile, torch
from scipy.signal import get_window
from hifigan_ruslan.base.audio import read_wav, wav_at
from hifigan_ruslan.config import V1, load_config
from hifigan_ruslan.inference.mel_formats import MEL_FORMATS, convert_mel, foreign_mel
from hifigan_ruslan.mel import LogMel

CLIPS = sorted((Path(__file__).parent.parent/'hifigan_ruslan'/'clips').glob('*.flac'))
RATE, N, HOP = 22050, 1024, 256

def clip(path): return wav_at(*read_wav(path), RATE).astype(np.float64)

def hard():
    "Silence, a click, a loud tone that ends, and noise, of a length that no hop divides"
    rng = np.random.default_rng(0)
    tone = .9*np.sin(2*np.pi*440*np.arange(9000)/RATE)
    return np.concatenate([np.zeros(5000), [.5], np.zeros(3000), tone, np.zeros(2000), .01*rng.standard_normal(7003)])

WAVES = [clip(CLIPS[0]), clip(CLIPS[7])[:60_001], hard()]

# Parts that several programs share

def frames(x, pad, mode, window):
    "(513, F) magnitudes: the wave padded by `pad`, cut into frames, each by numpy's transform"
    x = np.pad(x, pad, mode=mode)
    cut = np.lib.stride_tricks.sliding_window_view(x, N)[::HOP]
    return np.abs(np.fft.rfft(cut*window, axis=1)).T

def bank(**kw): return librosa.filters.mel(sr=RATE, n_fft=N, n_mels=80, dtype=np.float64, **kw)
HANN, SYMMETRIC = get_window('hann', N, fftbins=True), np.hanning(N)

# The programs

def official(x):
    "meldataset.py of HiFi-GAN, and matcha/utils/audio.py of Matcha-TTS and of Vosk-TTS"
    spec = np.sqrt(frames(x, (N-HOP)//2, 'reflect', HANN)**2+1e-9)
    return np.log(np.maximum(bank(fmin=0, fmax=8000)@spec, 1e-5))

def matcha(mean, std): return lambda x: (official(x)-mean)/std

def tacotron2(x):
    "stft.py and layers.py of NVIDIA: the transform as a convolution with cosines and sines"
    k = np.arange(N//2+1)[:,None]*np.arange(N)*2*np.pi/N
    y = np.lib.stride_tricks.sliding_window_view(np.pad(x, N//2, mode='reflect'), N)[::HOP].T
    spec = np.sqrt((np.cos(k)*HANN@y)**2+(np.sin(k)*HANN@y)**2)
    return np.log(np.maximum(bank(fmin=0, fmax=8000)@spec, 1e-5))

def coqui(x, **kw):
    "AudioProcessor, with signal_norm and symmetric_norm to 4, or with what the recipes have"
    spec = np.abs(librosa.stft(x, n_fft=N, hop_length=HOP, win_length=N, pad_mode='reflect', window='hann'))
    if kw: return np.log(np.maximum(1e-8, bank(fmin=0, **kw)@spec))
    db = 20*np.log10(np.maximum(1e-8, bank(fmin=0, fmax=None)@spec))
    return np.clip(2*4*((db-20+100)/100)-4, -4, 4)

def espnet(x):
    "Stft, LogMelFbank and LogMel of ESPnet2"
    spec = torch.stft(torch.from_numpy(x), N, HOP, N, torch.hann_window(N, dtype=torch.float64), return_complex=True)
    amplitude = torch.view_as_real(spec).square().sum(-1).clamp(min=1e-10).sqrt()
    return (torch.from_numpy(bank(fmin=80, fmax=7600))@amplitude).clamp(min=1e-10).log10().numpy()

def nemo(guard='add', value=1e-5, exact_pad=False, highfreq=8000, mel_norm='slaney'):
    "FilterbankFeatures of NeMo with normalize, preemph and dither off and mag_power 1; the frames that it says count"
    def mel(x):
        pad = (N-HOP)//2 if exact_pad else N//2
        m = bank(fmin=0, fmax=highfreq or RATE/2, norm=mel_norm)@frames(x, pad, 'constant', SYMMETRIC)
        m = np.log(m+value) if guard=='add' else np.log(np.maximum(m, value))
        return m[:,:(len(x)+2*pad-N)//HOP if not exact_pad else None]
    return mel

def triangles(top):
    "Filters of torchaudio, as it makes them where nothing is asked: HTK's scale, each of the height 1"
    mels = np.linspace(0, 2595*np.log10(1+top/700), 82)
    edges, bins = 700*(10**(mels/2595)-1), np.linspace(0, RATE/2, N//2+1)
    up = (bins-edges[:-2,None])/(edges[1:-1]-edges[:-2])[:,None]
    down = (edges[2:,None]-bins)/(edges[2:]-edges[1:-1])[:,None]
    return np.maximum(np.minimum(up, down), 0)

def kokoro_ruslan(x):
    "RuslanDataset: a peak of 1, torchaudio's MelSpectrogram, a logarithm"
    x = x/(np.abs(x).max()+1e-9)
    return np.log(triangles(8000)@frames(x, N//2, 'reflect', HANN)**2+1e-9)

PROGRAMS = dict(
    hifigan=official, tacotron2=tacotron2, fastpitch=tacotron2, coqui=coqui, coqui_ln=lambda x: coqui(x, fmax=8000),
    espnet=espnet, nemo=nemo(), nemo_ru=nemo(highfreq=None), nemo_clamp=nemo('clamp'),
    nemo_hifigan=nemo('clamp', exact_pad=True), nemo_log1p=nemo(value=1., mel_norm=None),
    matcha=matcha(-5.536622, 2.116101), matcha_vctk=matcha(-6.630575, 2.482914),
    vosk=matcha(-5.806578636169434, 2.454238176345825), kokoro_ruslan=kokoro_ruslan)

@pytest.mark.parametrize('name', PROGRAMS)
def test_mel_of_a_program(name):
    for x in (w.astype(np.float32) for w in WAVES):
        ours, theirs = foreign_mel(x, name).numpy(), PROGRAMS[name](x.astype(np.float64))
        assert ours.shape==theirs.shape and np.abs(ours-theirs).max()<1e-4

def test_kokoro_by_torchaudio_itself():
    "Whose filters are of float32, so that narrow ones differ in the third place behind the point"
    from torchaudio.transforms import MelSpectrogram
    to_mel = MelSpectrogram(sample_rate=RATE, n_fft=N, n_mels=80, hop_length=HOP, win_length=N, f_min=0., f_max=8000.,
                            power=2., normalized=False, window_fn=torch.hann_window).double()
    x = torch.from_numpy(WAVES[0]/np.abs(WAVES[0]).max())
    assert np.abs(torch.log(to_mel(x)+1e-9).numpy()-kokoro_ruslan(WAVES[0])).max()<5e-3

def test_every_format_has_its_program():
    "But for torchaudio's, which its own notebook compares"
    assert set(MEL_FORMATS)-{'torchaudio'}==set(PROGRAMS)

def test_a_wrong_switch_is_seen():
    "The comparison can fail: each switch of a format makes another mel"
    x = WAVES[2].astype(np.float32)
    for name,kw in (('nemo', dict(symmetric=False)), ('nemo', dict(padding='reflect')),
                    ('nemo', dict(guard=0., floor=1e-5)), ('hifigan', dict(under_root=0.)),
                    ('espnet', dict(least_bin=0.)), ('kokoro_ruslan', dict(gain='')),
                    ('kokoro_ruslan', dict(norm='slaney')), ('vosk', dict(mean=-5.81)), ('coqui', dict(fmax=8000.))):
        other = foreign_mel(x, replace(MEL_FORMATS[name], **kw)).numpy()
        assert np.abs(other-PROGRAMS[name](x.astype(np.float64))).max()>1e-3, (name, kw)

# Converted, they are ours

@pytest.mark.parametrize('name', ['hifigan', 'matcha', 'matcha_vctk', 'vosk'])
def test_exact_conversion(name):
    "What only a mean and a deviation tell from our mel comes back as our mel"
    for x in WAVES:
        own = LogMel(V1)(torch.from_numpy(x).float()[None])[0]
        d = (convert_mel(PROGRAMS[name](x), name, V1)-own).abs()
        assert d.mean()<1e-4 and d.max()<.02 # the rounding of our float32, in silent bands next to loud ones
        d = (convert_mel(PROGRAMS[name](x), name, V1)-torch.from_numpy(official(x))).abs()
        assert d.max()<1e-4

@pytest.mark.parametrize('name', ['tacotron2', 'fastpitch', 'coqui_ln'])
def test_exact_but_for_half_a_hop(name):
    "Our formula in their frames, without the little that ours has under the root"
    for x in WAVES:
        own = np.log(np.maximum(bank(fmin=0, fmax=8000)@frames(x, N//2, 'reflect', HANN), 1e-5))
        assert (convert_mel(PROGRAMS[name](x), name, V1)-torch.from_numpy(own)).abs().max()<1e-4

@pytest.mark.parametrize('name,exact_pad', [('nemo', False), ('nemo_clamp', False), ('nemo_hifigan', True)])
def test_what_is_added_is_taken_away(name, exact_pad):
    "NeMo's guard is undone: what is left is a clamp at our floor, of a mel with NeMo's window and edges"
    for x in WAVES:
        own = nemo('clamp', exact_pad=exact_pad)(x)
        converted = convert_mel(PROGRAMS[name](x), name, V1).numpy()
        assert np.abs(converted-own).max()<1e-4

def test_costs():
    "Mean difference from our own mel of the same frames, of speech; docs/pages/tts.md tells them"
    said = dict(nemo=.004, nemo_clamp=.004, nemo_hifigan=.004, nemo_log1p=.006, nemo_ru=.1, kokoro_ruslan=.13)
    x = WAVES[0]
    own = np.log(np.maximum(bank(fmin=0, fmax=8000)@np.sqrt(frames(x, N//2, 'reflect', HANN)**2+1e-9), 1e-5))
    for name,most in said.items():
        y = x/np.abs(x).max() if name=='kokoro_ruslan' else x
        ours = official(y) if name=='nemo_hifigan' else own if y is x else official_centred(y)
        m = convert_mel(PROGRAMS[name](x), name, V1).numpy()
        n = min(m.shape[1], ours.shape[1])
        assert np.abs(m[:,:n]-ours[:,:n]).mean()<most, name

def official_centred(x):
    spec = np.sqrt(frames(x, N//2, 'reflect', HANN)**2+1e-9)
    return np.log(np.maximum(bank(fmin=0, fmax=8000)@spec, 1e-5))

def test_kokoro_as_it_is_would_be_another_mel():
    "What that program gives to the official generator, clamped, is far from the mel that it was trained on"
    x = WAVES[0]/np.abs(WAVES[0]).max()
    raw, own = np.clip(kokoro_ruslan(x), -11.5, 2), official_centred(x)
    converted = convert_mel(kokoro_ruslan(x), 'kokoro_ruslan', V1).numpy()
    assert np.abs(raw-own).mean()>10*np.abs(converted-own).mean()

# The guide

GUIDE = (Path(__file__).parent.parent/'docs'/'pages'/'adapters.md').read_text(encoding='utf-8')
BLOCKS = re.findall(r'^```python\n(.*?)^```', GUIDE, re.M|re.S)

def imports(src):
    "First names of the modules that a block imports"
    found = [o for o in ast.walk(ast.parse(src)) if isinstance(o, (ast.Import, ast.ImportFrom))]
    return {n.split('.')[0] for o in found for n in ([o.module] if isinstance(o, ast.ImportFrom) else
                                                     [a.name for a in o.names])}

OURS = {'hifigan_ruslan', 'numpy', 'torch', 'pathlib', 'dataclasses', 'shutil'}

@pytest.fixture(scope='module')
def there(tmp_path_factory):
    "What the blocks of our side find: a corpus of one recording, its mel, and what ESPnet leaves"
    folder = tmp_path_factory.mktemp('adapters')
    wav = .5*WAVES[0][:30_000].astype(np.float32)/np.abs(WAVES[0][:30_000]).max()
    for d in ('ruslan_corpus/wavs', 'mels', 'exp/a/denorm'): (folder/d).mkdir(parents=True)
    soundfile.write(folder/'ruslan_corpus/wavs/000001.wav', wav, RATE)
    np.save(folder/'mels/000001.npy', foreign_mel(wav, 'kokoro_ruslan').numpy().T)
    np.save(folder/'exp/a/denorm/x.npy', foreign_mel(wav, 'espnet').numpy().T)
    (folder/'exp/a/denorm/feats.scp').write_text('000001 exp/a/denorm/x.npy\n')
    with contextlib.chdir(folder):
        scope = {}
        for src in BLOCKS:
            if imports(src) and imports(src)<=OURS: exec(compile(src, 'adapters.md', 'exec'), scope)
    return folder, wav, scope

def test_our_side_of_the_guide_runs(there):
    "Loudness comes back, files are where they should be, and each name in the guide is one that speaks"
    folder, wav, scope = there
    own = foreign_mel(wav, replace(MEL_FORMATS['hifigan'], center=True)).numpy()
    assert np.abs(np.load(folder/'ours/000001.npy')-own).mean()<.15
    assert abs((np.load(folder/'ours/000001.npy')-own).mean())<.05
    assert np.load(folder/'espnet_mels/000001.npy').shape[1]==80
    assert load_config(folder/'v1_11k.json').fmax is None and scope['mine'].mean==-5.9
    named = {m for src in BLOCKS for m in re.findall(r"speak\(.*'(\w+)'\)", src)}
    assert {'kokoro_ruslan', 'nemo_ru', 'hifigan', 'coqui_ln', 'espnet', 'tacotron2'}==named
    for name in named:
        mel = foreign_mel(wav, name)
        assert scope['speak'](mel[:,:20], name).shape==(20*HOP,)

def test_every_format_stands_in_the_guides():
    folder = Path(__file__).parent.parent/'docs'/'pages'
    for page in ('tts', 'tts_ru', 'adapters', 'adapters_ru'):
        text = (folder/f'{page}.md').read_text(encoding='utf-8')
        known = MEL_FORMATS if page.startswith('tts') else set(MEL_FORMATS)-{'torchaudio'}
        assert [n for n in known if f'`{n}`' not in text]==[], page

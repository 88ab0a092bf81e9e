"A mel that is wrong is said to be wrong: in a file, in a stream, in bytes that are no mel"
import io, warnings, zipfile
from dataclasses import replace
from pathlib import Path
import numpy as np, pytest, torch
import hifigan_ruslan
from hifigan_ruslan.base.audio import read_wav, wav_at
from hifigan_ruslan.config import TINY, V1
from hifigan_ruslan.generator import random_generator
from hifigan_ruslan.inference.mel_formats import MEL_FORMATS, check_mel, foreign_mel, mel_faults, read_mel
from hifigan_ruslan.vocoder import Vocoder, stream_pcm

OURS = MEL_FORMATS['hifigan']
FILES = sorted((Path(hifigan_ruslan.__file__).parent/'clips').glob('*.flac'))
CLIPS = [wav_at(*read_wav(f), 22050) for f in FILES]
TWICE = dict(hop_length=512, n_fft=2048, win_length=2048)

@pytest.fixture(scope='module')
def voice(): return Vocoder(TINY, random_generator(TINY).state_dict())

def said(f):
    "Names of the warnings while f runs"
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter('always')
        f()
    return [str(o.message).split('?')[0] for o in told if o.category is UserWarning]

def piped(voice, mel, chunk=16):
    "A mel (80, F) through the pipe, as the memory of this array lies"
    return said(lambda: stream_pcm(voice, io.BytesIO(np.ascontiguousarray(mel, '<f4').tobytes()), io.BytesIO(), chunk))

def frames(m): return np.asarray(m).T

@pytest.mark.parametrize('i', range(0, 12, 3))
def test_a_good_mel_is_said_nothing_of(voice, i):
    m = foreign_mel(CLIPS[i], OURS)
    assert piped(voice, frames(m))==piped(voice, frames(m), 1)==mel_faults(m, V1)==[]

@pytest.mark.parametrize('chunk', (1, 16, 400))
@pytest.mark.parametrize('change, name', [(dict(log='log10'), 'log10'), (dict(power=2), 'ln of power'),
                                          (dict(htk=True), 'HTK scale'), (dict(hop_length=512), 'another hop')])
def test_a_stream_is_judged_as_a_file_is(voice, change, name, chunk):
    m = foreign_mel(CLIPS[4], replace(OURS, **change))
    assert name in said(lambda: check_mel(m, V1)) and name in piped(voice, frames(m), chunk)

@pytest.mark.parametrize('change', (dict(), dict(log='log10')))
def test_bands_first(voice, change):
    for w in CLIPS[:4]: assert piped(voice, foreign_mel(w, replace(OURS, **change)))[:1]==['frames out of order']

def test_a_warning_comes_once_and_early(voice):
    m, came = foreign_mel(CLIPS[0], replace(OURS, log='log10')), []
    def chunks():
        for i in range(0, m.shape[1], 8):
            came.append(i+8)
            yield m[:,i:i+8]
    seen = []
    with warnings.catch_warnings():
        warnings.simplefilter('always')
        warnings.showwarning = lambda *_, **__: seen.append(came[-1])
        first = [came[-1] for w in voice.stream(chunks())][0]
    assert first<=24 and len(seen)==1 and seen[0]<=2*86.13+16 # the sound does not wait; the word comes after 2 s

def test_an_error_of_a_stream_comes_before_its_sound(voice):
    m, out = frames(foreign_mel(CLIPS[0], replace(OURS, log='db'))), io.BytesIO()
    with pytest.raises(ValueError, match='looks like decibels'):
        stream_pcm(voice, io.BytesIO(m.astype('<f4').tobytes()), out)
    assert out.getvalue()==b''

def in_file(save, x):
    save(f := io.BytesIO(), x)
    return f.getvalue()

WAV = frames(foreign_mel(CLIPS[0], OURS))
OTHERS = {'float64': WAV.astype('<f8').tobytes(), 'float16': WAV.astype('<f2').tobytes(),
          'big-endian float32': WAV.astype('>f4').tobytes(), 'an .npy file': in_file(np.save, WAV),
          'a zip archive': in_file(lambda f,x: np.savez(f, mel=x), WAV), 'a FLAC file': FILES[0].read_bytes(),
          'text': '\n'.join(map(str, WAV.ravel()[:9999])).encode(),
          'no numbers of a mel': (CLIPS[0]*32767).astype('<i2').tobytes()}

@pytest.mark.parametrize('chunk', (1, 16))
@pytest.mark.parametrize('what', OTHERS)
def test_bytes_that_are_no_float32(voice, what, chunk):
    with pytest.raises(ValueError, match=f'not float32 frames, it looks like {what}'):
        stream_pcm(voice, io.BytesIO(OTHERS[what]), io.BytesIO(), chunk)

def test_twice_as_fast():
    for change,least in ((TWICE, 9), (TWICE|dict(sample_rate=16000), 10)):
        found = [[f.name for f in mel_faults(foreign_mel(w, replace(OURS, **change)), V1)] for w in CLIPS]
        assert sum(o==['another rate or window'] for o in found)>=least, (change, found)

@pytest.mark.parametrize('of', ('the model', 'the mel'))
def test_scaled_to_one(of):
    for w in CLIPS:
        m = foreign_mel(w, OURS)
        lo, hi = (-11.513, 2.314) if of=='the model' else (m.min(), m.max())
        with pytest.raises(ValueError, match='scaled to -1..1'): check_mel(2*(m-lo)/(hi-lo)-1, V1)

def test_what_is_not_seen_can_be_stated(voice, tmp_path):
    m = foreign_mel(CLIPS[0], replace(OURS, sample_rate=16000))
    for kw in (dict(sample_rate=16000), dict(hop_length=200)):
        with pytest.raises(ValueError, match='The mel is said to have'): voice.vocode(m, **kw)
        np.savez(tmp_path/'mel.npz', mel=m, **kw)
        with pytest.raises(ValueError, match='mel.npz: The mel is said to have'): read_mel(tmp_path/'mel.npz', V1)
    assert voice.vocode(m[:,:9], sample_rate=22050, hop_length=256).shape==(1, 9*256)

def test_npz(tmp_path):
    path, m = tmp_path/'мел.NPZ', WAV.T
    def saved(**arrays):
        path.write_bytes(in_file(lambda f,x: np.savez_compressed(f, **x), arrays))
        return read_mel(path, V1)
    assert (saved(mel=m)==m).all() and (saved(anything=m)==m).all()
    assert (saved(mel=m, sample_rate=22050, hop_length=256)==m).all()
    assert said(lambda: saved(mel=m, other=m))==[f'{path}: only the array mel is used, not other']
    with pytest.raises(ValueError, match='2 arrays .a, b. and none is called mel'): saved(a=m, b=m)

def header(*shape, descr='<f4'):
    np.lib.format.write_array_header_1_0(f := io.BytesIO(), dict(descr=descr, fortran_order=False, shape=shape))
    return f.getvalue()

@pytest.mark.parametrize('shape', ((2**70,), (80, 2**62), (80, 10**11), (2**40, 2**40)))
@pytest.mark.parametrize('kind', ('npy', 'npz'))
def test_sizes_are_not_believed(tmp_path, shape, kind):
    path, raw = tmp_path/f'mel.{kind}', header(*shape)+b'\0'*320
    if kind=='npy': path.write_bytes(raw)
    else:
        with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as z: z.writestr('mel.npy', raw)
    with pytest.raises(ValueError, match='cannot be read as a mel'): read_mel(path)

def test_a_packed_tensor_is_refused(tmp_path):
    torch.save(torch.zeros(80, 9), tmp_path/'whole.pt')
    with zipfile.ZipFile(tmp_path/'whole.pt') as z, zipfile.ZipFile(tmp_path/'p.pt', 'w', zipfile.ZIP_DEFLATED) as p:
        for o in z.infolist(): p.writestr(o.filename, z.read(o))
    with pytest.raises(ValueError, match='in it is compressed'): read_mel(tmp_path/'p.pt')

"""Sound files as they come from other people's disks: all formats, cut, flipped, lying, of other scales, with other
channels. Each is refused in words, or read to its last sample, and all commands say the same of it"""
import contextlib, io, os, struct, subprocess, sys
from pathlib import Path
import numpy as np, pytest, soundfile as sf, torch
from hifigan_ruslan.base.audio import (
    CLIPPED, LOWEST_RATE, Sound, SoundError, new_wav, rate_of, read_beginning, read_wav, sound_at, wav_at, write_as)
from hifigan_ruslan.config import TINY
from hifigan_ruslan.dataset.corpus import find_corpus, synth_wav
from hifigan_ruslan.dataset.prepare import prepare
from hifigan_ruslan.generator import random_generator
from hifigan_ruslan.training.logging import save_samples
from hifigan_ruslan.vocoder import Vocoder, generate

torch.set_num_threads(1)
RATE, linux = 16000, sys.platform=='linux'
VOICE = synth_wav(1.5, RATE, 3)
FORMATS = { # Name -> format, subtype, and how far the samples may be from those that were written
    'u8': ('WAV','PCM_U8',.01), 'wav': ('WAV','PCM_16',1e-4), '24': ('WAV','PCM_24',1e-6),
    'float': ('WAV','FLOAT',1e-6), 'double': ('WAV','DOUBLE',1e-6), 'ulaw': ('WAV','ULAW',.05),
    'gsm': ('WAV','GSM610',None), 'adpcm': ('WAV','IMA_ADPCM',None), 'wavex': ('WAVEX','PCM_16',1e-4),
    'rf64': ('RF64','PCM_16',1e-4), 'w64': ('W64','PCM_16',1e-4), 'aiff': ('AIFF','PCM_16',1e-4),
    'au': ('AU','PCM_16',1e-4), 'caf': ('CAF','PCM_16',1e-4), 'alac': ('CAF','ALAC_16',1e-4),
    'sph': ('NIST','PCM_16',1e-4),
    'flac': ('FLAC','PCM_16',1e-4), 'flac24': ('FLAC','PCM_24',1e-6), 'ogg': ('OGG','VORBIS',None),
    'opus': ('OGG','OPUS',None), 'mp3': ('MP3','MPEG_LAYER_III',None)}

def encoded(format='WAV', subtype='PCM_16', wav=VOICE, rate=RATE):
    "The bytes of a sound file"
    f = io.BytesIO()
    sf.write(f, wav, rate, format=format, subtype=subtype)
    return f.getvalue()

WHOLE = {k: encoded(*v[:2]) for k,v in FORMATS.items()}
every_format = pytest.mark.parametrize('kind', FORMATS)

def read(tmp_path, raw, clipped=CLIPPED, name='x'):
    "The wave of a file with these bytes, or the kind of its fault"
    path = tmp_path/name
    path.write_bytes(raw)
    try: return read_wav(path, clipped)[0]
    except SoundError as e:
        assert 'x' in str(e) and str(e).count('\n')==0
        return e.kind

def prepared(folder, out, **kw):
    "Prepare, whatever can be used; the data, what is skipped, and what was said"
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        data = prepare(folder, out, **dict(valid=0, test=0, workers=1, max_bad=1, progress=False) | kw)
    lines = (Path(out)/'skipped.csv').read_text(encoding='utf-8', errors='surrogateescape').splitlines()[1:]
    return data, dict(l.split(',', 1) for l in lines), said.getvalue()

def output(code, *args, **kw):
    "What a program of its own says, on both streams"
    done = subprocess.run([sys.executable, '-c', code, *args], capture_output=True, text=True, **kw)
    return done.stdout, done.stderr

@pytest.fixture(scope='module')
def voice(tmp_path_factory):
    "A small generator with random weights, as a checkpoint file"
    path = tmp_path_factory.mktemp('voice')/'voice.pt'
    from hifigan_ruslan.config import config_dict
    torch.save(dict(format='hifigan_ruslan', version=2, config=config_dict(TINY), step=1, mpd={},
                    generator=random_generator(TINY, 0).state_dict()), path)
    return path

# Whole files are read whole

@every_format
def test_a_whole_file_is_read_to_its_last_sample(tmp_path, kind):
    wav, eps = read(tmp_path, WHOLE[kind]), FORMATS[kind][2]
    assert not isinstance(wav, str), wav
    assert len(VOICE)<=wav.shape[1]<=len(VOICE)+600
    if eps: assert np.abs(wav[0,:len(VOICE)]-VOICE).max()<eps
    path = tmp_path/'x'
    np.testing.assert_array_equal(read_wav(path)[0][0], np.concatenate([*Sound(path).wave()]))
    assert rate_of(path)==RATE

@every_format
def test_more_channels(tmp_path, kind):
    "The second one has half of the level"
    if kind in ('gsm',): pytest.skip('GSM has one channel')
    raw = encoded(*FORMATS[kind][:2], np.stack([VOICE, VOICE*.5], 1))
    (tmp_path/'x').write_bytes(raw)
    mono = sound_at(tmp_path/'x', RATE)[:len(VOICE)]
    assert abs(np.sqrt(np.square(mono).mean()/np.square(VOICE).mean())-.75)<.05

# Cut, at any place

@every_format
@pytest.mark.parametrize('share', (.05, .3, .5, .77, .97))
def test_a_cut_file_is_noticed(tmp_path, kind, share):
    raw = WHOLE[kind]
    got = read(tmp_path, raw[:int(len(raw)*share)])
    assert isinstance(got, str), f'{got.shape[1]} of {len(VOICE)} samples were read in silence'
    if share>=.3: assert got=='truncated'

@pytest.mark.parametrize('kind', ('wav', 'rf64', 'w64', 'aiff', 'au', 'caf', 'flac', 'ogg', 'opus', 'mp3', 'sph'))
def test_all_readers_notice_it_with_one_word(tmp_path, kind, voice):
    (tmp_path/'c').mkdir()
    (tmp_path/'c'/'whole.wav').write_bytes(WHOLE['wav'])
    (tmp_path/'c'/f'cut.{kind.replace("24", "")}').write_bytes(WHOLE[kind][:len(WHOLE[kind])//2])
    _, skipped, _ = prepared(tmp_path/'c', tmp_path/'d')
    assert [v.strip('"').split(':')[0] for v in skipped.values()]==['truncated']
    with pytest.raises(ValueError, match='is cut off'), contextlib.redirect_stdout(io.StringIO()):
        generate([tmp_path/'c'], tmp_path/'g', voice)
    assert [p.name for p in (tmp_path/'g').iterdir()]==['whole.wav']

# Flipped and overwritten bytes: an answer in words, or sound

@every_format
def test_damage_is_answered(tmp_path, kind):
    "Bytes of a header and of the sound changed at random: a refusal, or a wave of about the right length"
    rng, raw = np.random.default_rng(list(kind.encode())), WHOLE[kind]
    for i in range(40):
        bad = bytearray(raw)
        for at in rng.integers(0, 64 if i%2 else len(raw), rng.integers(1, 5)): bad[at] = rng.integers(256)
        got = read(tmp_path, bytes(bad), 1.)
        if isinstance(got, str): continue
        assert got.dtype==np.float32 and got.size<=20*len(VOICE) and np.isfinite(got).all()

@pytest.mark.parametrize('kind', ('flac', 'ogg', 'opus'))
def test_formats_with_checksums_notice_one_bit(tmp_path, kind):
    for at in np.random.default_rng(0).integers(len(WHOLE[kind])//3, len(WHOLE[kind])-200, 12):
        bad = bytearray(WHOLE[kind])
        bad[at] ^= 4
        assert read(tmp_path, bytes(bad)) in ('truncated', 'damaged'), at

# Headers that lie, or do not know

def total(raw, n):
    "A FLAC that says to have n samples"
    number = int.from_bytes(raw[18:26], 'big')>>36<<36 | n
    return raw[:18] + number.to_bytes(8, 'big') + raw[26:]

@pytest.mark.parametrize('n', (1, 4096, len(VOICE)-1, len(VOICE)+1, 2**30, 2**36-1))
def test_a_flac_that_lies(tmp_path, n):
    assert read(tmp_path, total(WHOLE['flac'], n)) in ('truncated', 'damaged')

def test_a_flac_from_a_pipe(tmp_path):
    assert read(tmp_path, total(WHOLE['flac'], 0)).shape==(1,len(VOICE))

@pytest.mark.parametrize('channels', (1, 8))
def test_what_a_header_promises_is_not_allocated(tmp_path, channels):
    "A child that may have little more memory than it needs"
    (tmp_path/'x').write_bytes(total(encoded('FLAC', wav=np.stack([VOICE]*channels, 1)), 2**36-1))
    code = ('import resource, sys; from hifigan_ruslan.base.audio import *; '
            'now = int(open("/proc/self/statm").read().split()[0])*4096; '
            'resource.setrlimit(resource.RLIMIT_AS, (now+2**28,)*2)\n'
            'try: read_wav(sys.argv[1])\nexcept SoundError as e: print(e.kind)')
    if linux: assert output(code, tmp_path/'x')[0]=='truncated\n'

@pytest.mark.parametrize('size', (0, 0x7ffff000, 0x7fffffff, 0x80000000, 2**32-1))
def test_a_wav_from_a_pipe(tmp_path, size):
    raw, size = WHOLE['wav'], struct.pack('<I', size)
    assert read(tmp_path, raw[:4]+size+raw[8:40]+size+raw[44:]).shape==(1,len(VOICE))

def test_a_wav_without_sound(tmp_path):
    raw = encoded(wav=VOICE[:0])
    assert read(tmp_path, raw)=='no samples'
    behind = b'LIST'+struct.pack('<I', 2000)+b'INFO'+bytes(1996) # no sound either
    assert read(tmp_path, raw[:4]+struct.pack('<I', len(raw)+2000)+raw[8:]+behind)=='no samples'

@pytest.mark.parametrize('kind', ('wav', 'aiff', 'flac', 'mp3', 'ogg'))
def test_tags_of_other_programs(tmp_path, kind):
    front = b'ID3\x04\0\0\0\0\x01\x05'+b'\xff\xfb\x90\0'*33+bytes(1)
    got = read(tmp_path, front+WHOLE[kind])
    assert got.shape==read(tmp_path, WHOLE[kind]).shape
    assert read(tmp_path, front[:50])=='truncated'
    if kind in ('flac', 'mp3'): assert read(tmp_path, WHOLE[kind]+b'TAG'.ljust(128)).shape==got.shape

def test_two_mp3_joined_are_not_read_as_one(tmp_path):
    assert read(tmp_path, WHOLE['mp3']*2)=='damaged'

def test_no_sound(tmp_path):
    for raw in (b'RIFF', b'fLaC', b'OggS', b'\xff\xfb\x90\0', b'PK\3\4'+bytes(900), 'Это не звук'.encode()*99,
                bytes(9000), b'\0\0\0\x20ftypM4A '+bytes(900), b'RIFF\x24\0\0\0AVI '+bytes(900)):
        assert isinstance(read(tmp_path, raw), str)
    assert read(tmp_path, b'')=='empty'

# Rates, scales, clipping

@pytest.mark.parametrize('rate, kind', ((1, 'low rate'), (LOWEST_RATE-1, 'low rate'), (10**6, 'high rate'),
                                        (2**31-1, 'high rate')))
def test_rates_that_cannot_be_meant(tmp_path, rate, kind):
    "A second of sound would become hours, or nothing"
    raw = WHOLE['wav'][:24]+struct.pack('<I', rate)+WHOLE['wav'][28:]
    assert read(tmp_path, raw)==kind
    with pytest.raises(ValueError, match='sample rate'): wav_at(VOICE, rate, 22050)

@pytest.mark.parametrize('scale, kind', ((1.2, None), (6, 'clipped'), (128, 'too loud'), (32768, 'too loud'),
                                         (2.**31, 'too loud')))
def test_scales_of_floats(tmp_path, voice, scale, kind):
    loud = VOICE/np.abs(VOICE).max()*scale
    got = read(tmp_path, encoded('WAV', 'FLOAT', loud))
    assert got==kind if kind else not isinstance(got, str)
    (tmp_path/'c').mkdir()
    (tmp_path/'c'/'good.wav').write_bytes(WHOLE['wav'])
    (tmp_path/'c'/'loud.wav').write_bytes(encoded('WAV', 'FLOAT', loud))
    data, skipped, _ = prepared(tmp_path/'c', tmp_path/'d')
    assert [v.strip('"').split(':')[0] for v in skipped.values()]==([kind] if kind else [])
    with contextlib.redirect_stdout(io.StringIO()):
        if not kind: generate([tmp_path/'c'], tmp_path/'g', voice); return
        with pytest.raises(ValueError, match='loud.wav is'): generate([tmp_path/'c'], tmp_path/'g', voice)

@pytest.mark.parametrize('subtype', ('PCM_U8', 'PCM_16', 'PCM_24', 'FLOAT'))
def test_a_square_wave_is_clipped(tmp_path, subtype):
    assert read(tmp_path, encoded('WAV', subtype, (VOICE*40).clip(-1, 1)))=='clipped'
    assert read(tmp_path, encoded('WAV', subtype, (VOICE*40).clip(-1, 1)), 1.).shape==(1,len(VOICE))
    sine = np.sin(np.arange(RATE)*.3)*(.98 if subtype=='PCM_U8' else .9999)
    assert read(tmp_path, encoded('WAV', subtype, sine)).shape==(1,RATE)

def test_a_gain_that_clips_is_named(tmp_path):
    (tmp_path/'c').mkdir()
    (tmp_path/'c'/'a.wav').write_bytes(WHOLE['wav'])
    with pytest.raises(ValueError, match='beyond full scale at gain 9; a lower --gain'):
        prepare(tmp_path/'c', tmp_path/'d', gain=9., valid=0, test=0, workers=1, progress=False)

# Channels

CHANNELS = dict(silent=(VOICE*0, VOICE), hum=(VOICE, VOICE*1e-3+.1), cable=(VOICE, -VOICE), weak=(VOICE*.9, -VOICE))

@pytest.mark.parametrize('kind', CHANNELS)
def test_a_channel_is_chosen_and_said(tmp_path, voice, kind):
    "A mean would be silent, or 6 dB too quiet"
    (tmp_path/'c').mkdir()
    path = tmp_path/'c'/'two.wav'
    path.write_bytes(encoded('WAV', 'FLOAT', np.stack(CHANNELS[kind], 1)))
    data, _, said = prepared(tmp_path/'c', tmp_path/'d', sample_rate=RATE)
    assert ('cancel each other' if kind in ('cable','weak') else 'a silent channel') in said and 'two.wav' in said
    for wav in (sound_at(path, RATE), wav_at(*read_wav(path), RATE), data.wav(data.utterances[0])):
        assert abs(np.abs(wav).max()/np.abs(VOICE).max()-1)<.01
    said = io.StringIO()
    with contextlib.redirect_stdout(said): generate([path], tmp_path/'g', voice)
    assert 'two.wav: its 2 channels' in said.getvalue() and 'is taken' in said.getvalue()

def test_averages_are_said_once(tmp_path, voice):
    (tmp_path/'c').mkdir()
    for i in range(3): (tmp_path/'c'/f'{i}.wav').write_bytes(encoded(wav=np.stack([VOICE, VOICE*.5], 1)))
    assert '3 clips have more than one channel, which were averaged' in prepared(tmp_path/'c', tmp_path/'d')[2]
    said = io.StringIO()
    with contextlib.redirect_stdout(said): generate([tmp_path/'c'], tmp_path/'g', voice)
    assert said.getvalue().count('averaged')==1

# Folders

def test_prepare_takes_what_generate_takes(tmp_path, voice):
    c = tmp_path/'c'
    c.mkdir()
    suffixes = dict(wav='a.wav', flac='b.flac', ogg='c.OGG', opus='d.opus', mp3='e.mp3', aiff='f.aif', au='g.au',
                    caf='h.caf', w64='i.w64', rf64='j.rf64', sph='k.sph')
    for kind,name in suffixes.items(): (c/name).write_bytes(WHOLE[kind])
    for name in ('l.m4a', 'm.h5', 'n'): (c/name).write_bytes(b'x')
    data, skipped, said = prepared(c, tmp_path/'d')
    assert (len(data.utterances), skipped)==(11, {})
    assert 'left out: 1 .h5, 1 .m4a, 1 without suffix' in said and 'ffmpeg' in said
    text = io.StringIO()
    with contextlib.redirect_stdout(text): made = generate([c], tmp_path/'g', voice)
    assert len(made)==11 and f'left out of {c}: 1 .h5, 1 .m4a, 1 without suffix' in text.getvalue()

def test_lossy_copies_are_left_out(tmp_path):
    for name,kind in (('a.wav','wav'), ('a.mp3','mp3'), ('b.mp3','mp3')): (tmp_path/name).write_bytes(WHOLE[kind])
    c = find_corpus(tmp_path)
    assert (sorted(c.files), [p.suffix for p in c.files.values()])==(['a', 'b'], ['.wav', '.mp3'])
    assert 'lossy copies of files beside them: 1 .mp3' in c.layout

@pytest.mark.skipif(not linux, reason='pipes and devices are those of Linux')
def test_pipes_and_devices_are_not_opened(tmp_path, voice):
    c = tmp_path/'c'
    c.mkdir()
    (c/'good.wav').write_bytes(WHOLE['wav'])
    for name in ('pipe.wav', 'metadata.csv', 'good.txt'): os.mkfifo(c/name)
    for name in ('zero.flac', 'manifest.json'): (c/name).symlink_to('/dev/zero')
    (c/'folder.mp3').mkdir()
    (c/'gone.wav').symlink_to(c/'nowhere')
    data, skipped, said = prepared(c, tmp_path/'d')
    assert [u.id for u in data.utterances]==['good']
    assert skipped=={'pipe.wav': 'no file: a pipe', 'zero.flac': 'no file: a device',
                     'gone.wav': 'unreadable: No such file or directory'}
    assert 'not opened, being no files: good.txt, manifest.json, metadata.csv' in said
    with pytest.raises(ValueError, match='is a pipe, no file'), contextlib.redirect_stdout(io.StringIO()):
        generate([c], tmp_path/'g', voice)

@pytest.mark.skipif(not linux, reason='names of bytes are those of Linux')
def test_names_that_are_no_utf8(tmp_path, voice):
    (tmp_path/'c').mkdir()
    name = b'\xe3\xee\xeb\xee\xf1'.decode(errors='surrogateescape')
    (tmp_path/'c'/f'{name}.wav').write_bytes(WHOLE['wav'])
    data, skipped, _ = prepared(tmp_path/'c', tmp_path/'d')
    assert (len(data.utterances), skipped)==(1, {})
    utf8 = io.TextIOWrapper(io.BytesIO(), 'utf-8')
    with contextlib.redirect_stdout(utf8): made = generate([tmp_path/'c'], tmp_path/'g', voice)
    assert sf.info(os.fsencode(made[0])).frames==round(len(VOICE)*22050/RATE)

# Long sounds

def test_a_long_sound_goes_through_in_pieces(tmp_path, voice):
    "The same samples, and memory that does not grow with the length"
    long, v = np.tile(VOICE, 50), Vocoder.load(voice)
    write_as(tmp_path/'long.flac', long, RATE)
    with contextlib.redirect_stdout(io.StringIO()):
        path, = generate([tmp_path/'long.flac'], tmp_path/'g', voice, chunk=500)
    whole = v.resynthesize(*read_wav(tmp_path/'long.flac')) # at once
    made = read_wav(path, 1.)[0]
    assert made.shape==whole.shape and np.abs(made-whole.numpy()).max()<1e-4

MEMORY = '''import resource, sys, numpy as np
from hifigan_ruslan.vocoder import generate
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss//1024
generate([sys.argv[1]], sys.argv[3], sys.argv[4], chunk=500)
first = peak()
generate([sys.argv[2]], sys.argv[3], sys.argv[4], chunk=500)
print(peak()-first)'''

@pytest.mark.skipif(not linux, reason='sizes in KiB are those of Linux')
def test_the_memory_of_a_long_sound_is_that_of_a_short_one(tmp_path, voice):
    for name,n in (('short', 30), ('long', 130)): write_as(tmp_path/f'{name}.flac', np.tile(VOICE, n), RATE)
    said, errors = output(MEMORY, tmp_path/'short.flac', tmp_path/'long.flac', tmp_path/'g', voice)
    assert said, errors
    assert int(said.split()[-1])<40, said # MiB, for 2.5 minutes more; it was 150

def test_the_beginning_of_a_long_sound(tmp_path):
    for kind in ('wav', 'flac', 'mp3', 'ogg'):
        (tmp_path/'x').write_bytes(WHOLE[kind])
        wav, rate, seconds = read_beginning(tmp_path/'x', .5)
        assert wav.shape==(1,RATE//2) and rate==RATE and abs(seconds-1.5)<.1
    (tmp_path/'x').write_bytes(WHOLE['wav'][:9000])
    with pytest.raises(SoundError, match='is cut off'): read_beginning(tmp_path/'x', .1)

# Writing

def small_disk(folder):
    "Mount a file system of 100 kB; False where this user may not"
    folder.mkdir()
    mount = ['mount', '-t', 'tmpfs', '-o', 'size=100k', 'tmpfs', folder]
    return subprocess.run(mount, capture_output=True).returncode==0

def test_a_full_disk_leaves_no_half_sound(tmp_path, voice):
    disk = tmp_path/'disk'
    if not small_disk(disk): pytest.skip('this user may not mount a small file system')
    try:
        x = np.full(40000, .1, np.float32)
        with pytest.raises(OSError, match='disk is full'): save_samples(disk, [('a', x, x)], TINY, 1)
        for p in disk.rglob('*.wav'): assert read_wav(p)[0].shape==(1,40000)
        (tmp_path/'c').mkdir()
        for name in 'ab': (tmp_path/'c'/f'{name}.wav').write_bytes(encoded(wav=np.tile(VOICE, 2)))
        said = io.StringIO()
        with pytest.raises(OSError, match='disk is full'), contextlib.redirect_stdout(said):
            generate([tmp_path/'c'], disk/'g', voice)
        assert not [p for p in (disk/'g').rglob('*')] and 'not done' not in said.getvalue()
        noise = np.random.default_rng(0).random(90000)
        with pytest.raises(OSError, match='disk is full'): write_as(disk/'x.flac', noise, RATE)
    finally: subprocess.run(['umount', disk], check=True)

READ_ONLY = '''import os, sys, numpy as np
from hifigan_ruslan.base.audio import write_as, write_wav
from hifigan_ruslan.vocoder import generate
os.chmod(sys.argv[1], 0o555)
if os.geteuid()==0: os.setuid(65534)
for f in (lambda: write_wav(sys.argv[1]+'/a.wav', np.zeros(9), 22050),
          lambda: write_as(sys.argv[1]+'/a.flac', np.zeros(9), 22050),
          lambda: generate(['x.wav'], sys.argv[1], 'voice')):
    try: f()
    except (OSError, ValueError) as e: print(type(e).__name__, e)'''

@pytest.mark.skipif(not linux, reason='rights are those of Linux')
def test_a_folder_that_may_not_be_written_to(tmp_path):
    "soundfile's own error is a RuntimeError, which no command expects"
    (tmp_path/'out').mkdir()
    for p in (tmp_path, *tmp_path.parents[:2]): p.chmod(p.stat().st_mode|0o755)
    (tmp_path/'x.wav').write_bytes(WHOLE['wav'])
    said, errors = output(READ_ONLY, tmp_path/'out', cwd=tmp_path)
    lines = [l.lower() for l in said.splitlines()]
    assert len(lines)==3 and all('permission denied' in l for l in lines), said+errors

def test_a_wav_in_pieces(tmp_path):
    with new_wav(tmp_path/'a.wav', RATE) as w:
        for x in np.array_split(VOICE, 9): w.write(x)
    wav, rate = sf.read(tmp_path/'a.wav', dtype='float32')
    assert (w.frames, rate)==(len(VOICE), RATE) and np.abs(wav-VOICE).max()<1e-4
    with pytest.raises(ValueError, match='stopped'), new_wav(tmp_path/'a.wav', RATE) as w:
        w.write(VOICE)
        raise ValueError('stopped')
    assert len(sf.read(tmp_path/'a.wav')[0])==len(VOICE) and len([*tmp_path.iterdir()])==1

def test_samples_that_are_no_wave_do_not_end_a_run(tmp_path, capsys):
    good, bad = np.full(9000, .1, np.float32), np.full(9000, np.nan, np.float32)
    save_samples(tmp_path, [('a', good, bad)], TINY, 3)
    assert 'step_00000003.wav of a was not written' in capsys.readouterr().out
    assert sorted(p.name for p in (tmp_path/'a').iterdir())==['real.wav', 'step_00000003.png']

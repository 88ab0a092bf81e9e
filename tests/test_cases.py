"""The cases of issue 23, K: which test keeps each of them, and neighbours of theirs that were found later.

A case is a situation that somebody reported: what a user expected, and what version 0.1 did. `KEPT` names each case in
words, and the tests that keep the right answer; the tests here are for what no other file holds."""
import ast, contextlib, errno, io, os, signal, struct, subprocess, sys
from dataclasses import replace
from pathlib import Path
import numpy as np, pytest, soundfile as sf, torch
import hifigan_ruslan
from hifigan_ruslan import train
from hifigan_ruslan.base.audio import Sound, SoundError, read_wav, wav_at
from hifigan_ruslan.base.files import NotWritten, explained, json_value
from hifigan_ruslan.cli import run
from hifigan_ruslan.config import TINY, V1, config_dict
from hifigan_ruslan.data import SpeechData
from hifigan_ruslan.dataset.corpus import find_corpus
from hifigan_ruslan.dataset.prepare import prepare
from hifigan_ruslan.generator import random_generator
from hifigan_ruslan.inference.mel_formats import MEL_FORMATS, convert_mel, foreign_mel, mel_faults, read_mel
from hifigan_ruslan.listening.demo import demo
from hifigan_ruslan.model.reading import open_checkpoint
from hifigan_ruslan.vocoder import Vocoder, generate, stream_pcm

OURS = MEL_FORMATS['hifigan']
CLIPS = sorted((Path(hifigan_ruslan.__file__).parent/'clips').glob('*.flac'))
SPEECH = sf.read(CLIPS[0])[0]

# which test keeps which case

KEPT = { # The case in words: file of tests, tests in it
    'a clips.csv of somebody, or with a field without an end': ('side_files', 'test_a_clips_csv_that_is_none'),
    'numbers in a configuration that are none': ('config_values', 'test_each_value_of_each_key'),
    'sounds that were cut in half, in ten formats': ('sound_files', 'test_a_cut_file_is_noticed'),
    'JSON of five thousand brackets': ('metadata_forms', 'test_a_manifest_that_is_nested_very_deep_is_named'),
    "a second demo, and the user's recordings": ('cases', 'test_a_demo_leaves_what_is_not_its_own'),
    'a disk that is full when samples are written': ('sound_files', 'test_a_full_disk_leaves_no_half_sound'),
    'an evaluation into a folder with a thesis': ('side_files', 'test_no_folder_of_somebody_is_taken_for_ours'),
    'a pipe or a device in a corpus': ('sound_files', 'test_pipes_and_devices_are_not_opened'),
    'sounds and mels of a folder that are left out': ('sound_files', 'test_prepare_takes_what_generate_takes'),
    'a FLAC that promises 2**36 samples': ('sound_files', 'test_a_flac_that_lies'),
    'a WAV of floats that holds 16-bit numbers': ('sound_files', 'test_scales_of_floats'),
    'weights of forks and of other programs': ('foreign_weights', 'test_taken_where_it_is_a_renaming'),
    'a folder that may not be written to': ('sound_files', 'test_a_folder_that_may_not_be_written_to'),
    'the memory that an hour of sound takes': ('sound_files', 'test_the_memory_of_a_long_sound_is_that_of_a_short_one'),
    'a start from weights for another mel': ('foreign_weights', 'test_init_asks_what_the_weights_mean'),
    'a log.csv that is not ours': ('side_files', 'test_a_log_of_something_else_is_named'),
    'a text of 200,000 letters': ('cases', 'test_a_long_text_is_read_back'),
    'wrong mels that were accepted': ('cases', 'test_a_mel_of_16_khz_is_seen'),
    'metadata with the ends of lines of an old Mac': ('metadata_forms', 'test_the_ends_of_lines_of_an_old_mac'),
    'metadata in other encodings and with other columns': ('metadata_forms', 'test_the_texts_are_taken'),
    'an official configuration with unknown keys': ('config_values', 'test_other_keys_are_named'),
    'an exported ONNX in sherpa-onnx': ('foreign_weights', 'test_sherpa_onnx_takes_it_as_a_vocoder'),
    'an .npy that promises 2**70 numbers': ('mel_streams', 'test_sizes_are_not_believed'),
    'a stream of a wrong mel': ('mel_streams', 'test_a_stream_is_judged_as_a_file_is test_bands_first'),
    'a stream of other bytes': ('mel_streams', 'test_bytes_that_are_no_float32'),
    'absurd numbers in a training configuration': ('config_values', 'test_absurd_numbers_are_refused_before_anything'),
    "a training into somebody's project": ('side_files', 'test_no_folder_of_somebody_is_taken_for_ours'),
    'two prepares at once': ('metadata_forms', 'test_several_prepares_at_once_leave_one_whole_corpus'),
    'two readers of sound with different rules': ('sound_files', 'test_a_wav_from_a_pipe test_tags_of_other_programs'),
    'a small archive that unpacks to gigabytes': ('foreign_weights', 'test_compressed_members_are_refused_unread')}

@pytest.mark.parametrize('case', KEPT)
def test_each_case_has_its_test(case):
    "A test that is renamed or taken away is missed here"
    name, tests = KEPT[case]
    source = Path(__file__).with_name(f'test_{name}.py').read_text(encoding='utf-8')
    there = [o.name for o in ast.parse(source).body if isinstance(o, ast.FunctionDef)]
    for test in tests.split(): assert any(o.startswith(test) for o in there), (case, test)

# what the others do not hold

def refused(*words):
    "The words of a command that must fail"
    said = io.StringIO()
    with pytest.raises(SystemExit) as e, contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
        run(*map(str, words))
    assert e.value.code in (1, 2), said.getvalue()
    return said.getvalue()

def quiet(f, *args, **kw):
    "What it returns, and what it says"
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said): found = f(*args, **kw)
    return found, said.getvalue()

def corpus(folder, n=4):
    "A folder of n sounds"
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(n): sf.write(folder/f'c{i}.wav', .1*np.sin(np.arange(16000)*(.1+.01*i)), 16000)
    return folder

def prepared(source, out, **kw):
    return quiet(prepare, source, out, workers=1, progress=False, valid=0, test=0, **kw)

def test_a_demo_leaves_what_is_not_its_own(tmp_path):
    "The case of the demo that deletes files of the user: an old marker, and a recording beside it"
    for name in ('.hifigan-demo', 'my_recording.txt'): (tmp_path/name).write_text('mine')
    with pytest.raises(ValueError, match='holds 1 files or folders that are of no demo'): quiet(demo, tmp_path, steps=1)
    assert (tmp_path/'my_recording.txt').read_text()=='mine'

def test_a_long_text_is_read_back(tmp_path):
    "The case of the long text: more letters than a field of csv may have"
    (corpus(tmp_path/'c')/'metadata.csv').write_text('c0|'+'я'*200_000, encoding='utf-8')
    prepared(tmp_path/'c', tmp_path/'o')
    assert SpeechData.open(tmp_path/'o').utterances[0].text=='я'*200_000

# wrong mels

def names(m): return [f.name for f in mel_faults(m, V1)]

def clip(i): return wav_at(*read_wav(CLIPS[i]), 22050)

def test_a_mel_of_16_khz_is_seen():
    "The case of the wrong mels that were accepted: 16 kHz with a hop of 256, as fast as a quick voice"
    found = [names(foreign_mel(clip(i), replace(OURS, sample_rate=16000))) for i in range(12)]
    assert sum(o==['another rate or window'] for o in found)>=9, found
    assert not any(names(foreign_mel(clip(i), OURS)) for i in range(12))

WRONG = {'log2': dict(log='log2'), 'lower floor': dict(floor=1e-10, under_root=0.), 'log10': dict(log='log10'),
         'ln of power': dict(power=2, floor=1e-10), 'decibels': dict(log='db')}

@pytest.mark.parametrize('name', WRONG)
def test_a_logarithm_is_named_for_what_it_is(name):
    "A mel to the base 2 and one with a floor of 1e-10 were called decibels, or were not seen"
    for i in range(0, 12, 3):
        w = np.pad(clip(i), 11025) if name=='lower floor' else clip(i)
        assert names(foreign_mel(w, replace(OURS, **WRONG[name])))==[name]

def test_base_2_is_converted():
    m = foreign_mel(clip(0), replace(OURS, log='log2'))
    assert (convert_mel(m, replace(OURS, log='log2'), V1)-foreign_mel(clip(0), OURS)).abs().max()<1e-4

@pytest.mark.parametrize('value, said', ((0., ['no sound']), (-5., ['no sound']), (1.5, ['scaled to 0..1']),
                                         (-11.5129, []), (-23.03, ['lower floor']), (-100., ['decibels'])))
def test_a_mel_of_one_number(value, said): assert names(torch.full((80,300), value))==said

def test_what_a_mel_is_filled_up_with():
    "Zeros behind a mel from a padded batch are loud; behind those of a batch they are no question"
    m = foreign_mel(clip(0), OURS)
    assert mel_faults(torch.nn.functional.pad(m, (0,50)), V1)[0].evidence.startswith('50 of ')
    assert names(torch.stack([m, torch.nn.functional.pad(m[:,:-50], (0,50))]))==[]

@pytest.mark.filterwarnings('always')
def test_a_stream_of_zeros_is_answered():
    "It was accepted without a word"
    voice = Vocoder(TINY, random_generator(TINY).state_dict())
    with pytest.warns(UserWarning, match='no sound. 48 of 48 frames hold 0 in all bands'):
        stream_pcm(voice, io.BytesIO(bytes(4*80*60)), io.BytesIO())

@pytest.mark.parametrize('kind', (np.complex64, np.int16, np.bool_, 'U3', object))
def test_numbers_that_are_no_mel(kind): assert names(np.zeros((80,9), kind))==['type']

@pytest.mark.parametrize('name, value', (('sr', 16000), ('sampling_rate', '16000'), ('fs', np.float32(16000))))
def test_a_rate_under_other_names(tmp_path, name, value):
    "Beside the mel stood another rate, as the official code calls it, and no more was said than that it is not used"
    np.savez(tmp_path/'a.npz', mel=foreign_mel(clip(0), OURS)[:,:99], **{name: value})
    with pytest.raises(ValueError, match='a.npz: The mel is said to have a sample_rate of 16000'):
        read_mel(tmp_path/'a.npz', V1)
    torch.save(dict(mel=torch.zeros(80,9)-5, hop_size=512), tmp_path/'a.pt')
    with pytest.raises(ValueError, match='a.pt: The mel is said to have a hop_length of 512'):
        read_mel(tmp_path/'a.pt', V1)

def test_a_mel_in_a_dict_is_vocoded_as_it_is_paired(tmp_path):
    "Prepare --mels took what many a TTS writes, and generate did not"
    m = foreign_mel(clip(0), OURS)[:,:20]
    for i,o in enumerate((dict(mel=m, text='да'), [m], dict(mel=m[None], mel_lengths=torch.tensor([20])))):
        torch.save(o, tmp_path/f'{i}.pt')
        assert torch.equal(torch.as_tensor(read_mel(tmp_path/f'{i}.pt', V1)).reshape(80, -1), m)

def test_a_warning_names_the_file_and_no_line_of_code(tmp_path):
    "Of a folder of mels one could not tell which was wrong"
    for name in 'ab': np.save(tmp_path/f'{name}.npy', np.zeros((80,9), np.float32))
    words = tmp_path, '--out', tmp_path/'o', '--checkpoint', saved(tmp_path/'v')
    _, told = quiet(run, 'generate', *map(str, words))
    for name in 'ab': assert f'warning: {tmp_path/name}.npy: no sound? 9 of 9 frames hold 0' in told, told
    assert 'UserWarning' not in told

# sounds

def wav(**at):
    "A WAV in which some numbers of its head are others"
    sf.write(f := io.BytesIO(), SPEECH[:16000], 16000, format='WAV', subtype='PCM_24')
    raw, where = bytearray(f.getvalue()), dict(channels=(10,'H'), speed=(16,'I'), block=(20,'H'), bits=(22,'H'))
    for name,value in at.items():
        place, form = where[name]
        struct.pack_into('<'+form, raw, raw.find(b'fmt ')+place, value)
    return bytes(raw)

@pytest.mark.parametrize('head', (dict(block=4), dict(channels=2), dict(bits=16, block=1), dict(bits=32)), ids=str)
def test_a_head_whose_numbers_do_not_agree(tmp_path, head):
    "24 bits with blocks of 4 bytes were read as noise; two channels in the bytes of one at twice the speed"
    (tmp_path/'a.wav').write_bytes(wav(**head))
    with pytest.raises(SoundError, match='is damaged: its header says .* bits in . channels, and . bytes for them'):
        read_wav(tmp_path/'a.wav')

@pytest.mark.parametrize('head', (dict(), dict(block=0), dict(speed=1)), ids=str)
def test_a_head_that_can_be_meant(tmp_path, head):
    (tmp_path/'a.wav').write_bytes(wav(**head))
    assert np.abs(read_wav(tmp_path/'a.wav')[0][0]-SPEECH[:16000]).max()<1e-4

@pytest.mark.parametrize('form', (dict(format='WAVEX', subtype='FLOAT'), dict(format='WAV', subtype='IMA_ADPCM'),
                                  dict(format='AIFF', subtype='PCM_16', endian='LITTLE'),
                                  dict(format='WAV', subtype='ALAW'), dict(format='AU', subtype='G721_32')), ids=str)
def test_forms_of_other_programs_are_read(tmp_path, form):
    sf.write(tmp_path/'a', SPEECH[:16000], 16000, **form)
    x = read_wav(tmp_path/'a')[0][0]
    assert np.corrcoef(x[:16000], SPEECH[:16000])[0,1]>.95

def test_an_amigas_sound_is_of_another_format(tmp_path):
    "It was called cut off"
    sf.write(tmp_path/'a.svx', SPEECH[:8000], 16000, format='SVX', subtype='PCM_16')
    with pytest.raises(SoundError, match='cannot be read as sound: .*no WAV, RF64'): read_wav(tmp_path/'a.svx')

LATE = {'late by 40': (lambda x: (x, np.roll(x, 40)), 'late channel'),
        'late and turned': (lambda x: (-np.roll(x, 300), .8*x), 'late channel'),
        'late by 3': (lambda x: (x, np.roll(x, 3)), 'late channel'),
        'of two people': (lambda x: (x, np.resize(SPEECH[20000:50000], len(x))), 'averaged'),
        'equal': (lambda x: (x, x), 'averaged'), 'softer': (lambda x: (x, .3*x), 'averaged')}

@pytest.mark.parametrize('kind', LATE)
def test_one_sound_in_two_channels_of_which_one_is_late(tmp_path, kind):
    "The average of them is a comb: every few hundred Hz a frequency is gone"
    make, mix = LATE[kind]
    sf.write(tmp_path/'a.wav', np.stack(make(SPEECH[:40000]), 1), 16000)
    assert Sound(tmp_path/'a.wav').mix.kind==mix

def test_prepare_says_that_a_channel_is_late(tmp_path):
    corpus(tmp_path/'c')
    sf.write(tmp_path/'c'/'z.wav', np.stack([SPEECH, np.roll(SPEECH, 90)], 1), 16000)
    assert '1 clips have one sound in two channels, one of them late' in prepared(tmp_path/'c', tmp_path/'o')[1]

@pytest.mark.filterwarnings('error')
def test_nothing_is_asked_about_a_mel_of_our_own(tmp_path):
    "Of a recording with noise it was said that its mel might have another rate"
    x = .8*SPEECH[:40000] + .2*np.random.default_rng(0).standard_normal(40000)*np.abs(SPEECH[:40000]).max()
    odd = np.clip(np.repeat(x[::2], 2)*3, -1, 1) # whatever it is
    voice = Vocoder(TINY, random_generator(TINY).state_dict())
    for wav in (odd, 0*odd, SPEECH[:40000:2].repeat(3)): assert voice.resynthesize(wav.astype('f4'), 16000).shape[0]==1

# names and places

links = pytest.mark.skipif(not hasattr(os, 'symlink') or os.name=='nt', reason='links are those of POSIX')

@links
def test_links_that_lead_to_themselves(tmp_path):
    "A traceback of generate, of prepare for such a folder, and the sounds beside them went undone"
    sf.write(tmp_path/'a.wav', SPEECH[:16000], 16000)
    for name in ('loop.wav', 'out'): (tmp_path/name).symlink_to(name)
    (tmp_path/'again').symlink_to('.', target_is_directory=True)
    with pytest.raises(ValueError, match='1 of 2 inputs could not be done.*loop.wav'):
        quiet(generate, [tmp_path], tmp_path/'g', saved(tmp_path/'voice'))
    assert (tmp_path/'g'/'a.wav').exists()
    assert 'is a file; give a folder' in refused('prepare', corpus(tmp_path/'c'), tmp_path/'out')

@pytest.mark.parametrize('words, name', ((('generate', ''), 'inputs'), (('prepare', '', 'out'), 'corpus'),
    (('generate', 'a.wav', '--out', ''), 'out'), (('generate', 'a.wav', '--checkpoint='), 'checkpoint')), ids=str)
def test_an_empty_name_is_no_folder(tmp_path, monkeypatch, words, name):
    "With a variable of the shell that was not set, generate took all the sounds that lay around"
    monkeypatch.chdir(tmp_path)
    sf.write('a.wav', SPEECH[:16000], 16000)
    assert f'{name} is empty: is a variable of the shell not set?' in refused(*words)
    assert os.listdir()==['a.wav']

def test_the_home_folder_behind_a_sign_of_equality(tmp_path, monkeypatch):
    "--out=~/x made a folder called ~"
    monkeypatch.chdir(corpus(tmp_path/'c'))
    monkeypatch.setenv('HOME', str(tmp_path))
    quiet(run, 'prepare', '.', '~/o', '--valid=0', '--test=0', '--workers=1')
    assert (tmp_path/'o'/'dataset.json').exists() and not Path('~').exists()

def test_a_manifest_that_names_a_sound_twice(tmp_path):
    "Of two texts for one sound the last was taken without a word"
    (corpus(tmp_path)/'manifest.json').write_text('{"c0.wav": "раз", "c1.wav": "два", "c0.wav": "три"}')
    assert "'c0.wav' is there twice, with different values" in find_corpus(tmp_path).layout
    assert json_value('{"a": [1], "a": [1]}', 'it')==dict(a=[1])

TEXTS = ['Ёжик вышел, и увидел', 'Съешь ещё, и выпей', 'Чайка летит, и поёт', 'Где-то дождь, и идёт']

def rows(form): return ''.join(form.format(i=i, t=t)+'\n' for i,t in enumerate(TEXTS))

def as_cp1251(raw): return ''.join(bytes([b]).decode('cp1251') if b!=0x98 else '\x98' for b in raw)

TABLES = {'names in large letters': rows('C{i}.WAV|{t}').encode(), 'a comma in each text': rows('c{i},{t}').encode(),
          'UTF-8 taken for cp1251': as_cp1251(rows('c{i}|{t}').encode()).encode(),
          'UTF-8 taken for Latin': rows('c{i}|{t}').encode().decode('latin-1').encode()}

@pytest.mark.parametrize('what', TABLES)
def test_texts_are_not_lost(tmp_path, what):
    "Commas that all rows have cut the text; letters that were saved twice were taken as they are, without a word"
    (corpus(tmp_path)/'metadata.csv').write_bytes(TABLES[what])
    c = find_corpus(tmp_path)
    assert [c.texts.get(f'c{i}') for i in range(4)]==TEXTS, c.layout
    assert ('read as utf-8 that was saved twice' in c.layout)==('UTF-8' in what)

def test_texts_that_are_lost_are_named(tmp_path):
    raw = rows('c{i}|И {t}').encode().decode('cp1251', 'replace').encode()
    (corpus(tmp_path)/'metadata.csv').write_bytes(raw)
    assert 'its letters were taken for another encoding, and some are lost' in find_corpus(tmp_path).layout

def test_large_letters_tell_two_sounds_apart(tmp_path):
    for name in ('a', 'A'): sf.write(tmp_path/f'{name}.wav', .1*np.sin(np.arange(8000)), 16000)
    if len(list(tmp_path.glob('*.wav')))<2: pytest.skip('this disk takes both names for one')
    (tmp_path/'metadata.csv').write_text('a|один\nA|два\n', encoding='utf-8')
    assert find_corpus(tmp_path).texts==dict(a='один', A='два')

def test_two_tables_that_say_different_things(tmp_path):
    "The texts of one were taken, and the other was said to have given as many"
    corpus(tmp_path)
    for name,word in (('metadata', 'раз'), ('train', 'два')):
        (tmp_path/f'{name}.csv').write_text(''.join(f'c{i}|{word}\n' for i in range(4)), encoding='utf-8')
    assert '4 of 4 rows give a text, 4 of them other than before and not taken' in find_corpus(tmp_path).layout

def test_a_disk_whose_files_end_at_4_gb(tmp_path):
    "Prepare said no more than File too large"
    with pytest.raises(NotWritten, match=r'a.npy could not be written: it would be larger .*FAT32'):
        with explained(tmp_path/'a.npy'): raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))

@pytest.mark.skipif(os.name=='nt', reason='a limit of POSIX')
def test_a_limit_for_the_size_of_files(tmp_path):
    code = ('import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (50_000,)*2)\n'
            'from hifigan_ruslan.cli import run; run("prepare", *sys.argv[1:], "--valid=0", "--test=0", "--workers=1")')
    corpus(tmp_path/'c')
    p = subprocess.run([sys.executable, '-c', code, tmp_path/'c', tmp_path/'o'], capture_output=True, text=True)
    assert p.returncode==1 and 'audio.partial could not be written: it would be larger' in p.stderr, p.stderr
    assert SpeechData.open(prepared(tmp_path/'c', tmp_path/'o')[0].path) # without the limit it goes on

@pytest.mark.parametrize('closed', ('stdin', 'stdout'))
def test_frames_from_an_input_that_is_closed(monkeypatch, closed):
    "A traceback of hifigan-generate - <&-"
    said = io.StringIO()
    monkeypatch.setattr(sys, f'__{closed}__', None) # as Python has it where it was closed before
    with pytest.raises(SystemExit), contextlib.redirect_stderr(said): run('generate', '-')
    assert f'standard {closed[3:]}put is closed here' in said.getvalue()

# checkpoints

def saved(path, config=None, **more):
    "A checkpoint as a run writes it"
    ck = dict(format='hifigan_ruslan', version=2, config=config_dict(TINY)|(config or {}), step=1, mpd={},
              generator=random_generator(TINY, 0).state_dict())
    torch.save(ck|more, path)
    return path

def test_a_checkpoint_of_a_newer_version_says_so(tmp_path):
    "An unknown key was all that was said"
    path = saved(tmp_path/'last.pt', dict(neu=1), versions=dict(hifigan_ruslan='9.8'))
    with pytest.raises(ValueError, match=r"unknown key 'neu'.*hifigan_ruslan 9.8 has written it, this is .*: update"):
        open_checkpoint(path)
    assert open_checkpoint(saved(tmp_path/'more.pt', future=dict(a=1)))[0]==TINY

# another moment of death

@pytest.mark.skipif(not hasattr(signal, 'SIGHUP'), reason='terminals of POSIX')
def test_a_terminal_that_is_closed_asks_a_training_to_end():
    "It was killed, and what it had learnt since the last checkpoint was lost; under nohup it goes on"
    told = []
    with train._Signals(told.append) as s:
        os.kill(os.getpid(), signal.SIGHUP)
        assert s.asked=='SIGHUP'
    assert signal.getsignal(signal.SIGHUP)==signal.SIG_DFL and 'all is saved' in told[0]
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with train._Signals(told.append) as s:
            os.kill(os.getpid(), signal.SIGHUP)
            assert s.asked=='' and len(told)==1
    finally: signal.signal(signal.SIGHUP, before)

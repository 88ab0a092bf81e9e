"""Other cases of the kinds of faults that were mended: what is no file, what is too large, tables of other programs"""
import contextlib, io, json, os
from dataclasses import replace
import numpy as np, pytest, soundfile as sf, torch
from hifigan_ruslan.base.audio import read_wav
from hifigan_ruslan.checkpoint import claim_run, load_checkpoint
from hifigan_ruslan.cli import run
from hifigan_ruslan.config import TINY, load_config, official_dict
from hifigan_ruslan.data import SpeechData
from hifigan_ruslan.dataset.corpus import find_corpus, synth_corpus
from hifigan_ruslan.dataset.prepare import prepare
from hifigan_ruslan.inference.mel_formats import read_mel
from hifigan_ruslan.model.reading import open_checkpoint
from hifigan_ruslan.train import fit
from hifigan_ruslan.training.logging import STATE, note_state, read_log, read_state

TEXTS = ['Ёжик вышел из дому', 'Съешь ещё этих булок', 'Чайка летит над морем', 'Где-то идёт дождь']

def corpus(folder, raw, name):
    "Four sounds and one file of metadata"
    for i in range(4): sf.write(folder/f'c{i}.wav', .1*np.sin(np.arange(1600)), 16000)
    (folder/name).write_text(raw, encoding='utf-8')
    return find_corpus(folder)

def rows(form): return ''.join(form.format(i=i, t=t)+'\n' for i,t in enumerate(TEXTS))

TABLES = { # name of the file, content
    'Hugging Face': ('metadata.jsonl', ''.join(json.dumps(dict(file_name=f'c{i}.wav', transcription=t))+'\n'
                                              for i,t in enumerate(TEXTS))),
    'DeepSpeech': ('train.csv', 'wav_filename,wav_filesize,transcript\n'+rows('c{i}.wav,3240,{t}')),
    'MLS': ('transcripts.txt', rows('c{i}\t{t}')),
    'a filelist': ('audio_text_train_filelist.txt', rows('wavs/c{i}.wav|{t}')),
    'seconds between': ('metadata.csv', rows('c{i}|1.25|{t}')),
    'a Russian head': ('metadata.csv', 'Имя файла;Длина;Расшифровка\n'+rows('c{i}.wav;12;{t}'))}

@pytest.mark.parametrize('whose', TABLES)
def test_tables_of_other_programs(tmp_path, whose):
    name, raw = TABLES[whose]
    c = corpus(tmp_path, raw, name)
    assert [c.texts.get(f'c{i}') for i in range(4)]==TEXTS and f'{name}: 4 of 4 rows give a text' in c.layout, c.layout

@pytest.mark.parametrize('name, raw, said', [
    ('metadata.csv', rows('c{i}|{t}')+'c0|другой текст\nc1|'+TEXTS[1]+'\n', '4 of 6 rows give a text, 1 replaced'),
    ('metadata.csv', rows('c{i}|12|{t}|{t} снова'), 'which of its columns holds the text is not sure'),
    ('1-2.trans.txt', rows('c{i} {t}'), "1-2.trans.txt could not be read (no line names a sound before |"),
    ('слова.txt', rows('c{i} {t}'), 'left out: 1 .txt')])
def test_what_is_not_taken_is_said(tmp_path, name, raw, said):
    assert said in corpus(tmp_path, raw, name).layout

# what is no file, and what is too large

def nothing_to_read(folder, what):
    "A pipe, a device, or a file of a hundred gigabytes that takes no place on the disk"
    path = folder/'odd'
    if what=='pipe': os.mkfifo(path)
    elif what=='device': path.symlink_to('/dev/zero')
    else:
        with open(path, 'wb') as f: f.truncate(100*2**30)
    return path

needs_pipes = pytest.mark.skipif(not hasattr(os, 'mkfifo'), reason='pipes and devices with names are those of POSIX')
ODD = {'pipe': 'is a pipe, no file', 'device': 'is a device, no file', 'huge': '107,374,182,400 bytes'}

@pytest.fixture(scope='module')
def data(tmp_path_factory):
    "A prepared corpus"
    work = tmp_path_factory.mktemp('data')
    synth_corpus(work/'corpus', n=4, seconds=.6, sample_rate=16000)
    with contextlib.redirect_stdout(io.StringIO()):
        prepare(work/'corpus', work/'data', workers=1, progress=False, valid=0, test=0, min_rate=8000)
    return work/'data'

@needs_pipes
@pytest.mark.parametrize('what', ODD)
@pytest.mark.parametrize('name', ('dataset.json', 'utterances.csv', 'log.csv', 'metadata.csv', 'c0.txt', 'card'))
def test_what_is_read_whole_is_looked_at_first(data, tmp_path, capsys, name, what):
    odd, place = nothing_to_read(tmp_path, what), tmp_path/'place'
    place.mkdir()
    for p in data.iterdir(): (place/p.name).hardlink_to(p)
    (place/name).unlink(missing_ok=True)
    (place/name).symlink_to(odd)
    if name in ('metadata.csv', 'c0.txt'): # of a corpus, which goes on without
        said = corpus(place, '', 'empty.csv').layout
        assert ODD[what] in said or f'not opened, being no files: {name}' in said
        return
    with pytest.raises((ValueError, SystemExit)) as e:
        if name=='log.csv': read_log(place/name)
        elif name=='card': run('export', 'festvox-ru-v2', str(tmp_path/'out'), '--card', str(place/name))
        else: SpeechData.open(place)
    assert ODD[what] in str(e.value)+capsys.readouterr().err

@needs_pipes
@pytest.mark.parametrize('what', ('pipe', 'device'))
@pytest.mark.parametrize('name, read', (('a.pt', open_checkpoint), ('a.safetensors', open_checkpoint),
                                        ('a.npy', read_mel), ('a.npz', read_mel)))
def test_weights_and_mels_are_files(tmp_path, name, read, what):
    (tmp_path/name).symlink_to(nothing_to_read(tmp_path, what))
    with pytest.raises(ValueError, match=ODD[what]): read(tmp_path/name)

def test_texts_that_are_no_utf8_are_named(tmp_path, capsys):
    (tmp_path/'c.json').write_bytes(json.dumps(official_dict(TINY)).encode('utf-16'))
    with pytest.raises(ValueError, match='c.json is no text in UTF-8 .*save it as UTF-8'):
        load_config(tmp_path/'c.json')
    (tmp_path/'card').write_bytes('Голос Руслана'.encode('cp1251'))
    with pytest.raises(SystemExit): run('export', 'festvox-ru-v2', str(tmp_path/'out'), '--card', str(tmp_path/'card'))
    assert 'card is no text in UTF-8' in capsys.readouterr().err

# weights under a name that promises something else

def bytes_of(save, *args):
    f = io.BytesIO()
    save(*args, f)
    return f.getvalue()

HEADS = {'a text': b'{"error": "not found"}', 'a text ': 'веса'.encode(), 'a GGUF file': b'GGUF'+bytes(99),
    'a picture': b'\x89PNG\r\n\x1a\n'+bytes(99), 'a file of TensorFlow Lite': b'\x1c\0\0\0TFL3'+bytes(99),
    'a packed file (7z': b"7z\xbc\xaf'\x1c"+bytes(99), 'a packed file (7z, RAR': b'Rar!\x1a\7'+bytes(99),
    'a packed file (7z, RAR or Zstandard': bytes.fromhex('28b52ffd')+bytes(99), 'a web page': b'<html>',
    'a pointer of Git LFS': b'version https://git-lfs.github.com/spec/v1\n', 'a sound file': b'ID3\4'+bytes(99)}

@pytest.mark.parametrize('suffix', ('pt', 'safetensors', 'onnx'))
@pytest.mark.parametrize('what', HEADS)
def test_what_is_no_weights_is_named_under_any_name(tmp_path, what, suffix):
    path = tmp_path/f'weights.{suffix}'
    path.write_bytes(HEADS[what])
    if suffix=='onnx': pytest.importorskip('onnx')
    with pytest.raises(ValueError) as e: open_checkpoint(path, TINY)
    assert f'weights.{suffix} is {what.strip()}' in str(e.value)

@pytest.mark.parametrize('kind, suffix', (('safetensors', 'pt'), ('torch.save', 'safetensors')))
def test_weights_of_another_format_than_their_name_says(tmp_path, kind, suffix):
    from safetensors.torch import save
    x = dict(x=torch.zeros(3))
    path = tmp_path/f'weights.{suffix}'
    path.write_bytes(save(x) if kind=='safetensors' else bytes_of(torch.save, x))
    with pytest.raises(ValueError, match=f'{kind}.*: give it a name that ends in .'): open_checkpoint(path, TINY)

# numbers that cannot be meant

@pytest.mark.parametrize('words', [
    ['generate', 'clip.wav', '--chunk', '-1'], ['generate', 'clip.wav', '--chunk', '0'],
    ['generate', 'clip.wav', '--mel-rate', '0'], ['generate', 'clip.wav', '--mel-hop', '-256'],
    ['generate', '-', '--chunk', '0'], ['eval', 'griffin-lim', 'clip.wav', '--rate', '0'],
    ['eval', 'griffin-lim', 'clip.wav', '--players', '-1']], ids=' '.join)
def test_numbers_of_nothing_are_refused(tmp_path, monkeypatch, capsys, words):
    monkeypatch.chdir(tmp_path)
    sf.write('clip.wav', .1*np.sin(np.arange(22050)), 22050)
    with pytest.raises(SystemExit): run(*words, '--out', 'out')
    name = words[-2].strip('-').replace('-', '_')
    assert f'error: {name} must' in capsys.readouterr().err and not os.path.exists('out')

def test_a_time_between_saves_is_not_negative(data, tmp_path, capsys):
    with pytest.raises(SystemExit):
        run('train', str(data), str(tmp_path/'run'), '--preset', 'TINY', '--steps', '1', '--device', 'cpu',
            '--save_minutes', 'nan')
    assert 'save_minutes must not be negative, found nan' in capsys.readouterr().err

def test_a_folder_below_a_file_is_no_question_of_rights(tmp_path, capsys):
    sf.write(tmp_path/'clip.wav', .1*np.sin(np.arange(22050)), 22050)
    with pytest.raises(SystemExit): run('generate', str(tmp_path/'clip.wav'), '--out', str(tmp_path/'clip.wav'/'out'))
    assert 'clip.wav is a file, and a folder is needed there' in capsys.readouterr().err

@pytest.mark.parametrize('scale, bits', ((100, 8), (30000, 16), (8e6, 24), (2e9, 32)))
def test_whole_numbers_are_told_by_their_size(tmp_path, scale, bits):
    sf.write(tmp_path/'a.wav', scale*np.sin(np.arange(22050)), 22050, subtype='DOUBLE')
    with pytest.raises(ValueError, match=f'{bits}-bit values, divide by {2**(bits-1)}'): read_wav(tmp_path/'a.wav')

def test_a_constant_is_no_speech(tmp_path):
    for i in range(4): sf.write(tmp_path/f'{i}.wav', np.full(22050, .5), 22050)
    with pytest.raises(ValueError, match='silent: nothing but a constant offset'):
        prepare(tmp_path, tmp_path/'out', workers=1, progress=False)

# a kill at the very end of a run

def test_a_run_killed_between_its_last_two_files_is_whole_after_the_same_command(data, tmp_path, capsys):
    cfg = replace(TINY, upsample_initial_channel=16, resblock_kernel_sizes=(3,), resblock_dilation_sizes=((1,2),),
                  disc_shrink=32, mpd_periods=(2,), segment_size=2048, batch_size=2)
    run_, last = tmp_path/'run', tmp_path/'run'/'checkpoints'/'last.pt'
    def train(steps): return fit(data, run_, cfg, steps=steps, device='cpu', view='lines')
    train(1)
    old = last.read_bytes()
    train(2)
    new = load_checkpoint(last)[0]
    with claim_run(run_).writing('checkpoints/best.pt', digest=False): last.rename(last.with_name('best.pt'))
    last.write_bytes(old) # as if the kill had come after best.pt and before last.pt
    os.utime(last, (1, 1))
    note_state(run_, 'running')
    state = json.loads((run_/STATE).read_text()) | dict(pid=2**22+1) # of no process
    (run_/STATE).write_text(json.dumps(state))
    capsys.readouterr()
    train(2)
    assert 'best.pt, step 2' in (said := capsys.readouterr().out) and 'nothing to do' in said
    back = load_checkpoint(last)[0]
    assert back.step==2 and read_state(run_)['state']=='done'
    assert all(torch.equal(a, b) for a,b in zip(new.generator.parameters(), back.generator.parameters()))

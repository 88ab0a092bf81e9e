"""The mels of a TTS beside their recordings: each way in which a folder of mels can be wrong is named, or accepted
with the right count. The stand-in for a TTS smooths the mels of the packaged clips and adds noise"""
import contextlib, io, json, shutil, unicodedata
from pathlib import Path
import numpy as np, pytest, soundfile as sf, torch
from hifigan_ruslan.base.audio import read_wav
from hifigan_ruslan.base.files import claim
from hifigan_ruslan.config import V1, config_dict
from hifigan_ruslan.data import PairedMels, SpeechData
from hifigan_ruslan.dataset.prepare import prepare
from hifigan_ruslan.inference.mel_formats import foreign_mel
from hifigan_ruslan.inference.pairing import compare_mels, pair_mels
from hifigan_ruslan.mel import LogMel

CLIPS = Path(__file__).parent.parent/'hifigan_ruslan'/'clips'
logmel = LogMel(V1)

def mel_of(wav): return logmel(torch.from_numpy(np.ascontiguousarray(wav, np.float32))[None])[0].numpy()

def smoothed(x, n, axis):
    x = np.moveaxis(np.pad(x, [(n//2,n//2) if a==axis else (0,0) for a in (0,1)], mode='edge'), axis, 1)
    return np.moveaxis(np.stack([np.convolve(row, np.ones(n)/n, 'valid') for row in x]), 1, axis)

def like_tts(mel, seed=0, frames=7, bands=3, noise=.4):
    grain = smoothed(np.random.default_rng(seed).standard_normal(mel.shape), 3, 1)*3**.5*noise
    return (smoothed(smoothed(mel, frames, 1), bands, 0)+grain).astype(np.float32)

class Case:
    "A prepared corpus of short clips, its TTS's mels, and a place for changed ones"
    def __init__(self, root):
        self.root, clips = root, root/'clips'
        clips.mkdir()
        for i,f in enumerate(sorted(CLIPS.glob('*.flac'))): # 2.2 to 3.9 s, none as long as another
            wav, rate = read_wav(f)
            sf.write(clips/f'{f.stem}.wav', np.asarray(wav).reshape(-1)[rate//2:][:int(rate*(2.2+.15*i))], rate)
        with contextlib.redirect_stdout(io.StringIO()):
            self.data = prepare(clips, root/'data', workers=1, progress=False)
        self.waves = {u.id: self.data.wav(u) for u in self.data.utterances}
        self.own = {id: mel_of(w) for id,w in self.waves.items()}
        self.tts = {id: like_tts(m, i) for i,(id,m) in enumerate(self.own.items())}
        self.ids, self.n = list(self.own), 0

    def folder(self, mels):
        self.n += 1
        folder = self.root/f'mels{self.n}'
        for name,m in mels.items():
            (folder/name).parent.mkdir(parents=True, exist_ok=True)
            np.save(folder/f'{name}.npy', m)
        return folder

    def pair(self, mels, **kw):
        "What is said, and what was stored"
        for p in [*self.data.path.glob('mels*'), *self.data.path.glob('.hifigan*')]: p.unlink()
        folder = mels if isinstance(mels, Path) else self.folder(mels)
        with contextlib.redirect_stdout(io.StringIO()) as said:
            stored = pair_mels(self.data, folder, progress=False, **kw)
        return said.getvalue(), stored

    def refused(self, mels, *words, **kw):
        "The words of the refusal; nothing was stored"
        with pytest.raises(ValueError) as e: self.pair(mels, **kw)
        for word in words: assert word in str(e.value), str(e.value)
        assert not [p for p in self.data.path.glob('mels*') if p.name!='mels_skipped.csv']
        return str(e.value)

    def changed(self, f): return {id: f(m) for id,m in self.tts.items()}

@pytest.fixture(scope='module')
def case(tmp_path_factory): return Case(tmp_path_factory.mktemp('pairs'))

def moved(m, k):
    "A mel k frames late, as long as before"
    edge = np.repeat(m[:,:1] if k>0 else m[:,-1:], abs(k), 1)
    return np.concatenate([edge, m], 1)[:,:m.shape[1]] if k>0 else np.concatenate([m, edge], 1)[:,-k:]

def test_right_mels_are_stored_as_they_are(case):
    said, mels = case.pair(case.tts)
    assert '12 of 12 recordings' in said and '12 pairs are stored' in said and len(said.splitlines())==2, said
    assert all((mels.mel(u)==case.tts[u.id]).all() for u in case.data.utterances)
    assert mels.meta['mel_from'] is None and mels.meta['shift']==0 and mels.meta['counts']['pairs']==12

def test_all_shifts_from_1_to_40_frames_are_found(case):
    for k in [*range(1, 41), *range(-40, 0)]:
        found = [compare_mels(moved(case.tts[id], k), case.own[id])[1] for id in case.ids[::3]]
        assert all(abs(late-k)<.4 for late in found), (k, found)

@pytest.mark.parametrize('k', [1, 2, 7, 40, -1, -12, -40])
def test_a_common_shift_is_said_and_put_right(case, k):
    said, mels = case.pair(case.changed(lambda m: moved(m, k)))
    way = 'late: moved back' if k>0 else 'early: moved on'
    assert f'each mel lies {abs(k)} frame' in said and f'({abs(k)*256000/22050:.0f} ms) {way}' in said, said
    assert len(mels.rows)==12 and mels.meta['shift']==k
    for u in case.data.utterances:
        a, b = mels.mel(u), case.tts[u.id]
        both = slice(None, -k) if k>0 else slice(-k, None)
        assert (a[:,both]==b[:,both]).all() and abs(compare_mels(a, b)[1])<.1

def test_a_shift_is_the_users_word(case):
    late = case.changed(lambda m: moved(m, 3))
    said, mels = case.pair(late, shift=0)
    assert 'taken to lie where it should, as asked, though by correlation it lies 3 frames (35 ms) late' in said, said
    assert all((mels.mel(u)==late[u.id]).all() for u in case.data.utterances)

def test_silence_before_all_that_makes_them_longer_is_a_shift(case):
    said, mels = case.pair(case.changed(lambda m: np.concatenate([np.repeat(m[:,:1], 20, 1), m], 1)))
    assert 'each mel lies 20 frames (232 ms) late' in said and len(mels.rows)==12, said
    assert all((mels.mel(u)==case.tts[u.id]).all() for u in case.data.utterances)

def test_half_a_frame_is_left_alone(case):
    centred = {id: like_tts(foreign_mel(w, 'tacotron2').numpy()) for id,w in case.waves.items()}
    said, mels = case.pair(centred)
    assert 'lies' not in said and '12 mels were longer than their recordings, by up to 1 frame: cut' in said, said
    assert len(mels.rows)==12

def test_one_pair_elsewhere_is_named_with_where_it_lies(case):
    said, mels = case.pair(case.tts | {case.ids[4]: moved(case.tts[case.ids[4]], 17)}, max_bad=.1)
    assert f'1 mel is left out (1 elsewhere): {case.ids[4]}.npy: it lies 17 frames later than it should' in said
    assert len(mels.rows)==11 and case.ids[4] not in mels.rows
    assert case.ids[4] in (case.data.path/'mels_skipped.csv').read_text()

def test_frames_at_the_end_are_cut_or_filled_and_counted(case):
    def uneven(i, m): return m[:,:-4] if i%3==0 else np.concatenate([m, m[:,-5:]], 1) if i%3==1 else m
    said, mels = case.pair({id: uneven(i, m) for i,(id,m) in enumerate(case.tts.items())})
    assert '4 mels were longer than their recordings, by up to 5 frames: cut at the end' in said, said
    assert '4 mels were shorter, by up to 4 frames: filled at the end from the recordings' in said, said
    u = case.data.utterances[0]
    assert (mels.mel(u)[:,-4:]==case.own[u.id][:,-4:]).all() and mels.rows[u.id].changed==4
    assert mels.meta['counts']['cut']==4 and mels.meta['counts']['padded']==4

def test_more_frames_at_the_end_are_named(case):
    e = case.refused(case.changed(lambda m: m[:,:-9]))
    assert '12 of 12 recordings have no good mel' in e and '9 fewer, and 5 may be cut or filled' in e, e

def test_shuffled_by_one_place_is_said(case):
    mels = list(case.tts.values())
    e = case.refused(dict(zip(case.ids, mels[1:]+mels[:1])), 'The mels are shuffled', '1 place further on in the list')
    assert f'{case.ids[0]}.npy, which is the mel of {case.ids[1]}' in e, e
    case.refused(dict(zip(case.ids, mels[-2:]+mels[:-2])), '2 places back in the list')

def test_shuffled_without_order(case):
    order = np.random.default_rng(3).permutation(12)
    e = case.refused({id: case.tts[case.ids[k]] for id,k in zip(case.ids, order)}, 'The mels are shuffled')
    assert 'Give each mel the name of its recording' in e, e

def test_one_mel_of_another_recording_is_left_out(case):
    other = case.tts[case.ids[9]][:,:case.tts[case.ids[2]].shape[1]]
    said, mels = case.pair(case.tts | {case.ids[2]: other}, max_bad=.1)
    assert f'1 mel is left out (1 another recording): {case.ids[2]}.npy: it is not like' in said, said
    assert len(mels.rows)==11

def other_pace(m, ratio):
    at = np.linspace(0, m.shape[1]-1, round(m.shape[1]*ratio))
    return np.stack([np.interp(at, np.arange(m.shape[1]), row) for row in m]).astype(np.float32)

@pytest.mark.parametrize('rate, hop, said', [
    (22050, 300, 'a hop of 300 samples at 22050 Hz'), (22050, 200, 'a hop of 200'),
    (22050, 262, 'of about 26'), (16000, 256, 'a hop of 256 samples at 16000 Hz'),
    (24000, 256, '256 samples at 24000'),
    (24000, 300, '300 samples at 24000')])
def test_another_hop_or_rate_is_named_before_anything_is_left_out(case, rate, hop, said):
    mels = case.changed(lambda m: other_pace(m, rate/hop/(22050/256)))
    e = case.refused(mels, said, 'times as many frames as the recordings')
    assert 'frames, the recording' not in e

def test_half_speed_is_named(case): case.refused(case.changed(lambda m: other_pace(m, 2)), 'sound at half speed')

def test_mels_that_are_cut(case):
    e = case.refused(case.changed(lambda m: m[:,:150]), 'recordings have no good mel', 'fewer, and 5 may be cut',
                     'Was silence cut off, or added')
    assert e.count(' frames, the recording ')==12
    said, mels = case.pair(case.tts | {case.ids[5]: case.tts[case.ids[5]][:,:60]}, max_bad=.1)
    assert '1 mel is left out (1 length)' in said, said

def test_reversed_in_time(case):
    case.refused(case.changed(lambda m: m[:,::-1]), 'run backwards', 'save mel[:, ::-1]')
    said, _ = case.pair(case.tts | {case.ids[5]: case.tts[case.ids[5]][:,::-1]}, max_bad=.1)
    assert '(1 backwards)' in said, said

def test_bands_upside_down(case): case.refused(case.changed(lambda m: m[::-1]), 'run upside down', 'save mel[::-1]')

def test_half_are_missing(case):
    half = {id: case.tts[id] for id in case.ids[::2]}
    e = case.refused(half, '6 of 12 recordings have no good mel, more than 5%', 'nothing was stored', '--max_bad')
    assert all(f'{id}: there is none of this name' in e for id in case.ids[1::2])
    said, mels = case.pair(half, max_bad=.5)
    assert '6 of 12 recordings' in said and '6 recordings have no mel' in said and len(mels.rows)==6, said

def with_nan(m):
    m = m.copy()
    m[3,7] = np.nan
    return m

def test_nan(case):
    case.refused(case.changed(with_nan), '12 of 12 mels that were looked at have the same fault', 'NaN or infinity')
    said, mels = case.pair(case.tts | {case.ids[0]: with_nan(case.tts[case.ids[0]])}, max_bad=.1)
    assert '1 mel is left out (1 not finite)' in said and len(mels.rows)==11, said

def another_reading(m, rng):
    "Another speaker's: other formants, and each sound up to 12 frames earlier or later"
    F, bands = m.shape[1], np.arange(80)*.88
    knots = np.arange(0, F+40, 20)
    at = np.arange(F)+np.interp(np.arange(F), knots, rng.uniform(-12, 12, len(knots)))
    y = np.stack([np.interp(bands, np.arange(80), col) for col in m.T], 1)
    return np.stack([np.interp(at, np.arange(F), row) for row in y]).astype(np.float32)

def test_another_speakers_reading(case):
    rng = np.random.default_rng(0)
    e = case.refused({id: like_tts(another_reading(m, rng)) for id,m in case.own.items()})
    assert 'of another speaker or reading' in e and 'teacher-forced' in e, e

def test_another_voice_with_the_same_durations_is_said(case):
    bands = np.arange(80)*.87
    def spoken(m): return np.stack([np.interp(bands, np.arange(80), col) for col in m.T], 1)
    voice = {id: like_tts(spoken(m)) for id,m in case.own.items()}
    said, mels = case.pair(voice)
    assert 'half of the mels are less like their recordings' in said and 'another voice' in said, said

@pytest.mark.parametrize('form', [lambda m: m.T, lambda m: m[None], lambda m: m.T[None], lambda m: m.astype('>f8')])
def test_transposed_and_in_batches_of_one(case, form):
    said, mels = case.pair(case.changed(form))
    assert len(mels.rows)==12 and len(said.splitlines())==2
    assert all((mels.mel(u)==case.tts[u.id]).all() for u in case.data.utterances)

def test_half_precision(case):
    _, mels = case.pair(case.changed(lambda m: m.astype(np.float16)))
    assert max(np.abs(mels.mel(u)-case.tts[u.id]).max() for u in case.data.utterances)<.01

@pytest.mark.parametrize('unit, advice', [
    (lambda m: m*8.686, 'hifigan:log=db'), (lambda m: m/2.302585, 'hifigan:log=log10'),
    (np.exp, 'hifigan:log=None'), (lambda m: (m+4.2)/1.9, 'hifigan:mean=-4'), (lambda m: m*2, 'hifigan:')])
def test_another_unit_is_refused_with_the_format_that_fits(case, unit, advice):
    e = case.refused(case.changed(unit), f'--mel_from {advice}')
    if '=-4' not in advice and advice!='hifigan:':
        said, mels = case.pair(case.changed(unit), mel_from=advice)
        assert len(mels.rows)==12 and mels.meta['mel_from']==advice
        assert np.abs(mels.mel(case.data.utterances[0])-case.tts[case.ids[0]].clip(-11.513)).max()<1e-3
    else: assert 'estimated' in e

def test_normalised_mels_come_back_with_the_numbers(case):
    said, mels = case.pair(case.changed(lambda m: (m+5.81)/2.45), mel_from='hifigan:mean=-5.81,std=2.45')
    assert np.abs(mels.mel(case.data.utterances[0])-case.tts[case.ids[0]].clip(-11.513)).max()<1e-3, said

def test_a_wrong_mel_from_is_named(case):
    case.refused(case.tts, 'in another unit. Tried on the recordings, without --mel_from they fit', mel_from='coqui')
    case.refused(case.tts, "no mel format 'espent'", mel_from='espent')

def test_no_bytes_and_no_frames(case):
    folder = case.folder(case.tts | {case.ids[0]: case.tts[case.ids[0]][:,:0]})
    (folder/f'{case.ids[1]}.npy').write_bytes(b'')
    e = case.refused(folder, '2 of 12 recordings have no good mel')
    assert f'{case.ids[0]}.npy: The mel is empty' in e and f'{case.ids[1]}.npy cannot be read as a mel' in e, e
    said, mels = case.pair(folder, max_bad=.2)
    assert '2 mels are left out (1 empty, 1 unreadable)' in said and len(mels.rows)==10, said

def test_wrong_bands(case):
    case.refused(case.changed(lambda m: np.concatenate([m, m[:20]])), '12 of 12 mels', 'instead of 80')

def test_images_of_spectrograms(case):
    case.refused(case.changed(lambda m: ((m+12)*18).astype(np.int16)), '12 of 12 mels', 'of type int16')

def test_two_mels_of_one_recording(case):
    twice = {f'mels/{id}': m for id,m in case.tts.items()} | {f'old/{id}': m for id,m in case.tts.items()}
    case.refused(twice, '12 of 12 mels', 'its recording has 2: mels/', 'old/')
    said, mels = case.pair(case.tts | {f'again/{case.ids[3]}': case.tts[case.ids[3]]}, max_bad=.1)
    assert '1 mel is left out (1 several mels)' in said and len(mels.rows)==11, said

def test_only_the_files_of_mels_are_taken(case):
    layout = {f'mel/ru-mel-{id}': m for id,m in case.tts.items()}
    layout |= {f'{kind}/ru-{kind}-{id}': m[0] for kind in ('pitch','energy','duration') for id,m in case.tts.items()}
    said, mels = case.pair(layout)
    assert 'the names of the mels are ru-mel-NAME' in said and '36 mels belong to no recording: duration/' in said, said
    assert len(mels.rows)==12

def test_names_in_another_unicode_form(tmp_path, case):
    clips = tmp_path/'clips'
    clips.mkdir()
    names = [unicodedata.normalize('NFC', f'йод и ёж {i}') for i in range(6)]
    for name,f in zip(names, sorted((case.root/'clips').iterdir())): shutil.copy(f, clips/f'{name}.wav')
    with contextlib.redirect_stdout(io.StringIO()):
        data = prepare(clips, tmp_path/'data', workers=1, progress=False)
        for name,m in zip(names, case.tts.values()):
            (tmp_path/'mels').mkdir(exist_ok=True)
            np.save(tmp_path/'mels'/f"{unicodedata.normalize('NFD', name)}-feats.npy", m)
    with contextlib.redirect_stdout(io.StringIO()) as said: mels = pair_mels(data, tmp_path/'mels', progress=False)
    assert len(mels.rows)==6 and 'NAME-feats' in said.getvalue(), said.getvalue()

def test_recordings_and_the_corpus_in_place_of_mels(case):
    case.refused(case.root/'clips', 'It holds recordings (12 .wav)', 'Mels are what your TTS made')
    case.refused(case.data.path, 'is a prepared corpus')
    waves = {id: w for id,w in case.waves.items()}
    case.refused(waves, '12 of 12 mels', 'The mel has the shape')

def test_names_of_other_recordings(case):
    e = case.refused({str(i): m for i,m in enumerate(case.tts.values())}, 'None of the 12 mels', 'expected: ru_0003')
    assert 'Found: 0.npy' in e

@pytest.mark.parametrize('form', ['dict', 'batch', 'npz', 'each'])
def test_one_file_for_all(case, form, tmp_path):
    mels, long = case.tts, max(m.shape[1] for m in case.tts.values())
    if form=='npz': np.savez(tmp_path/'all.npz', **{f'wavs/{id}.wav': m for id,m in mels.items()})
    if form=='dict': torch.save({id: torch.from_numpy(m) for id,m in mels.items()}, tmp_path/'all.pt')
    if form=='batch':
        mel = torch.stack([torch.from_numpy(np.pad(m, ((0,0),(0,long-m.shape[1])))) for m in mels.values()])
        lengths = torch.tensor([m.shape[1] for m in mels.values()])
        torch.save(dict(utt_ids=list(mels), mel=mel.transpose(1,2), mel_lengths=lengths), tmp_path/'all.pt')
    if form=='each':
        for id,m in mels.items(): torch.save(dict(id=id, mel=torch.from_numpy(m)[None], text=''), tmp_path/f'{id}.pt')
    said, stored = case.pair(tmp_path)
    assert len(stored.rows)==12 and all((stored.mel(u)==mels[u.id]).all() for u in case.data.utterances), said

def test_a_level_that_is_another_is_said(case):
    said, mels = case.pair(case.changed(lambda m: m-.7))
    assert ' dB quieter than the recordings' in said and len(mels.rows)==12, said

def test_other_filters_are_said(case):
    espnet = {id: like_tts(foreign_mel(w, 'espnet').numpy()*2.302585) for id,w in case.waves.items()}
    said, mels = case.pair(espnet)
    assert 'another fmin, fmax or filter?' in said, said

def test_the_same_mels_return_at_once_and_others_are_refused(case, tmp_path):
    _, first = case.pair(case.tts)
    before = {p.name: p.stat().st_mtime_ns for p in case.data.path.glob('mels*')}
    folder = case.root/f'mels{case.n}'
    moved_folder = tmp_path/'mels'
    shutil.copytree(folder, moved_folder, copy_function=shutil.copy) # with other dates
    for place in (folder, moved_folder):
        with contextlib.redirect_stdout(io.StringIO()) as said: again = pair_mels(case.data, place, progress=False)
        assert 'has these mels already: 12' in said.getvalue() and again.fingerprint==first.fingerprint
    for place,kw,why in ((case.folder(case.changed(lambda m: m+.01)), {}, 'of other files'),
                         (folder, dict(shift=2), 'without --mel_from'),
                         (folder, dict(mel_from='tacotron2'), 'without')):
        with pytest.raises(ValueError, match=f'mels of a TTS already, made otherwise .{why}'):
            pair_mels(case.data, place, progress=False, **kw)
    assert before=={p.name: p.stat().st_mtime_ns for p in case.data.path.glob('mels*')}

MELS = 'mels.npy', 'mels.csv', 'mels.json'

def test_what_is_unfinished_or_damaged_is_made_anew_and_said(case):
    _, first = case.pair(case.tts)
    folder = case.root/f'mels{case.n}'
    def killed(): # before the first file of a pairing was there
        for name in MELS: (case.data.path/name).unlink()
        claim(case.data.path, 'data').begin(*MELS)
    for spoil in (lambda: (case.data.path/'mels.json').unlink(), lambda: (case.data.path/'mels.npy').write_bytes(b''),
                  killed):
        spoil()
        with pytest.raises(ValueError): PairedMels.open(case.data)
        with contextlib.redirect_stdout(io.StringIO()) as said: again = pair_mels(case.data, folder, progress=False)
        assert 'That is done now, from the beginning' in said.getvalue(), said.getvalue()
        assert again.fingerprint==first.fingerprint and PairedMels.open(SpeechData.open(case.data.path)).verify()

def test_a_failure_in_the_middle_publishes_nothing(case):
    bad = {id: with_nan(m) if i>8 else m for i,(id,m) in enumerate(case.tts.items())}
    case.refused(bad, '3 of 12 recordings have no good mel')
    assert PairedMels.open(case.data) is None # and one can train without

def test_the_command_pairs_a_finished_corpus(case, tmp_path, capsys):
    from hifigan_ruslan.cli import run
    out, folder = tmp_path/'data', case.folder(case.changed(lambda m: moved(m, 3)))
    (tmp_path/'config.json').write_text(json.dumps(config_dict(V1)))
    words = 'prepare', str(case.root/'clips'), str(out), '--workers', '1'
    run(*words)
    assert not (out/'mels.npy').exists()
    run(*words, '--mels', str(folder), '--mel_config', str(tmp_path/'config.json'))
    said = capsys.readouterr().out
    assert 'is finished already' in said and '3 frames (35 ms) late: moved back; --mel_shift 0 keeps them' in said, said
    assert len(PairedMels.open(SpeechData.open(out)).rows)==12
    with pytest.raises(SystemExit): run(*words, '--mels', str(folder), '--mel_shift', '0')
    assert 'made otherwise' in capsys.readouterr().err

def test_silence_that_was_cut_off_is_asked_for(case):
    cut = np.random.default_rng(1).integers(8, 40, (12,2))
    mels = {id: m[:,a:m.shape[1]-b] for (id,m),(a,b) in zip(case.tts.items(), cut)}
    e = case.refused(mels, 'Was silence cut off, or added, before the TTS saw the recordings?')
    assert 'frames earlier than it should' in e and 'times as many frames' not in e, e

@pytest.mark.parametrize('mel, said', [
    (lambda m: m*0, 'not like'), (lambda m: np.float32(3), 'has the shape ()'), (lambda m: m[0], 'has the shape ('),
    (lambda m: m.astype(complex), 'of type complex'), (lambda m: m*0-np.inf, 'NaN or infinity'),
    (lambda m: np.stack([m,m]), 'holds 2 mels'), (lambda m: m>0, 'of type bool')])
def test_what_is_no_mel_is_named(case, mel, said):
    e = case.refused(case.tts | {case.ids[0]: mel(case.tts[case.ids[0]])}, f'{case.ids[0]}.npy')
    assert said in e and '1 of 12 recordings' in e, e

def test_a_tensor_that_was_trained(case, tmp_path):
    for id,m in case.tts.items(): torch.save(torch.from_numpy(m).requires_grad_(), tmp_path/f'{id}.pt')
    assert len(case.pair(tmp_path)[1].rows)==12

def test_which_of_several_mels_in_a_file_is_taken_is_said(case, tmp_path):
    for id,m in case.tts.items():
        torch.save(dict(mel_outputs=torch.from_numpy(m)+1, mel_outputs_postnet=torch.from_numpy(m)), tmp_path/f'{id}.pt')
    said, mels = case.pair(tmp_path)
    assert "'mel_outputs_postnet' is taken, not mel_outputs" in said, said
    assert (mels.mel(case.data.utterances[0])==case.tts[case.ids[0]]).all()

"""tools/little_tts.py: a TTS that errs as one does, on a corpus of some seconds"""
import importlib.util, json, sys
from pathlib import Path
import numpy as np
import pytest
from hifigan_ruslan.config import V1
from hifigan_ruslan.dataset.corpus import synth_corpus
from hifigan_ruslan.dataset.prepare import prepare

ROOT = Path(__file__).parent.parent

@pytest.fixture(scope='module')
def tts():
    "The tool as a module"
    spec = importlib.util.spec_from_file_location('little_tts', ROOT/'tools'/'little_tts.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module

@pytest.fixture(scope='module')
def data(tmp_path_factory):
    "Prepared recordings to learn from, others that are only measured with, and labels of both"
    tmp = tmp_path_factory.mktemp('tts')
    def part(name, n, **split):
        corpus = synth_corpus(tmp/f'{name}_wavs', n=n, seconds=1.2, sample_rate=22050, seed=n)
        for i,p in enumerate(sorted(corpus.glob('*.wav'))): p.rename(p.with_name(f'{name}{i}.wav'))
        return prepare(corpus, tmp/name, workers=1, progress=False, **split)
    parts = part('learn', 6, valid=.2, test=0.), part('held', 2, valid=0., test=1.)
    (tmp/'lab').mkdir()
    for u in (u for d in parts for u in d.utterances):
        (tmp/'lab'/f'{u.id}.lab').write_text('#\n0.3 125 pau\n0.7 125 a\n0.7001 125 t\n1.1 125 pau\n')
    return tmp, *parts

def told(tts, *words):
    "Run it with these words"
    was, sys.argv = sys.argv, ['little_tts', *map(str, words), '--batch_size', '2']
    try: tts.main()
    finally: sys.argv = was

@pytest.mark.parametrize('labels', [True, False])
def test_a_mel_for_every_recording(tts, data, tmp_path, labels):
    "Its own length, the same again from the same seed, nearer the more it learns; held-out ones are named apart"
    tmp, learn, held = data
    more = ['--also', held.path] + (['--labels', tmp/'lab'] if labels else [])
    for out,steps in dict(a=2, b=2, c=40).items(): told(tts, learn.path, tmp_path/out, *more, '--steps', steps)
    utterances = [*learn.utterances, *held.utterances]
    assert {p.stem for p in (tmp_path/'a'/'mels').iterdir()}=={u.id for u in utterances}
    for u in utterances:
        mel, again = (np.load(tmp_path/o/'mels'/f'{u.id}.npy') for o in 'ab')
        assert mel.shape==(80, u.length//V1.hop_length) and mel.dtype==np.float32
        assert np.abs(mel-again).max()<.01, np.abs(mel-again).max() # rounding differs with the place in memory
    far, near = (json.loads((tmp_path/o/'distance.json').read_text()) for o in 'ac')
    assert {k: d['clips'] for k,d in near.items() if k!='steps'}=={'train': 5, 'valid': 1, 'also': 2}
    assert near['steps']==40 and near['train']['mel_l1']<.9*far['train']['mel_l1']

def test_held_out_recordings_teach_nothing(tts, data, tmp_path):
    "With and without them the mels of the others are the same"
    tmp, learn, held = data
    told(tts, learn.path, tmp_path/'with', '--also', held.path, '--labels', tmp/'lab', '--steps', 2)
    told(tts, learn.path, tmp_path/'without', '--labels', tmp/'lab', '--steps', 2)
    first = learn.utterances[0].id
    with_, without = (np.load(tmp_path/o/'mels'/f'{first}.npy') for o in ('with', 'without'))
    assert np.abs(with_-without).max()<.01
    assert 'held' not in (tmp_path/'without'/'distance.json').read_text()

def test_it_does_not_know_the_sound(tts, data):
    "What it is given of a recording has the length, the pitch and a loudness per phone, and no other bit of the mel"
    tmp, learn, held = data
    clips = tts.read_clips(learn, None, V1, tmp/'lab')
    known, c = tts.Known(clips), clips[0]
    given = known.phones(c), known.frame_features(c)
    c.mel = np.roll(c.mel, 7, 0) # the same energies in other bands
    for a,b in zip(given, (known.phones(c), known.frame_features(c))): assert np.allclose(a, b, atol=1e-5)
    assert [x.shape for x in given]==[(len(c.f0), 2*tts.AROUND+1), (len(c.f0), tts.FRAME_FEATURES)]

def test_labels(tts, data, tmp_path):
    "Phones of less than a frame vanish, the last one goes on to the end; absent and empty files are named"
    tmp, learn, held = data
    ends, names = tts.read_labels(tmp/'lab'/'learn0.lab', 103, V1)
    assert (ends, names)==([26, 60, 103], ['pau', 'a', 'pau'])
    with pytest.raises(FileNotFoundError, match='learn0.lab is not there: --labels needs one ID.lab'):
        told(tts, learn.path, tmp_path/'x', '--labels', tmp_path)
    (tmp_path/'learn0.lab').write_text('#\n')
    with pytest.raises(ValueError, match='learn0.lab names no phone; a line should be: SECONDS NUMBER NAME'):
        told(tts, learn.path, tmp_path/'x', '--labels', tmp_path)

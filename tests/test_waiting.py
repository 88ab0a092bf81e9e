"Who waits is told what for and how long; what is known at the start is said at the start. No test looks at the clock"
import contextlib, io, os, signal, subprocess, sys, threading
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch
import hashlib, pytest, torch
import hifigan_ruslan
from hifigan_ruslan import train
from hifigan_ruslan.base.commands import parsed
from hifigan_ruslan.base.files import read_marker
from hifigan_ruslan.base.hardware import choose_precision
from hifigan_ruslan.config import TINY
from hifigan_ruslan.dataset.corpus import synth_corpus
from hifigan_ruslan.dataset.prepare import prepare
from hifigan_ruslan.eval import comparisons, eval_table
from hifigan_ruslan.evaluation.stats import clips_to_prove, least_p
from hifigan_ruslan.metrics import METRICS
from hifigan_ruslan.training.logging import read_state

TOY = replace(TINY, upsample_initial_channel=32, disc_shrink=32, segment_size=2048, batch_size=2, grad_accum=2,
              valid_every=100)
torch.set_num_threads(1)

@pytest.fixture(scope='module')
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp('waiting')
    corpus = synth_corpus(folder/'RUSLAN', n=12, seconds=1.5, sample_rate=22050)
    with contextlib.redirect_stdout(io.StringIO()):
        return prepare(corpus, folder/'data', valid=.2, test=0., workers=0, progress=False)

def fitted(data, out, **kw):
    "A run, and what it said"
    with contextlib.redirect_stdout(io.StringIO()) as said:
        s = train.fit(data, out, TOY, view='lines', device='cpu', **kw)
    return s, said.getvalue()

def weights(s): return [p.clone() for n in s.networks().values() for p in n.state_dict().values()]

class Slow:
    "A machine on which every look at the clock is 25 s later"
    now = 0.
    def monotonic(self):
        self.now += 25.
        return self.now

def stopping(at, part=None):
    "A step number `at` that gets a signal: before it begins, or while it does one of its parts"
    def step(wavs, s, stop):
        if s.step<at: return real(wavs, s, stop)
        if not part: os.kill(os.getpid(), signal.SIGTERM)
        work = real.__globals__[part] if part else None
        def interrupted(*args, **kw):
            os.kill(os.getpid(), signal.SIGTERM)
            return work(*args, **kw)
        with patch.dict(real.__globals__, {part: interrupted} if part else {}): return real(wavs, s, stop)
    real = train.train_step
    return patch.dict(train.fit.__globals__, train_step=step)

def test_the_first_line_comes_after_the_first_step(data, tmp_path):
    with patch.dict(train.fit.__globals__, time=Slow()), stopping(2):
        s, said = fitted(data, tmp_path/'run', steps=500_000)
    first = next(line for line in said.splitlines() if line.startswith('the first step'))
    assert 'took 25.0 s. At this pace the run takes about 145 days on this CPU' in first
    for word in ('Kaggle', '--preset V2', '--init universal'): assert word in first
    assert said.index(first)<said.index('SIGTERM') and s.step==2

def test_slow_steps_are_counted_between_rows(data, tmp_path):
    slow = Slow()
    with patch.dict(train.fit.__globals__, time=slow), patch.dict(train.Meter.beat.__globals__, time=slow):
        _, said = fitted(data, tmp_path/'run', steps=9, log_every=50)
    assert [f'step {i}/9 |' in said for i in range(2, 9)]==[True]*7, said
    assert 's a step | about' in said

@pytest.mark.parametrize('part, undone', ((None, True), ('_generate', True), ('_disc_backward', True),
                                          ('_gen_backward', False)))
def test_a_signal_is_answered_within_a_part(data, tmp_path, part, undone):
    whole, _ = fitted(data, tmp_path/'whole', steps=5)
    with stopping(3, part): cut, said = fitted(data, tmp_path/'cut', steps=5)
    assert cut.step==(3 if undone else 4) and said.count('SIGTERM')==1 and 'all is saved in' in said
    assert cut.stopped and read_state(tmp_path/'cut')['state']=='stopped'
    again, _ = fitted(data, tmp_path/'cut', steps=5)
    assert all(map(torch.equal, weights(again), weights(whole))) # a step that was given up is done anew

def test_a_signal_is_told_while_torch_computes():
    happened = []
    with train._Signals(lambda text: happened.append('said')):
        # as of a user, while the main thread is in a long call of C and Python can tell it nothing
        killer = threading.Timer(.2, os.kill, (os.getpid(), signal.SIGINT))
        killer.start()
        hashlib.pbkdf2_hmac('sha256', b'', b'', 3_000_000)
        happened.append('computed')
        killer.join()
    assert happened[0]=='said', happened

def test_the_run_says_how_it_ended(data, tmp_path):
    fitted(data, tmp_path/'run', steps=2)
    assert [read_state(tmp_path/'run')[k] for k in ('state', 'step', 'total')]==['done', 2, 2]
    def broken(*args): raise ValueError('no more')
    with patch.dict(train.fit.__globals__, train_step=broken), pytest.raises(ValueError):
        fitted(data, tmp_path/'run', steps=4)
    assert [read_state(tmp_path/'run')[k] for k in ('state', 'why')]==['failed', 'no more']

def test_the_word_about_the_end_is_ours_and_not_of_others(data, tmp_path):
    fitted(data, tmp_path/'run', steps=1)
    assert '.state.json' in read_marker(tmp_path/'run').files # so that a second demo takes it away with the rest
    (tmp_path/'run'/'.state.json').write_text('of somebody')
    (tmp_path/'run'/'.hifigan_ruslan.json').unlink() # as of a run that was copied without it
    assert fitted(data, tmp_path/'run', steps=2)[0].step==2
    assert (tmp_path/'run'/'.state.json').read_text()=='of somebody'

def test_a_validation_clip_shorter_than_the_window(data, tmp_path):
    short = data.split('valid')[0]
    us = [replace(u, length=300) if u.id==short.id else u for u in data.utterances]
    with patch.object(data, 'utterances', us): s, said = fitted(data, tmp_path/'run', steps=2)
    assert f'warning: 1 of {len(data.split("valid"))} validation clips are left out' in said and short.id in said
    assert said.index('left out')<said.index('step 2/2') and s.best<10

def test_a_segment_shorter_than_the_window(data, tmp_path):
    with pytest.raises(ValueError, match='segment_size 256 is too short'):
        train.fit(data, tmp_path/'run', replace(TOY, segment_size=256), steps=2, device='cpu')

@pytest.mark.parametrize('words', (['generate', 'нет.wav'], ['generate', '.', '--checkpoint', 'runs/none'],
    ['prepare', 'нет', 'x'], ['eval', 'a=нет/run', '.'], ['export', 'none.pt', 'x'], ['train', 'нет', 'x']))
def test_a_missing_file_is_said_before_torch_is_loaded(words, tmp_path):
    script = ('import sys\nsys.modules["torch"] = sys.modules["numpy"] = None\n'
              'from hifigan_ruslan import cli\ncli.run(*sys.argv[1:])')
    env = os.environ | dict(PYTHONPATH=str(Path(hifigan_ruslan.__file__).parent.parent))
    p = subprocess.run([sys.executable, '-c', script, *words], capture_output=True, text=True, cwd=tmp_path, env=env)
    assert p.returncode==1 and p.stderr.startswith('error: There is no ') and p.stderr.count('\n')==1, p.stderr

@pytest.mark.parametrize('command, words, name, value', (
    ('eval', ['a', 'b', '--licence', 'CC-BY'], 'licence', 'CC-BY'),
    ('eval', ['a', 'b', '--license', 'CC-BY'], 'licence', 'CC-BY'),
    ('export', ['a', 'b', '--licence', 'mit'], 'license', 'mit'),
    ('export', ['a', 'b', '--license=mit-0'], 'license', 'mit-0'),
    ('train', ['a', 'b', '--batch-size', '4'], 'batch_size', 4),
    ('train', ['a', 'b', '--batch_size', '4'], 'batch_size', 4),
    ('train', ['a', 'b', '--no-resume'], 'no_resume', True),
    ('prepare', ['a-b', 'c-d', '--max-bad=.1'], 'max_bad', .1),
    ('generate', ['a', '--mel-rate', '16000'], 'mel_rate', 16000)))
def test_options_in_both_spellings(command, words, name, value):
    from hifigan_ruslan import cli
    given = parsed(getattr(cli, f'{command}_cli'), words, command)
    assert given[name]==value
    if command=='prepare': assert (given['corpus'], given['out'])==('a-b', 'c-d')

def test_a_session_refuses_its_own_options_in_both_spellings():
    from hifigan_ruslan.kaggle.session import train_words
    own = next(o for o in train_words.__globals__['_OWN'] if '_' in o)
    for word in (f'--{own}', '--'+own.replace('_', '-')):
        with pytest.raises(ValueError, match='refused'): train_words(f'{word} 5', 'refused')

@pytest.mark.parametrize('times, words, auto', ((.025, 'about 40 times slower than fp32 on this CPU: use fp32', 'fp32'),
                                                (.5, 'about 2.0 times slower', 'fp32'),
                                                (2.4, '2.4 times as fast', 'bf16')))
def test_half_precision_is_said_as_it_is(times, words, auto):
    with patch.dict(choose_precision.__globals__, _speed=lambda dtype: times):
        assert words in choose_precision(torch.device('cpu'), 'bf16')[1]
        assert choose_precision(torch.device('cpu'), 'auto')[0]==auto

def rows(clips, systems):
    "A clear difference between any two systems, in all clips"
    return [dict(system=f's{i}', clip=f'c{j}', error='', note='') | {k: i+.1*(j%3) for k in (*METRICS, 'rtf')}
            for j in range(clips) for i in range(systems)]

@pytest.mark.parametrize('clips, systems, small', ((6, 4, True), (6, 2, False), (8, 4, False), (5, 2, True),
                                                   (20, 4, False)))
def test_a_table_that_can_prove_nothing_says_so(clips, systems, small):
    table = rows(clips, systems)
    assert ('too small to tell' in eval_table(table))==small
    assert (min(o['p'] for o in comparisons(table))>.05)==small==(least_p(clips, systems*(systems-1)//2)>.05)
    assert not small or clips<clips_to_prove(systems*(systems-1)//2)

def test_enough_clips_are_held_out(tmp_path):
    from hifigan_ruslan.dataset.prepare import _split
    assert [(_split(n, .01, .01, 1)[0]=='test').sum() for n in (40, 200, 600, 22200)]==[4, 20, 20, 222]

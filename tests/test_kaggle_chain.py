"""Five sessions one after the other, each with the former's output among its inputs: steps only grow, and what the next
one is told to do is right each time.
Here by the steps of the kernel in this process, with a clock that does not depend on the machine; NB_FLAGS=slow runs
the compiled kernel under papermill, with real time."""
import contextlib, io, json, os, re, shlex, shutil, signal, time
from dataclasses import replace
import pytest
from hifigan_ruslan import train
from hifigan_ruslan.base.commands import parsed
from hifigan_ruslan.checkpoint import save_checkpoint
from hifigan_ruslan.config import PRESETS, TINY, load_config
from hifigan_ruslan.dataset.corpus import synth_corpus
from hifigan_ruslan.kaggle import session as module
from hifigan_ruslan.kaggle.kernel import compiled
from hifigan_ruslan.kaggle.session import Session
from hifigan_ruslan.model.weights import read_checkpoint
from hifigan_ruslan.step import new_state
from hifigan_ruslan.training.command import train_cli
from hifigan_ruslan.training.logging import read_log
import test_kernel
from test_kernel import ROOT, execute, processes_with, slow, start

python = test_kernel.python # the fixture
SMALL = dict(upsample_initial_channel=32, disc_shrink=32, segment_size=2048, batch_size=2, valid_every=20)
NEW, OLD = 'notebooks/alice/hifigan-ruslan-train', 'hifigan-ruslan-train' # where an output is mounted

class Clock:
    "Time that passes with each look at it"
    def __init__(self): self.now = time.monotonic()
    def monotonic(self):
        self.now += .15
        return self.now

def in_this_process(monkeypatch):
    "Training with one process runs here, by such a clock, and not in a child; several are not tried out first"
    child = module.run_child
    def run_child(command, on_line=print, *args, **env):
        if 'hifigan_ruslan.training.command' not in command: return child(command, on_line, *args, **env)
        asked = parsed(train_cli, [w for w in command[3:] if w!='--with_parent'], 'hifigan-train')
        if asked['procs']>1 or asked['hours']>.1: return child(command, on_line, *args, **env)
        said = io.StringIO()
        with monkeypatch.context() as m, contextlib.redirect_stdout(said):
            m.setitem(train.fit.__globals__, 'time', Clock())
            train_cli(**asked)
        for line in said.getvalue().splitlines(): on_line(line)
        return 0
    monkeypatch.setattr(module, 'run_child', run_child)
    monkeypatch.setattr(module, 'processes', lambda wanted, *a, **kw: (wanted or 1, {}))

@pytest.fixture
def kaggle(tmp_path, monkeypatch):
    "A place with a corpus; the preset TINY is smaller here, and has two epochs"
    monkeypatch.setitem(PRESETS, 'TINY', replace(TINY, **SMALL, epochs=2))
    in_this_process(monkeypatch)
    synth_corpus(tmp_path/'input/datasets/freezerainml/ruslan', n=12, seconds=1., sample_rate=22050)
    return tmp_path

def sitting(place, minutes=.4, **settings):
    "A session as the kernel has it; what it said, and its record"
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        s = Session(minutes=minutes, root=place, cpu=True, **settings)
        corpus = s.find()
        data = s.prepare(corpus)
        s.train(data)
        s.page(corpus.texts)
        try: s.end()
        except ValueError as e: print(e) # a session that has failed says so
    return said.getvalue(), json.loads((place/'working/session.json').read_text())

def attach(place, mount):
    "The output of the last session, among the inputs of the next, in place of the one before"
    for m in (NEW, OLD): shutil.rmtree(place/'input'/m, ignore_errors=True)
    shutil.move(place/'working', place/'input'/mount)
    return place/'input'/mount/'run'

def steps_in(run):
    "Steps of the log, which only grow, and of the checkpoint to go on from"
    steps = read_log(run/'log.csv')['step'].tolist()
    assert steps==sorted(set(steps)), steps
    return int(steps[-1]), read_checkpoint(run/'checkpoints/last.pt', whole=False)['step']

def newest_step(run):
    "Of the checkpoint to go on from; a kill may have come between an epoch's and last.pt"
    return max(read_checkpoint(p, whole=False)['step'] for p in (run/'checkpoints').glob('*.pt'))

def kill_the_training(monkeypatch, after):
    "SIGKILL to the child that trains, when it has come so far"
    heard = Session._line
    def line(self, text):
        heard(self, text)
        if re.match(rf'step {after} ', text):
            for pid in processes_with(f'{self.run} --config'): os.kill(pid, signal.SIGKILL)
    monkeypatch.setattr(Session, '_line', line)

def test_five_sessions(kaggle, monkeypatch):
    # the time is the end, whatever the epochs of the preset
    said, one = sitting(kaggle, preset='TINY')
    steps = [one['step']]
    assert 'out of time' in said and one['epoch']>2 and one['outcome']=='trained' and not one['problems'], said
    assert 'until the time is over' in said and re.search(r'^step \d+ epoch \d+ \|.* left \|', said, re.M), said
    assert (one['began_at'], one['next'], one['settings']['PRESET'])==(0, 'hifigan-kaggle continue', 'TINY')

    # a child that is killed: what was saved by then is where the next one goes on
    attach(kaggle, NEW)
    with monkeypatch.context() as m:
        kill_the_training(m, after=steps[0]//20*20+30)
        said, two = sitting(kaggle, minutes=10.)
    assert two['outcome']=='failed' and two['began_at']==steps[0] and two['preset']=='TINY', (said, two)
    assert two['inputs']==['freezerainml/ruslan', 'alice/hifigan-ruslan-train']
    assert two['next']=='hifigan-kaggle continue'
    steps.append(newest_step(kaggle/'working/run'))

    # two processes, the older layout, and an end that the user has set
    attach(kaggle, OLD)
    limit = steps[1]+20
    said, three = sitting(kaggle, minutes=10., procs=2, train=f'--precision fp32 --steps {limit}')
    steps.append(three['step'])
    assert 'processes: 2' in said and three['began_at']==steps[1] and steps[2]==limit, said
    assert three['next']=="hifigan-kaggle continue --train='--precision fp32'", three
    assert f"(beyond step {limit}, at which TRAIN = '--precision fp32 --steps {limit}' ends the run)" in said
    assert shlex.split(three['next'])[-1]=='--train=--precision fp32'

    # with the same end there is nothing to train: said at once, and no session
    run = attach(kaggle, OLD)
    with pytest.raises(ValueError, match=f'has reached step {limit}, at which TRAIN = .* nothing would be trained'):
        sitting(kaggle, train=f'--steps {limit}')
    assert not list((kaggle/'working').glob('run/checkpoints/*.pt'))

    # last.pt is damaged: the next best is good enough, and that is said
    whole = (run/'checkpoints/last.pt').read_bytes()
    (run/'checkpoints/last.pt').write_bytes(whole[:len(whole)//2])
    said, four = sitting(kaggle)
    steps.append(four['step'])
    assert 'last.pt is damaged' in said and 0<four['began_at']<=limit and four['outcome']=='trained', said

    # and on, in the other layout; the numbers are those of the first to the end
    run = attach(kaggle, NEW)
    said, five = sitting(kaggle)
    steps.append(five['step'])
    assert (five['began_at'], five['next'], five['outcome'])==(steps[3], 'hifigan-kaggle continue', 'trained'), said
    assert steps==sorted(set(steps)), steps
    last = kaggle/'working/run'
    assert steps_in(last)==(steps[-1], steps[-1])
    cfg = replace(PRESETS['TINY'], keep_epochs=2)
    assert load_config(last/'config.json')==load_config(run/'config.json')==cfg

def run_of(place, mount, preset, step=9, record=True, data='some data', **numbers):
    "The output of a session, with a checkpoint of it, as it is mounted"
    s = new_state(replace(PRESETS[preset], **numbers))
    s.step, s.epoch = step, step//5
    folder = place/'input'/mount
    save_checkpoint(s, folder/'run/checkpoints/last.pt', data)
    if record: (folder/'session.json').write_text(json.dumps(dict(preset=preset, step=step, outcome='trained')))
    return folder/'run'

def spoil(run, name='last.pt'):
    whole = (run/'checkpoints/last.pt').read_bytes()
    (run/'checkpoints'/name).write_bytes(whole[:len(whole)//2])

REFUSED = dict( # what is done to a run of TINY, the settings, and what is said
    preset=(lambda run: None, dict(PRESET='V2'), ('trained with other numbers (', "Take PRESET = 'V2' back")),
    nothing_else=(lambda run: None, dict(PRESET='TINY', CONFIG={'lr_g': .5}), ('lr_g: 0.001 there, 0.5', 'CONFIG = ')),
    config=(lambda run: None, dict(CONFIG={'batch_size': 3}), ('batch_size: 2 there, 3 asked for', 'CONFIG = ')),
    damaged=(spoil, {}, ('none of its checkpoints can be read', 'last.pt', 'Attach an older output')),
    steps=(lambda run: None, dict(TRAIN='--steps 9'), ('has reached step 9', 'nothing would be trained')),
    epochs=(lambda run: None, dict(TRAIN='--precision fp32 --epochs=1'), ('has reached epoch 1',)),
    voice=(lambda run: (run/'samples/somebody').mkdir(parents=True), {},
           ('its sample somebody is not among', 'Take MINUTES back', 'attach the recordings', 'CORPUS')))

@pytest.mark.parametrize('mount', (NEW, OLD))
@pytest.mark.parametrize('what', REFUSED)
def test_a_run_that_cannot_go_on_ends_the_session_at_once(kaggle, what, mount):
    "Before anything is prepared, and with words; it is neither touched nor replaced by a new one"
    change, settings, words = REFUSED[what]
    change(run_of(kaggle, mount, 'TINY'))
    settings = {k.lower(): v for k,v in settings.items()}
    with pytest.raises(ValueError) as e: sitting(kaggle, **settings)
    for w in ('The session was not begun', *words): assert w in str(e.value), e.value
    assert what in ('steps', 'epochs') or 'NEW_RUN = True' in str(e.value), e.value
    assert not list(kaggle.rglob('dataset.json')) and not (kaggle/'working/run').exists()

def test_a_run_goes_on_as_what_it_is(kaggle):
    "Without settings: with the preset of its session, or the nearest, and all of its numbers"
    def begun(**kw):
        with contextlib.redirect_stdout(io.StringIO()) as said: s = Session(minutes=1., root=kaggle, cpu=True, **kw)
        return s, said
    run_of(kaggle, NEW, 'TINY', 9, lr_g=2e-3)
    run_of(kaggle, OLD, 'TINY', 5, record=False, batch_size=1)
    s, said = begun()
    assert (s.preset, s.cfg.lr_g, s.cfg.batch_size, s.attached.step)==('TINY', 2e-3, 2, 9)
    assert 'going on from' in said.getvalue() and f'not used: {kaggle}/input/{OLD}/run' in said.getvalue()
    spoil(kaggle/'input'/NEW/'run') # then the other one, whose preset nobody has written down
    s, said = begun()
    assert (s.preset, s.cfg.lr_g, s.cfg.batch_size, s.attached.step)==('TINY', 1e-3, 1, 5)
    assert 'passed over: ' in said.getvalue() and 'is damaged or cut off' in said.getvalue()
    s, said = begun(new_run=True)
    assert (s.preset, s.attached, s.cfg.batch_size)==('SEED', None, 4)
    assert f'Left as it is: {kaggle}/input/{OLD}/run/checkpoints/last.pt, step 5 (TINY)' in said.getvalue()

def test_a_run_that_was_left_stays_left(kaggle):
    "The new run goes on in the sessions after NEW_RUN, though the other one has more steps and is attached as before"
    def begun(**kw):
        with contextlib.redirect_stdout(io.StringIO()) as said:
            s = Session('TINY', minutes=1., root=kaggle, cpu=True, **kw)
        return s, said
    def go_on():
        s, said = begun()
        with contextlib.redirect_stdout(said): s.resume(data)
        return s, said.getvalue()
    with contextlib.redirect_stdout(io.StringIO()):
        s, _ = begun()
        data = s.prepare(s.find())
    other = run_of(kaggle, 'datasets/bob/other-run', 'TINY', 40, data=data.fingerprint)
    assert go_on()[0].attached.step==40
    shutil.rmtree(kaggle/'working')
    new, said = begun(new_run=True)
    assert new.attached is None and f'Left as it is: {other}/checkpoints/last.pt, step 40 (TINY)' in said.getvalue()
    for mount,step in ((NEW, 20), (OLD, 30)): # its output, and that of the next session
        own = run_of(kaggle, mount, 'TINY', step, data=data.fingerprint)
        (own.parent/'session.json').write_text(json.dumps(new._facts_to_go_on()))
        new, said = go_on()
        assert f'passed over: {other}/checkpoints/last.pt was left by an earlier session' in said, said
        assert (new.attached.step, new.attached.run, new.runs_left)==(step, own, ['other-run'])
        shutil.rmtree(own.parent)
        shutil.rmtree(kaggle/'working')
    run_of(kaggle, NEW, 'TINY', 30)
    (kaggle/'input'/NEW/'session.json').write_text(json.dumps(new._facts_to_go_on()))
    assert begun(new_run=True)[0].runs_left==['hifigan-ruslan-train', 'other-run']

def in_papermill(python, text, place, until=None, **settings):
    "The kernel from its first cell to its last, or until a line is seen: then all of it is killed"
    settings = dict(PRESET=None, CONFIG=None, CPU=True, MINUTES=1.) | settings
    if not until: return execute(python, text, place, **settings)
    p, lines = start(python, text, place, **settings), []
    for line in p.stdout:
        lines.append(line)
        if not re.match(until, line): continue
        p.kill()
        for pid in processes_with(str(place)): os.kill(pid, signal.SIGKILL)
    return ''.join(lines), p.wait()

@slow
def test_five_sessions_under_papermill(python, tmp_path):
    text = compiled(ROOT)
    synth_corpus(tmp_path/'input/datasets/freezerainml/ruslan', n=24, seconds=1., sample_rate=44100)
    steps = []
    def sat(mount, **settings):
        log, code = in_papermill(python, text, tmp_path, **settings)
        run = tmp_path/'working/run'
        steps.append(newest_step(run))
        record = tmp_path/'working/session.json'
        facts = json.loads(record.read_text()) if record.exists() else {}
        return log, code, facts, attach(tmp_path, mount)
    log, code, facts, run = sat(NEW, PRESET='TINY', CONFIG=SMALL, PROCS=1, TRAIN='--steps 20')
    assert code==0 and facts['next']=="hifigan-kaggle continue --train=''", log
    log, code, facts, run = sat(OLD, MINUTES=10., until=r'step 50 ') # killed, notebook and all
    assert code<0 and facts.get('outcome') in (None, 'running') and 'going on from' in log, log
    log, code, facts, run = sat(NEW, PROCS=2, MINUTES=10., TRAIN='--steps 60')
    assert code==0 and facts['began_at']==steps[1] and 'processes: 2' in log, log
    (run/'checkpoints/last.pt').write_bytes((run/'checkpoints/last.pt').read_bytes()[:9999])
    log, code, facts, run = sat(OLD, TRAIN='--steps 90')
    assert code==0 and 'last.pt is damaged' in log and 0<facts['began_at']<=60, log
    log, code, facts, run = sat(NEW, MINUTES=1.)
    assert code==0 and facts['next']=='hifigan-kaggle continue' and facts['began_at']==90, log
    assert 'out of time' in log and steps==sorted(set(steps)), (steps, log)
    assert facts['preset']=='TINY' and load_config(run/'config.json').upsample_initial_channel==32

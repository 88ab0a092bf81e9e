"""The race track: `benchmarks/equal_time.py`, with sides so small that a step is nothing. They run in this
process, where the clock can be made up and a kill be put between two writes; one test has a real process"""
import csv, errno, json, os, pickle, re, shutil, sys
from pathlib import Path
from types import SimpleNamespace
import numpy as np, pytest, torch

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT/'benchmarks'))
import equal_time, race_page, race_side
from equal_time import Race, claim_race, hold, next_side, plans, prepared, read_sides, side, turns_of
from race_page import BETTER, EQUAL, UNTOLD, WORSE, judgement, same_segments, standings, verdict, write_page
from race_side import Dead, Order, Process, Side, read_table
from hifigan_ruslan.base.audio import write_wav
from hifigan_ruslan.base.files import NotWritten
from hifigan_ruslan.config import TINY, V2, save_config
from hifigan_ruslan.dataset.corpus import synth_corpus
from hifigan_ruslan.dataset.prepare import prepare
from hifigan_ruslan.eval import COLUMNS, save_csv
from hifigan_ruslan.metrics import METRICS

TOY = 'TINY,upsample_initial_channel=16,disc_shrink=32,segment_size=1024,batch_size=1'
TIMES = {'own_seconds', 'cpu_seconds', 'began', 'load'}

@pytest.fixture(scope='module')
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp('race')
    made = synth_corpus(folder/'corpus', n=10, seconds=.5, sample_rate=22050)
    return prepare(made, folder/'data', valid=.2, test=.2, workers=0, progress=False).path

class Here:
    "A side in this process"
    def __init__(self, plan):
        self.name, self.side = plan.name, Side(plan)
        self.facts = self.side.facts()
    def turn(self, order): return self.side.turn(order)
    def end(self): pass

def race(corpus, out, *words, minutes=2., steps=3, **kw):
    "A race of turns of so many steps"
    words = words or (f'a={TOY}', f'b={TOY},discriminators=mpd+mrd')
    facts = dict(minutes=minutes, turn_minutes=1., mark_minutes=2., seed=1, steps_per_turn=steps, log_every=2,
                 words=words) | kw
    return prepared(str(corpus), Path(out), read_sides(words, 1, None), None, 1, 1, 'cpu', 'fp32', facts)

def ran(asked, start=Here):
    "Hold the race, without evaluation and page"
    claim_race(asked.out, asked.facts)
    Race(plans(asked), asked.facts, equal_time.say, start).run()
    return asked.out

def numbers(out, name):
    "All rows of a side, without what the clock says"
    rows = [r for t in ('turns.csv', 'log.csv') for r in read_table(out/'sides'/name/t)]
    return [{k: repr(v) for k,v in r.items() if k not in TIMES} for r in rows]

# Sides in words

def test_a_side_in_words(tmp_path):
    name, cfg = side('new-1=V2,discriminators=mpd+mrd,lr_d=1e-4,fmax=none,mpd_periods=2+3,resblock=1,'
                     'resblock_dilation_sizes=[[1,3,5],[1,3,5],[1,3,7]],mel_loss=multiscale,grad_clip=1')
    assert name=='new-1' and cfg.upsample_initial_channel==V2.upsample_initial_channel
    assert cfg.discriminators==('mpd', 'mrd') and cfg.lr_d==1e-4 and cfg.fmax is None and cfg.mpd_periods==(2, 3)
    assert cfg.resblock_dilation_sizes[2]==(1, 3, 7) and cfg.mel_loss=='multiscale' and cfg.grad_clip==1
    save_config(TINY, tmp_path/'own.json')
    assert side(f'x={tmp_path}/own.json,lr_g=.5')[1].lr_g==.5
    found = read_sides(['a=V2', 'b=TINY'], 7, 3)
    assert [(n, c.seed, c.batch_size) for n,c in found.items()]==[('a', 7, 3), ('b', 7, 3)]

@pytest.mark.parametrize('words, said', [
    (['a=V2'], 'needs two sides or more, found 1'), ([], 'needs two sides or more, found 0'),
    (['a=V2', 'A=V1'], "Two sides are called 'A'"), (['a=V9', 'b=V2'], "side a: There is no preset 'V9'"),
    (['a=V2,batch=3', 'b=V2'], "side a: Config: unknown key 'batch'"), (['a=V2,lr_q=3', 'b=V2'], "did you mean 'lr_g'"),
    (['a=V2,lr_g=fast', 'b=V2'], "side a: Config: lr_g must be above 0 and at most 1, found 'fast'"),
    (['a=V2,lr_g', 'b=V2'], "'lr_g' has no value"), (['V2', 'b=V2'], "NAME=PRESET or NAME=CONFIG.JSON"),
    (['a/b=V2', 'b=V2'], 'up to 40 letters'), (['a=V2,seed=4', 'b=V2'], 'give --seed 4'),
    (['a=V2,precision=bf16', 'b=V2'], 'give --precision bf16'),
    (['a=V2,lr_g=.1,lr_g=.2', 'b=V2'], 'lr_g is there twice'),
    (['a=V2,mpd_periods=[2', 'b=V2'], 'no list in JSON'), (['a=no/where.json', 'b=V2'], 'No configuration at'),
    (['a=V2,batch_size=3', 'b=V2'], 'side a asks for batch_size=3, and --batch_size 4')])
def test_sides_that_cannot_race(words, said):
    with pytest.raises((ValueError, OSError)) as e: read_sides(words, 1, 4)
    assert said in str(e.value) and '\n' not in str(e.value)

def test_what_the_sides_do_not_share_is_said():
    lines = equal_time.uneven(read_sides(['a=V2', 'b=V2,batch_size=8,segment_size=16384', 'c=V2,fmax=9000'], 1, None))
    assert len(lines)==3 and 'batch_size (a 16, b 8, c 16)' in lines[0] and 'segment_size' in lines[1]
    assert lines[2].startswith('c reads another mel than a (fmax)')
    assert equal_time.uneven(read_sides(['a=V2', 'b=V2,lr_g=.1'], 1, None))==[]

# Turns

def turns(done, total):
    "The order of the turns that are left"
    out = ''
    while (n := next_side(done, total)) is not None:
        out, done = out+n, done | {n: done[n]+1}
    return out

def test_turns_go_forwards_and_backwards():
    assert turns(dict(a=0, b=0, c=0), 4)=='abccbaabccba'
    assert turns(dict(a=2, b=1, c=1), 3)=='cbabc' # taken up after a kill: those that are behind come first
    assert turns(dict(a=0, c=3), 3)=='aaa' and turns({}, 3)==''

def test_marks_come_after_whole_turns():
    assert turns_of(60, 1, 15)==(60, 15) and turns_of(2, .25, 15)==(8, 8) and turns_of(.3, .1, .1)==(3, 1)
    for minutes in ((60, 7, 15), (60, 1, 1.5), (0, 1, 1), (1, 2, 2), (float('nan'), 1, 1)):
        with pytest.raises(ValueError): turns_of(*minutes)

def made_up(monkeypatch, step=0., other=0.):
    "A clock for race_side that moves on by hand: `step` with each training step, `other` with each validation"
    now = SimpleNamespace(wall=100., cpu=10.)
    fake = SimpleNamespace(perf_counter=lambda: now.wall, process_time=lambda: now.cpu, time=lambda: 0.)
    def moved(f, wall):
        def g(*args):
            now.wall, now.cpu = now.wall+wall, now.cpu+wall*.5
            return f(*args)
        return g
    monkeypatch.setattr(race_side, 'time', fake)
    for name,wall in (('train_step', step), ('heldout_mel', other), ('save_checkpoint', other), ('warm_up', other)):
        monkeypatch.setattr(race_side, name, moved(getattr(race_side, name), wall))

def test_the_clock_runs_in_steps_alone_and_turns_end_by_it(data, tmp_path, monkeypatch):
    made_up(monkeypatch, step=25., other=1000.)
    plan = plans(race(data, tmp_path/'out'))['a']
    s = Side(plan)
    rows = [s.turn(Order(i, 60.*i)) for i in (1, 2, 3, 4)]
    # a step that begins in a turn is finished, and what it takes too much is taken from the next turn
    assert [r['step'] for r in rows]==[3, 5, 8, 10] and [r['own_seconds'] for r in rows]==[75., 125., 200., 250.]
    assert [r['cpu_seconds'] for r in rows]==[37.5, 62.5, 100., 125.]
    assert [r['own_seconds'] for r in s.log][:4]==[50., 75., 100., 125.]
    again = Side(plan) # the seconds are taken up where they were
    assert again.turn(Order(5, 260.))['own_seconds']==275. and again.s.step==11

# Races

@pytest.fixture(scope='module')
def whole(data, tmp_path_factory):
    "A race that nobody has disturbed, and the order of its turns"
    order = []
    class Noted(Here):
        def turn(self, o):
            order.append(f'{self.name}{o.number}')
            return super().turn(o)
    asked = race(data, tmp_path_factory.mktemp('whole')/'out', minutes=3.)
    hold(asked, no_eval=True, start=Noted)
    return asked.out, order

def test_sides_take_turns_and_hear_the_same(whole):
    out, order = whole
    assert order==['a1', 'b1', 'b2', 'a2', 'a3', 'b3']
    logs = {n: read_table(out/'sides'/n/'log.csv') for n in 'ab'}
    heard = [[r['heard'] for r in logs[n] if r['step']%2==0] for n in 'ab']
    assert heard[0]==heard[1] and len(set(heard[0]))==4 # over an epoch's end, with other discriminators
    cfgs = {n: c for n,c in race_page.Result(out).cfgs.items()}
    assert list(same_segments(cfgs, logs))==['a and b heard the same segments: compared at 4 steps up to step 8']
    logs['b'][3] = logs['b'][3] | dict(heard=5)
    assert next(same_segments(cfgs, logs)).startswith('NOT THE SAME SEGMENTS: a and b differ at step ')
    kept = [r['mark'] for r in read_table(out/'sides'/'a'/'turns.csv')]
    assert kept==['', '', 'mark_000002_2min', 'mark_000003_3min']

class Killed(BaseException): pass

@pytest.mark.parametrize('what, at', [('save_checkpoint', 3), ('write_table', 9)])
def test_after_a_kill_the_same_numbers(whole, data, tmp_path, monkeypatch, what, at):
    calls, real = [], getattr(race_side, what)
    def killed(*args):
        calls.append(1)
        if len(calls)==at: raise Killed
        return real(*args)
    with monkeypatch.context() as m:
        m.setattr(race_side, what, killed)
        with pytest.raises(Killed): ran(race(data, tmp_path/'out', minutes=3.))
    assert read_table(tmp_path/'out'/'sides'/'a'/'turns.csv')[-1]['turn']<3
    out = ran(race(data, tmp_path/'out', minutes=3.))
    for n in 'ab':
        assert numbers(out, n)==numbers(whole[0], n)
        one, two = (torch.load(o/'sides'/n/'mark_000003_3min.pt', weights_only=True) for o in (out, whole[0]))
        assert one['step']==9 and all(torch.equal(one['generator'][k], v) for k,v in two['generator'].items())

def test_a_finished_race_is_made_longer(whole, data, tmp_path):
    out = ran(race(data, tmp_path/'out', minutes=2.))
    assert len(read_table(out/'sides'/'a'/'turns.csv'))==3
    ran(race(data, out, minutes=3.))
    def but_marks(folder): return [{k: v for k,v in r.items() if k!='mark'} for r in numbers(folder, 'a')]
    assert but_marks(out)==but_marks(whole[0])
    ran(race(data, out, minutes=3.), start=None) # nothing to do: no process is started

def test_who_dies_is_told_and_the_race_goes_on(data, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(race_side, 'MAX_SKIPS', 2)
    class Frail(Here):
        def turn(self, o):
            if self.name=='a' and o.number==2 and again[0]: raise Dead('its process was killed', again=True)
            if self.name=='b' and o.number==2: self.side.s.generator.conv_post.bias.data.fill_(float('nan'))
            return super().turn(o)
    again, words = [True], (*(f'{n}={TOY}' for n in 'ab'), f'c={TOY},lr_g=1e-4')
    out = ran(race(data, tmp_path/'out', *words), Frail)
    said = capsys.readouterr().out
    assert 'a IS OUT: its process was killed. It is tried again' in said
    assert 'b IS OUT: 2 steps in a row up to step 5 had losses or gradients that are not finite' in said
    assert 'turn 2 of 2  c: step 6' in said
    again[0] = False
    ran(race(data, out, *words), Frail)
    said = capsys.readouterr().out
    assert 'b is out since an earlier call' in said and 'turn 2 of 2  a: step 6' in said
    equal_time.report(out)
    page = (out/'race.md').read_text()
    assert '**a is out**' not in page and '**b is out**: 2 steps in a row' in page

def test_a_full_disk_ends_the_race_in_a_line(data, tmp_path, monkeypatch):
    def full(*args): raise NotWritten(errno.ENOSPC, 'the disk is full')
    monkeypatch.setattr(race_side, 'save_checkpoint', full)
    with pytest.raises(OSError, match='the disk is full'): ran(race(data, tmp_path/'out'))
    for e in (NotWritten(errno.ENOSPC, 'full'), Dead('why', True)): # as they come from a process
        same = pickle.loads(pickle.dumps(e))
        assert type(same) is type(e) and same.args==e.args

def test_a_real_process(data, tmp_path):
    plan = plans(race(data, tmp_path/'out'))['a']
    plan.folder.mkdir(parents=True)
    p = Process(plan)
    try:
        assert p.facts['turn']==0 and p.turn(Order(1, 60., 2))['step']==2
        os.kill(p.process.pid, 9)
        with pytest.raises(Dead, match='killed .SIGKILL.') as e: p.turn(Order(2, 120., 2))
        assert e.value.again
    finally: p.end()
    assert Side(plan).s.step==2

def test_out_of_memory_is_a_death_another_fault_is_not_hidden(tmp_path, monkeypatch):
    plan, sent = SimpleNamespace(threads=1, folder=tmp_path/'a'), []
    pipe = SimpleNamespace(send=sent.append)
    monkeypatch.setattr(race_side, 'follow_parent', lambda: None)
    monkeypatch.setattr(torch, 'set_num_threads', lambda n: None)
    for e in (RuntimeError('CUDA out of memory. Tried to allocate'), MemoryError(), EOFError(), ValueError('no')):
        monkeypatch.setattr(race_side, 'Side', lambda plan, e=e: (_ for _ in ()).throw(e))
        race_side.serve(plan, pipe)
    assert [type(e) for _,e in sent]==[Dead, Dead, ValueError] and {k for k,_ in sent}=={'failed'}
    assert sent[0][1].again and sent[0][1].why.startswith('out of memory (CUDA')
    monkeypatch.setattr(race_side, 'Side', lambda plan: 1/0)
    with pytest.raises(ZeroDivisionError): race_side.serve(plan, pipe)

# Refused

def test_a_folder_of_another_race(whole, data, tmp_path):
    out = whole[0]
    def refused(said, *words, **kw):
        with pytest.raises(ValueError, match=said): claim_race(out, race(data, out, *words, **kw).facts)
    refused('its sides are a, b, and a, c were asked for', f'a={TOY}', f'c={TOY}')
    refused('its side b has other numbers .discriminators', f'a={TOY}', f'b={TOY}')
    refused('another race: seed: 1 there, 2 here', seed=2)
    refused('--turn_minutes: 1.0 there, 0.5 here', turn_minutes=.5)
    refused('has run for 3 minutes already, .* give --minutes 3 or more', minutes=2.)
    facts = race(data, out).facts
    fixed = dict(data='training data', threads='number of threads', precision='precision', clips='held-out clips')
    for k,said in fixed.items():
        with pytest.raises(ValueError, match=said): claim_race(out, facts | {k: 'other'})
    (tmp_path/'mine.txt').write_text('x')
    with pytest.raises(ValueError, match='of no race .mine.txt.'): claim_race(tmp_path, facts)

def test_mistakes_on_the_command_line(data, tmp_path, monkeypatch, capsys):
    def said(*words, code=1):
        monkeypatch.setattr(sys, 'argv', ['equal_time.py', *map(str, words)])
        with pytest.raises(SystemExit) as e: equal_time.main()
        err = capsys.readouterr().err.strip()
        assert e.value.code==code and (code==2 or err.count('\n')==0 or 'It holds:' in err), err
        return err
    two, out = (f'a={TOY}', f'b={TOY}'), tmp_path/'out'
    assert 'There is no folder' in said(tmp_path/'nothing', out, *two)
    assert 'dataset.json' in said(tmp_path, out, *two)
    assert 'There is no folder or recording' in said(data, out, '--clips', tmp_path/'none', *two)
    assert 'found 1 (a): add one' in said(data, out, '--minutes', '1', f'a={TOY}')
    assert 'no multiple of --turn_minutes' in said(data, out, *two, '--turn-minutes', '.7')
    assert '--threads must be above 0, found 0' in said(data, out, *two, '--threads', '0')
    assert "no precision 'half'" in said(data, out, *two, '--precision', 'half')
    assert 'is for 44100 Hz' in said(data, out, 'a=V1_44K', f'b={TOY}')
    wrong = said(data, out, f'a={TOY}', f'b={TOY},discriminators=mpd+abc')
    assert 'side b: ' in wrong and "'abc'" in wrong
    write_wav(tmp_path/'clips'/'x.wav', np.zeros(16000, np.float32), 16000)
    assert 'x has 16,000 Hz' in said(data, out, '--clips', tmp_path/'clips', *two)
    assert 'holds a prepared corpus' in said(data, data, *two)
    assert 'There is no race in' in said(data, out, '--report_only')
    assert '--minutes' in said(data, out, '--minuts', '3', *two, code=2)
    assert not out.exists() or not any(p for p in out.iterdir() if not p.name.startswith('.'))

# The tables, from made-up rows

def rows(**systems):
    "Rows of an evaluation on 12 clips: a mean of each metric that is given, and a little chance; the rest is absent"
    rng, out = np.random.default_rng(0), []
    chance = rng.normal(size=(12, len(METRICS)))
    for i in range(12):
        for s,means in systems.items():
            noise = dict(zip(METRICS, chance[i]+.2*rng.normal(size=len(METRICS))))
            scale = dict.fromkeys(METRICS, .1) | dict(f0_cents=3.)
            out.append({k: float('nan') for k in METRICS} | dict(system=s, clip=f'c{i:02}', error='', note='', rtf=.1)
                       | {k: v+scale[k]*noise[k] for k,v in means.items()})
    return out

OLD = dict(pesq=2., dnsmos=3., stoi=.8, mel_l1=.5, f0_cents=100., vuv_f1=.9, hf_db=-1.)

def test_better_is_said_by_the_numbers():
    made = rows(old=OLD, new=OLD | dict(pesq=2.4, mel_l1=.6, hf_db=3.))
    table = standings(made, ['old', 'new'], 'old')
    new = {r['metric']: r for r in table if r['side']=='new'}
    assert {k: r['verdict'] for k,r in new.items()}==dict(
        pesq=BETTER, stoi=EQUAL, dnsmos=EQUAL, mel_l1=WORSE, f0_cents=EQUAL, vuv_f1=EQUAL, hf_db=WORSE)
    pesq = new['pesq']
    assert .3<pesq['difference']<.5 and pesq['diff_low']<pesq['difference']<pesq['diff_high']
    assert abs(new['mel_l1']['difference']-.1)<.05 and pesq['against']=='old' and new['pesq']['n']==12
    assert all(r['verdict']=='' for r in table if r['side']=='old')
    text = judgement('new', 'old', table)
    assert 'better: PESQ-wb +0.' in text and 'worse: mel L1 +0.' in text and 'It won' in text
    text = judgement('new', 'old', standings(rows(old=OLD, new=OLD | dict(pesq=2.4, f0_cents=150.)), ['new'], 'old'))
    assert 'It did not win: F0 RMSE worse.' in text
    text = judgement('new', 'old', standings(rows(old=OLD, new=OLD | dict(pesq=1.)), ['new'], 'old'))
    assert 'neither PESQ nor mel L1 is better outside the intervals' in text
    few = {k: OLD[k] for k in ('pesq', 'mel_l1')}
    assert 'cannot be told: DNSMOS, F0 RMSE not measured' in judgement(
        'new', 'old', standings(rows(old=few, new=few), ['new'], 'old'))

def test_a_race_without_a_voice_and_a_difference_too_small_to_show():
    low = standings(rows(old=OLD | dict(pesq=1.1), new=OLD | dict(pesq=1.1)), ['old', 'new'], 'old')
    assert re.match(r'\*\*No side is a voice yet\*\*: PESQ 1\.[01]\d at most', race_page._no_voice(low)[0])
    assert race_page._no_voice(standings(rows(old=OLD), ['old'], 'old'))==[]==race_page._no_voice([])
    signed = [race_page._signed(v, 2) for v in (.004, -.0006, .25, -.01, 0.)]
    assert signed==['+0.004', '-0.0006', '+0.25', '-0.01', '+0.00']

def test_verdict():
    nan = float('nan')
    assert verdict(.2, .1, .3, .01, 'higher')==BETTER and verdict(.2, .1, .3, .01, 'lower')==WORSE
    assert verdict(-.2, -.3, -.1, .01, 'lower')==BETTER and verdict(-.2, -.3, -.1, .01, 'zero')==BETTER
    assert verdict(.2, -.1, .3, .01, 'higher')==EQUAL and verdict(.2, .1, .3, .06, 'higher')==EQUAL
    assert verdict(.2, nan, nan, .01, 'higher')==UNTOLD and verdict(.2, .1, .3, nan, 'higher')==UNTOLD

def csv_dicts(path):
    with open(path, newline='', encoding='utf-8') as f: return list(csv.DictReader(f))

def test_the_page_from_the_files(whole, tmp_path):
    out = shutil.copytree(whole[0], tmp_path/'out')
    assert 'Not evaluated yet' in (out/'race.md').read_text()
    at = {f'{n} mark_{i:06d}_{i}min': OLD | dict(pesq=1.+i/10+(n=='b')*.5) for n in 'ab' for i in (2, 3)}
    (out/'evaluation').mkdir()
    save_csv(out/'evaluation'/'clips.csv', COLUMNS, rows(recording=OLD | dict(pesq=4.6), **at))
    names = [p.name for p in write_page(out)]
    text = (out/'race.md').read_text()
    assert names==['results.csv', 'curves.csv', 'race.png', 'race.md']
    assert '**b** against a: better: PESQ-wb +0.5' in text and '| recording | 4.' in text
    assert 'Not evaluated' not in text
    assert 'as the first' not in text and 'discriminators mpd+mrd in place of mpd+msd' in text
    curves = csv_dicts(out/'curves.csv')
    seen = [(r['side'], r['turn'], float(r['pesq'])) for r in curves if r['pesq']]
    assert [s[:2] for s in seen]==[('a', '2'), ('a', '3'), ('b', '2'), ('b', '3')]
    assert np.allclose([s[2] for s in seen], [1.2, 1.3, 1.7, 1.8], atol=.09)
    results = csv_dicts(out/'results.csv')
    assert {(r['side'], r['metric'], r['verdict']) for r in results} >= {('b', 'pesq', BETTER), ('b', 'stoi', EQUAL)}
    assert 'The evaluation is not finished' not in text # 12 clips of the 2 in the test part
    race_json = json.loads((out/'race.json').read_text())
    (out/'race.json').write_text(json.dumps(race_json | dict(n_clips=20)))
    write_page(out)
    assert 'not finished: 24 of 40 measurements' in (out/'race.md').read_text()
    (out/'evaluation'/'clips.csv').unlink()
    equal_time.report(out)
    assert 'Not evaluated yet' in (out/'race.md').read_text()

"""Kill our commands while they work, and run two at once in one folder:

    python tools/kills.py [--n 20] [--seed 0] [--only prepare,train,eval,export]

What a command does in its folder is noted once, step by step: each file that it opens to write, renames or removes.
Kills are aimed at these steps: half of them come just before one (each kind in turn), the others some time after one,
where longer pauses are hit more often. A kill counts only where the command had begun to write and had not ended.
After each SIGKILL, what stands under a final name is whole; a last run, that nobody kills, ends with the files and the
numbers of a run that nobody has killed. Two at once: one does the work, the other says that it is being done, or comes
after it. Exit code 1 where it is not so, or where fewer than n kills met a command at work (Linux).
"""
import contextlib, io, json, multiprocessing, os, random, re, shutil, signal, sys, tempfile, time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple
import torch
from fastcore.script import call_parse
from hifigan_ruslan import metrics
from hifigan_ruslan.base.audio import read_wav
from hifigan_ruslan.cli import run
from hifigan_ruslan.config import TINY, config_dict, load_config
from hifigan_ruslan.data import SpeechData
from hifigan_ruslan.dataset.corpus import synth_corpus
from hifigan_ruslan.dataset.prepare import prepare
from hifigan_ruslan.eval import read_rows
from hifigan_ruslan.listening import report
from hifigan_ruslan.model.reading import open_checkpoint
from hifigan_ruslan.model.weights import read_checkpoint
from hifigan_ruslan.train import fit
from hifigan_ruslan.training.logging import read_log

SMALL = replace(TINY, upsample_initial_channel=16, resblock_kernel_sizes=(3,), resblock_dilation_sizes=((1,2),),
                disc_shrink=32, mpd_periods=(2,), segment_size=2048, batch_size=2, valid_every=4, valid_clips=1)
NO_RESULT = re.compile(r'\.lock$|tensorboard|\.state\.json|\.png$|log\.csv|\.hifigan_ruslan\.json') # of time and place
TRIES = 5 # Per kill that counts
CHEAP = ('mel_l1', 'mel_l1_8k', 'level_db', 'dc', 'clipped')

class Action:
    "A command: its `words` for a folder, what to `check` there after a kill, and its `result`"
    def __init__(self, work): self.work = work

    def names(self, out):
        return sorted(p.relative_to(out).as_posix() for p in out.rglob('*') if p.is_file()
                      and not NO_RESULT.search(p.relative_to(out).as_posix()))

    def result(self, out): return {k: (out/k).read_bytes() for k in self.names(out)}

    def check(self, out, reference):
        "What has a final name has its final bytes"
        for k in reference:
            if (out/k).exists(): assert (out/k).read_bytes()==reference[k], f'{k} is half there'

class Prepare(Action):
    def words(self, out):
        return ['prepare', str(self.work/'corpus'), str(out), *'--workers 1 --test .05 --min_rate 8000'.split()]

    def check(self, out, reference):
        super().check(out, reference)
        if (out/'dataset.json').exists(): SpeechData.open(out).verify()

class Train(Action):
    def words(self, out):
        return ['train', str(self.work/'data'), str(out), '--config', str(self.work/'small.json'),
                *'--steps 12 --device cpu --save_minutes .0001 --log_every 1'.split()]

    def check(self, out, reference):
        for p in out.glob('checkpoints/*.pt'): read_checkpoint(p)
        for p in out.glob('samples/**/*.wav'): read_wav(p, 1)
        if (out/'config.json').exists(): load_config(out/'config.json')
        said_empty(read_log, out/'log.csv', 'has no rows yet')

    def result(self, out):
        weights = {k: v.numpy().tobytes() for k,v in open_checkpoint(out/'checkpoints'/'last.pt')[1].items()}
        log = read_log(out/'log.csv')
        return weights | {'names': self.names(out), 'steps': log['step'].tolist(), 'mel': log['mel'].tolist()}

class Evaluation(Action):
    def words(self, out): return ['eval', 'griffin-lim', str(self.work/'clips'), '--out', str(out), '--workers', '1']

    def check(self, out, reference):
        for p in out.glob('waves/**/*.flac'): read_wav(p, 1)
        said_empty(read_rows, out/'clips.csv', 'has no rows')
        for name in ('summary.csv', 'comparisons.csv'):
            if (out/name).exists(): table(out/name)
        page = out/'report.html'
        if page.exists(): assert page.read_text(encoding='utf-8').rstrip().endswith('</html>'), 'half a page'

    def result(self, out):
        rows = [{k: repr(v) for k,v in r.items() if k not in ('rtf', 'stamp')} for r in read_rows(out/'clips.csv')]
        summary = [r for r in table(out/'summary.csv') if ',RTF' not in r and ',rtf' not in r]
        return dict(names=self.names(out), rows=rows, summary=summary, pairs=table(out/'comparisons.csv'))

class Export(Action):
    def words(self, out): return ['export', str(self.work/'voice.pt'), str(out)]

    def check(self, out, reference):
        super().check(out, reference)
        if (out/'model.safetensors').exists(): open_checkpoint(out/'model.safetensors', SMALL)

class Onnx(Export):
    def words(self, out): return ['export', str(self.work/'voice.pt'), str(out/'voice.onnx')]

class Generate(Action):
    def words(self, out):
        return ['generate', str(self.work/'clips'), '--out', str(out), '--checkpoint', str(self.work/'voice.pt'),
                *'--chunk 40 --engine torch'.split()]

ACTIONS = dict(prepare=Prepare, train=Train, eval=Evaluation, export=Export, onnx=Onnx, generate=Generate)
FORK = multiprocessing.get_context('fork')

def table(path):
    text = path.read_text(encoding='utf-8')
    assert text.endswith('\n'), f'{path.name} is half there'
    return text.splitlines()

def said_empty(read, path, words):
    "Read it, if it is there; that it has only its head is right, too"
    if not path.exists(): return
    try: read(path)
    except ValueError as e: assert words in str(e), e

# what a command does in its folder

class Step(NamedTuple):
    "Something that a command did there"
    what: str # such as: rename audio.npy
    at: float # Seconds, from the beginning

WRITES = os.O_WRONLY|os.O_RDWR|os.O_CREAT
AUDITED = {'os.rename': 'rename', 'os.remove': 'remove', 'os.mkdir': 'mkdir', 'os.rmdir': 'rmdir', 'os.link': 'link'}

def label(event, args, root):
    "Of an event in the folder: what it does, and to which file; '' for others"
    if event=='open': what = 'write' if isinstance(args[2], int) and args[2]&WRITES else ''
    else: what = AUDITED.get(event, '')
    if not what or isinstance(args[0], int): return ''
    path = os.fsdecode(args[what in ('rename', 'link')])
    if not path.startswith(root): return ''
    name = re.sub(r'^\.(.*)\.part-.*', r'\1 (part)', Path(path).name)
    return f'{what} {re.sub("[0-9]{2,}", "#", name)}'

def watch(out, pipe, last):
    "Tell of each step in the folder; end by SIGKILL before step `last`, counted from 0"
    seen, root, process, begin = [], str(out), os.getpid(), time.monotonic()
    def hook(event, args):
        if event!='open' and event not in AUDITED or os.getpid()!=process: return
        what = label(event, args, root)
        if not what: return
        pipe.send(Step(what, time.monotonic()-begin))
        if len(seen)==last: os.kill(process, signal.SIGKILL)
        seen.append(what)
    sys.addaudithook(hook)

def child(words, out, log, pipe, last):
    "In a process of its own; what it says goes into a file"
    with open(log, 'a') as f, contextlib.redirect_stdout(f), contextlib.redirect_stderr(f):
        os.dup2(f.fileno(), 1)
        os.dup2(f.fileno(), 2)
        watch(out, pipe, last)
        run_words(words)

def run_words(words):
    "As the console script does"
    try: run(*words)
    except (ValueError, OSError) as e: sys.exit(f'error: {e}')

class Started:
    "A command that runs: the steps that it has told of"
    def __init__(self, words, out, log, last=None):
        self.steps, self.log = [], log
        self.pipe, there = FORK.Pipe(duplex=False)
        assert report # loaded here, so that a child need not
        self.process = FORK.Process(target=child, args=(words, out, log, there, last))
        self.process.start()
        there.close()

    def listen(self, until=None, seconds=None):
        "Gather steps until so many are there, so much time is over, or the command has ended"
        end = None if seconds is None else time.monotonic()+seconds
        while until is None or len(self.steps)<until:
            if end is not None and not self.pipe.poll(max(0, end-time.monotonic())): return
            try: self.steps.append(self.pipe.recv())
            except EOFError: return

    def killed(self):
        "SIGKILL, or that of its own; was it at work?"
        self.process.kill()
        self.listen()
        self.process.join()
        return self.process.exitcode==-signal.SIGKILL

def finished(words, out, log):
    "Run to the end; its steps"
    p = Started(words, out, log)
    p.listen()
    p.process.join()
    assert p.process.exitcode==0, f'exit code {p.process.exitcode}: {log.read_text()[-800:]}'
    return p.steps

# kills

class Moment(NamedTuple):
    "When to kill: before a step, or so many seconds after it"
    step: int
    wait: float|None

def moments(steps, r):
    "One after the other: before a step of each kind in turn, and after one, long pauses more often"
    kinds, pauses = {}, [b.at-a.at for a,b in zip(steps, steps[1:])]
    if not pauses: return # it hardly writes: no moment is at work
    for i,s in enumerate(steps): kinds.setdefault(s.what, []).append(i)
    order = r.sample(sorted(kinds), len(kinds))
    while True:
        for kind in order:
            yield Moment(max(1, r.choice(kinds[kind])), None)
            i = r.choices(range(len(pauses)), [p+max(pauses)/20 for p in pauses])[0]
            yield Moment(i, r.uniform(0, pauses[i]))

def kill_at(moment, words, out, log):
    "The step that a kill at this moment met; '' where the command had ended before"
    p = Started(words, out, log, moment.step if moment.wait is None else None)
    p.listen(until=moment.step+1)
    if moment.wait is not None: p.listen(seconds=moment.wait)
    if not p.killed() or not p.steps: return ''
    return f'{"before" if moment.wait is None else "after"} {p.steps[-1].what}'

def differs(one, other):
    "The first thing in which two results differ; '' where none does"
    if one.keys()!=other.keys(): return f'files: {sorted(one.keys()^other.keys())[:5]}'
    k = next((k for k in one if one[k]!=other[k]), None)
    return '' if k is None else f'{k}: {str(one[k])[:200]} and {str(other[k])[:200]}'

def wrong_there(action, out, reference):
    "What is half there; '' where nothing is"
    try: action.check(out, reference)
    except Exception as e: return f'{type(e).__name__}: {str(e)[:300]}'
    return ''

def kill_often(action, n, steps, r, reference, work):
    "(stages that n kills met, what was wrong): several kills of one run, then it may end, and another is begun"
    log, out, met, wrong = work/'log', work/'killed', [], []
    log.unlink(missing_ok=True)
    words, left = action.words(out), r.randrange(1, 5)
    for moment,_ in zip(moments(steps, r), range(n*TRIES)):
        stage = kill_at(moment, words, out, log)
        met += [stage]*bool(stage)
        left -= 1
        if out.exists() and (said := wrong_there(action, out, reference)): wrong.append(f'{stage or "ended"}: {said}')
        if stage and left>0 and len(met)<n: continue
        if stage: finished(words, out, log)
        if said := differs(action.result(out), reference):
            wrong.append(f'after {met[-4:]}: {said}; what it said: {log.read_text()}')
        shutil.rmtree(out)
        log.unlink()
        left = r.randrange(1, 5)
        if len(met)>=n: break
    return met, wrong

def two_at_once(action, reference, work):
    "Two processes in one folder: one works, the other too, one after the other, or says why not"
    out, logs = work/'two', (work/'log1', work/'log2')
    for log in logs: log.unlink(missing_ok=True)
    both = [Started(action.words(out), out, log) for log in logs]
    for p in both: p.listen()
    for p in both: p.process.join()
    codes = [p.process.exitcode for p in both]
    if 0 not in codes: yield f'neither of two has done it: {[l.read_text()[-300:] for l in logs]}'
    for code,log in zip(codes, logs):
        said = log.read_text()
        if code not in (0, 1) or code==1 and 'another process' not in said: yield f'two at once: {code}, {said[-300:]}'
    yield from filter(None, [wrong_there(action, out, reference)])
    if said := differs(action.result(out), reference): yield f'two at once: {said}'
    shutil.rmtree(out)

class Tried(NamedTuple):
    "What came of the kills of a command"
    met: list
    wrong: list

def tried(name, work, n, seed=0, twice=3):
    "Kill a command n times, and run two at once"
    action, r = ACTIONS[name](work), random.Random(f'{seed}/{name}')
    steps, *_ = [finished(action.words(work/f'whole{i}'), work/f'whole{i}', work/'log') for i in range(2)]
    reference = action.result(work/'whole0')
    if said := differs(action.result(work/'whole1'), reference): return Tried([], [f'differs by itself: {said}'])
    met, wrong = kill_often(action, n, steps, r, reference, work)
    for _ in range(twice): wrong += two_at_once(action, reference, work)
    return Tried(met, wrong)

def only_cheap_metrics():
    "Those that load no network: the files are what is tried here. For good: this is a process of its own"
    metrics.not_computed = lambda: {m.title: 'left out' for k,m in metrics.METRICS.items() if k not in CHEAP}

def materials(work):
    "A corpus, the same prepared, two clips, and a checkpoint"
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        synth_corpus(work/'corpus', n=70, seconds=.6, sample_rate=16000)
        synth_corpus(work/'clips', n=2, seconds=1., sample_rate=22050)
        prepare(work/'corpus', work/'data', workers=1, progress=False, valid=.05, test=0, min_rate=8000)
        (work/'small.json').write_text(json.dumps(config_dict(SMALL)))
        p = FORK.Process(target=fit, args=(work/'data', work/'run', SMALL), kwargs=dict(steps=1, device='cpu'))
        p.start()
        p.join()
    shutil.copyfile(work/'run'/'checkpoints'/'last.pt', work/'voice.pt')

def shown(name, n, result):
    "Lines of the table"
    yield f'{name:9} {len(result.met):3} of {n} kills met it at work, {len(set(result.met))} stages; ' \
          f'two at once: 3 times; {len(result.wrong)} faults'
    for stage,times in sorted(Counter(result.met).items()): yield f'    {times:3}  {stage}'
    for said in result.wrong: yield f'  FAULT  {said}'

@call_parse
def main(
    n:int=20, # Kills of each command
    seed:int=0, # Of the moments
    only:str='', # Commands, with commas between them; '' = all
):
    "SIGKILL at chosen moments, and two at once"
    torch.set_num_threads(1)
    only_cheap_metrics()
    names, bad = only.split(',') if only else [*ACTIONS], 0
    if unknown := set(names)-set(ACTIONS): sys.exit(f'no command {", ".join(unknown)}; there are {", ".join(ACTIONS)}')
    with tempfile.TemporaryDirectory() as d:
        materials(Path(d))
        for name in names:
            (work := Path(d)/name).mkdir()
            for p in Path(d).iterdir():
                if p.name in ('corpus', 'clips', 'data', 'voice.pt', 'small.json'): (work/p.name).symlink_to(p)
            result = tried(name, work, n, seed)
            bad += len(result.wrong) + (len(result.met)<n)
            print(*shown(name, n, result), sep='\n', flush=True)
    sys.exit(bad>0)

"""Kill our commands at random moments, and run two at once in one folder:

    python tools/kills.py [--n 20] [--seed 0] [--only prepare,train,eval,export]

After each SIGKILL everything under a final name can be read; a last run, that nobody kills, ends with the files and the
numbers of a run that nobody has killed. Two at once: one does the work, the other says that it is being done. Exit code
1 where it is not so (Linux).
"""
import contextlib, io, multiprocessing, os, random, re, shutil, sys, tempfile, time
from dataclasses import replace
from pathlib import Path
import torch
from fastcore.script import call_parse
from hifigan_ruslan.base.audio import read_wav
from hifigan_ruslan.config import TINY, load_config
from hifigan_ruslan.data import SpeechData
from hifigan_ruslan.dataset.corpus import synth_corpus
from hifigan_ruslan.dataset.prepare import prepare
from hifigan_ruslan.eval import evaluate, read_rows
from hifigan_ruslan.evaluation.systems import eval_clips, open_systems
from hifigan_ruslan.inference.hub import export
from hifigan_ruslan.model.reading import open_checkpoint
from hifigan_ruslan.model.weights import read_checkpoint
from hifigan_ruslan.train import fit
from hifigan_ruslan.training.logging import read_log

SMALL = replace(TINY, upsample_initial_channel=16, resblock_kernel_sizes=(3,), resblock_dilation_sizes=((1,2),),
                disc_shrink=32, mpd_periods=(2,), segment_size=2048, batch_size=2, valid_every=4, valid_clips=1)
NO_RESULT = re.compile(r'\.lock$|tensorboard|\.state\.json|\.png$|log\.csv|\.hifigan_ruslan\.json') # of time and place

class Action:
    "A command: `run` it for a folder, `check` what is there after a kill, and its `result`"
    def __init__(self, work): self.work = work
    def readable(self, *errors): return contextlib.suppress(*errors)

    def names(self, out):
        return sorted(p.relative_to(out).as_posix() for p in out.rglob('*') if p.is_file()
                      and not NO_RESULT.search(p.relative_to(out).as_posix()))

    def result(self, out): return {k: (out/k).read_bytes() for k in self.names(out)}

class Prepare(Action):
    def run(self, out): prepare(self.work/'corpus', out, workers=1, progress=False, valid=.2, test=0, min_rate=8000)

    def check(self, out):
        if (out/'dataset.json').exists(): SpeechData.open(out).verify()

class Train(Action):
    def run(self, out): fit(self.work/'data', out, SMALL, steps=12, device='cpu', save_minutes=1e-4, log_every=2)

    def check(self, out):
        for p in out.glob('checkpoints/*.pt'): read_checkpoint(p)
        for p in out.glob('samples/**/*.wav'): read_wav(p, 1)
        if (out/'config.json').exists(): load_config(out/'config.json')
        if (out/'log.csv').exists():
            try: read_log(out/'log.csv')
            except ValueError as e: assert 'has no rows yet' in str(e), e

    def result(self, out):
        weights = {k: v.numpy().tobytes() for k,v in open_checkpoint(out/'checkpoints'/'last.pt')[1].items()}
        log = read_log(out/'log.csv')
        return weights | {'names': self.names(out), 'steps': log['step'].tolist(), 'mel': log['mel'].tolist()}

class Evaluation(Action):
    def run(self, out):
        clips = eval_clips(self.work/'corpus')
        evaluate(open_systems(['griffin-lim'])[0], clips, SMALL, out, progress=False)

    def check(self, out):
        for p in out.glob('waves/**/*.flac'): read_wav(p, 1)
        if (out/'clips.csv').exists():
            try: read_rows(out/'clips.csv')
            except ValueError as e: assert 'has no rows' in str(e), e

    def result(self, out):
        rows = [{k: repr(v) for k,v in r.items() if k not in ('rtf', 'stamp')} for r in read_rows(out/'clips.csv')]
        return dict(names=self.names(out), rows=rows)

class Export(Action):
    def run(self, out): export(self.work/'voice.pt', out)

    def check(self, out):
        if (out/'model.safetensors').exists(): open_checkpoint(out/'model.safetensors', SMALL)
        if (out/'config.json').exists(): load_config(out/'config.json')

ACTIONS = dict(prepare=Prepare, train=Train, eval=Evaluation, export=Export)
FORK = multiprocessing.get_context('fork')

def child(run, out, log):
    "In a process of its own; what it says goes into a file"
    with open(log, 'w') as f, contextlib.redirect_stdout(f), contextlib.redirect_stderr(f):
        try: run(out)
        except (ValueError, OSError) as e:
            print(e, flush=True)
            os._exit(1)

def started(action, out, log):
    p = FORK.Process(target=child, args=(action.run, out, log))
    p.start()
    return p

def finished(action, out, log):
    "Run to the end; the seconds that it took"
    begin, p = time.monotonic(), started(action, out, log)
    p.join()
    assert p.exitcode==0, f'exit code {p.exitcode}: {log.read_text()[-500:]}'
    return time.monotonic()-begin

def differs(one, other):
    "The first thing in which two results differ; '' where none does"
    if one.keys()!=other.keys(): return f'files: {sorted(one.keys()^other.keys())[:5]}'
    k = next((k for k in one if one[k]!=other[k]), None)
    return '' if k is None else f'{k}: {str(one[k])[:200]} and {str(other[k])[:200]}'

def killed(action, n, r, seconds, reference, work):
    "Kill n times at work; after each fifth, and where it was done before the kill came, compare; what was wrong"
    log, out, kills = work/'log', work/'killed', 0
    while kills<n:
        p = started(action, out, log)
        p.join(r.uniform(0, seconds))
        if at_work := p.exitcode is None: p.kill()
        p.join()
        kills += at_work
        action.check(out)
        if at_work and kills%5 and kills<n: continue
        if at_work: finished(action, out, log)
        if wrong := differs(action.result(out), reference): yield f'after kill {kills}: {wrong}'
        shutil.rmtree(out)

def two_at_once(action, reference, work):
    "Two processes in one folder: one works, the other too, one after the other, or says why not"
    out, logs = work/'two', (work/'log1', work/'log2')
    both = [started(action, out, log) for log in logs]
    for p in both: p.join()
    codes = [p.exitcode for p in both]
    if 0 not in codes: yield f'neither of two has done it: {[l.read_text()[-300:] for l in logs]}'
    for code,log in zip(codes, logs):
        said = log.read_text()
        if code not in (0, 1) or code==1 and 'another process' not in said: yield f'two at once: {code}, {said[-300:]}'
    action.check(out)
    if wrong := differs(action.result(out), reference): yield f'two at once: {wrong}'
    shutil.rmtree(out)

def tried(name, work, n, seed):
    "What is wrong with a command"
    action, r = ACTIONS[name](work), random.Random(f'{seed}/{name}')
    times = [finished(action, work/f'whole{i}', work/'log') for i in range(2)]
    reference = action.result(work/'whole0')
    if wrong := differs(action.result(work/'whole1'), reference): return [f'differs by itself: {wrong}']
    wrong = [*killed(action, n, r, min(times), reference, work)]
    for _ in range(3): wrong += two_at_once(action, reference, work)
    return wrong

def materials(work):
    "A corpus, the same prepared, and a checkpoint"
    synth_corpus(work/'corpus', n=8, seconds=.8, sample_rate=16000)
    prepare(work/'corpus', work/'data', workers=1, progress=False, valid=.2, test=0, min_rate=8000)
    p = FORK.Process(target=child, args=(lambda out: fit(work/'data', out, SMALL, steps=1, device='cpu'), work/'run',
                                         work/'log'))
    p.start()
    p.join()
    shutil.copyfile(work/'run'/'checkpoints'/'last.pt', work/'voice.pt')

@call_parse
def main(
    n:int=20, # Kills of each command
    seed:int=0, # Of the moments, as shares of the time that the command takes
    only:str='', # Commands, with commas between them; '' = all
):
    "SIGKILL at random moments, and two at once"
    torch.set_num_threads(1)
    bad = 0
    for name in only.split(',') if only else ACTIONS:
        with tempfile.TemporaryDirectory() as d:
            with contextlib.redirect_stdout(io.StringIO()): materials(Path(d))
            wrong = tried(name, Path(d), n, seed)
        bad += len(wrong)
        print(f'{name:8} {n} kills at work; 3 times two at once: {len(wrong)} faults', *wrong, sep='\n  ')
    sys.exit(bad>0)

"""One side of a race (`equal_time.py`): a training that works only in its turns, and whose clock runs only there.

A turn ends with its rows, its mark if one is due, and the checkpoint, in this order: what is written after the
checkpoint of a side is dropped when the side is taken up again, and the turn is run anew."""
import math, os, signal, time, zlib
from contextlib import ExitStack, contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple
import numpy as np, torch
from hifigan_ruslan.base.files import (
    csv_rows, csv_text, file_bytes, follow_parent, new_file, only_one, uninterrupted, write_text)
from hifigan_ruslan.checkpoint import load_checkpoint, save_checkpoint, why_other
from hifigan_ruslan.config import Config, config_dict
from hifigan_ruslan.data import SegmentDataset, SpeechData
from hifigan_ruslan.generator import count_params, weights_once
from hifigan_ruslan.losses import mel_loss
from hifigan_ruslan.mel import LogMel
from hifigan_ruslan.model.weights import FORMAT, VERSION
from hifigan_ruslan.step import disc_gaps, disc_health, new_state, train_step
from hifigan_ruslan.train import MAX_SKIPS, advance, epoch_batches
from hifigan_ruslan.training.logging import VALID_COLUMNS, log_columns

HEALTH_STEPS = 200 # Over so many steps the health of the discriminators is judged, as `hifigan-train` does it
TURN_COLUMNS = ('turn step own_seconds cpu_seconds began load valid_mel mel disc gap health gaps skipped gpu_gb '
                'mark').split()
_TEXTS = 'health', 'gaps', 'mark' # Of these columns; the others are numbers
_WHOLE = 'turn', 'step', 'skipped', 'steps', 'heard'
_OF_A_RUN = {'epoch', 'health', 'steps_per_s', 'audio_per_s', 'wait', 'gpu_gb', 'seconds', 'vs_start', *VALID_COLUMNS}

class Plan(NamedTuple):
    "What a side must know; all but the name, the numbers and the folder are the same for all sides"
    name:str
    cfg:Config
    data:str # Folder made by hifigan-prepare
    folder:Path # Of this side, in that of the race
    clips:list # Of (T,) float32 waves of whole hops, for the mel L1 of each turn
    ruler:Config # Whose mel they are measured by, full band
    device:str
    precision:str
    threads:int
    log_every:int # Steps between rows of the log

class Order(NamedTuple):
    "A turn"
    number:int # From 1
    until:float # The side's own seconds at its end
    steps:int|None=None # So many steps in place of the time
    mark:str='' # Keep the generator under this name; '' = not after this turn

class Dead(Exception):
    "A side is out of the race, and why"
    def __init__(self, why, again=False): # again: may it be tried once more when the command is given again?
        super().__init__(why, again)
        self.why, self.again = why, again

# Tables: read whole, written whole

def read_table(path):
    "Rows of a table of a side, with their numbers; [] where there is none"
    if not path.exists(): return []
    head, *rows = csv_rows(file_bytes(path).decode('utf-8'), path) or [[]]
    return [{k: _value(k, v) for k,v in zip(head, row, strict=True)} for row in rows]

def _value(key, text):
    if key in _TEXTS: return text
    return (int if key in _WHOLE else float)(text) if text else math.nan

def write_table(path, columns, rows):
    "Numbers with all of their digits; NaN is nothing"
    def text(v): return '' if v is None or v!=v else repr(v) if isinstance(v, float) else v
    write_text(path, csv_text([columns, *([text(r.get(k)) for k in columns] for r in rows)]))

# The clock

class Clock:
    "Seconds by the wall and by the processor, of the blocks that it runs in"
    def __init__(self, device, own=0., cpu=0.): self.device, self.own, self.cpu, self.begin = device, own, cpu, None

    def _now(self):
        if self.device.type=='cuda': torch.cuda.synchronize()
        return time.perf_counter()

    def read(self):
        "The side's own seconds, now"
        return self.own + (0. if self.begin is None else self._now()-self.begin)

    @contextmanager
    def running(self):
        cpu, self.begin = time.process_time(), self._now()
        try: yield
        finally:
            self.own, self.begin = self.read(), None
            self.cpu += time.process_time()-cpu

# What is measured

@torch.inference_mode()
def heldout_mel(s, clips, ruler):
    "Mean full-band mel L1 of the moving average over whole held-out clips, all sides by the same mel"
    logmel, scores = LogMel(ruler, fmax=None).to(s.device, s.logmel.basis.dtype), []
    s.ema.eval()
    with weights_once(s.ema):
        for wav in clips:
            real = torch.from_numpy(wav).to(s.device, s.logmel.basis.dtype)[None,None]
            scores.append(mel_loss(logmel, real, s.ema(s.logmel(real)).float()).item())
    s.ema.train()
    return float(np.mean(scores))

def means(rows):
    "Mean of each number over rows that stand for so many `steps` each; NaN where none is finite"
    out = {}
    for k in dict.fromkeys(k for r in rows for k in r if k not in ('step', 'steps', 'own_seconds', 'heard')):
        seen = [(r[k], r['steps']) for r in rows if math.isfinite(r.get(k, math.nan))]
        out[k] = sum(v*n for v,n in seen)/sum(n for _,n in seen) if seen else math.nan
    return out

def judged(rows):
    "Health, largest gap and all gaps of the discriminators over the last rows; health '' in the first steps"
    last, n = [], 0
    for r in reversed(rows):
        if n>=HEALTH_STEPS: break
        last, n = [r, *last], n+r['steps']
    now = {k: v for k,v in means(last).items() if math.isfinite(v)}
    gaps = [abs(v-now['fake_'+k[5:]]) for k,v in now.items() if k.startswith('real_')]
    if not gaps or 'disc' not in now: return dict(health='', gap=math.nan, gaps='')
    return dict(health=disc_health(now)[0] if n>=HEALTH_STEPS else '', gap=max(gaps), gaps=disc_gaps(now))

def crc(batches):
    "A number by which the segments of a step are known again"
    out = 0
    for b in batches: out = zlib.crc32(b.wav.contiguous().cpu().numpy().tobytes(), out)
    return out

# The side

class Side:
    "A training under way, from where its last checkpoint was"
    def __init__(self, plan):
        self.plan, self.device, self.data = plan, torch.device(plan.device), SpeechData.open(plan.data)
        cfg = plan.cfg
        if self.device.type=='cuda':
            torch.cuda.set_device(self.device)
            torch.backends.cudnn.benchmark = True # as in `hifigan-train`
        warm_up(plan)
        self.ds = SegmentDataset(self.data, cfg.segment_size, cfg.seed, cfg.random_gain_db)
        self.columns = ['step', 'steps', 'own_seconds', *(k for k in log_columns(cfg) if k not in _OF_A_RUN|{'step'}),
                        'heard']
        self.s, self.turns, self.log = self._found() or self._new()
        last = self.turns[-1]
        self.clock = Clock(self.device, last['own_seconds'], last['cpu_seconds'])
        self.batches, self.recent = self._batches(), []

    @property
    def last(self): return self.plan.folder/'last.pt'

    def _found(self):
        "State, turns and log of the last checkpoint; None where there is none"
        if not self.last.exists(): return None
        s, rest = load_checkpoint(self.last, self.device, self.plan.precision)
        if other := why_other(rest, self.plan.cfg, self.data.fingerprint):
            raise ValueError(f'{self.last} was {other}: give the race another folder')
        turns, log = (self._until(name, s.step) for name in ('turns.csv', 'log.csv'))
        if not turns or turns[-1]['step']!=s.step:
            raise ValueError(f'{self.plan.folder/"turns.csv"} has no turn that ends at step {s.step}, where last.pt '
                             'stands: a file of the race was taken away or changed. Begin it in another folder')
        s.cfg = self.plan.cfg # as `hifigan-train` does: of the numbers that may change those of today
        return s, turns, log

    def _until(self, name, step): return [r for r in read_table(self.plan.folder/name) if r['step']<=step]

    def _new(self):
        "A new state, measured before its first step"
        s = new_state(self.plan.cfg, self.device, self.plan.precision)
        row = dict(turn=0, step=0, own_seconds=0., cpu_seconds=0., began=time.time(),
                   valid_mel=heldout_mel(s, self.plan.clips, self.plan.ruler), skipped=0)
        write_table(self.plan.folder/'turns.csv', TURN_COLUMNS, [row])
        return s, [row], []

    def _batches(self):
        "Those of all epochs to come"
        while True: yield from epoch_batches(self.s, self.ds)

    def facts(self):
        "Where the side stands, and how large its networks are"
        g, d = count_params(self.s.generator), count_params(self.s.discriminators)
        return dict(turn=self.turns[-1]['turn'], step=self.s.step, g_params=g, d_params=d)

    def turn(self, order):
        "Train for a turn, measure and save; the row of the turn"
        s, began, first, before = self.s, time.time(), self.s.step, len(self.log)
        def goes_on():
            if order.steps is not None: return s.step-first<order.steps
            return self.clock.read()<order.until
        try:
            with self.clock.running():
                while goes_on(): self._step()
        finally: self._write_log()
        mine = means(self.log[before:])
        row = dict(turn=order.number, step=s.step, own_seconds=self.clock.own, cpu_seconds=self.clock.cpu, began=began,
                   load=_load(), valid_mel=heldout_mel(s, self.plan.clips, self.plan.ruler), skipped=s.skipped,
                   mel=mine.get('mel', math.nan), disc=mine.get('disc', math.nan), gpu_gb=self._gpu_gb(),
                   mark=order.mark) | judged(self.log)
        self.turns.append(row)
        if order.mark: keep_generator(s, self.plan.folder/f'{order.mark}.pt')
        write_table(self.plan.folder/'turns.csv', TURN_COLUMNS, self.turns)
        if s.step>first: save_checkpoint(s, self.last, self.data.fingerprint)
        return row

    def _step(self):
        "One step, and its row if one is due"
        batches = next(self.batches)
        self.recent.append(train_step(batches, self.s))
        advance(self.s, len(self.ds))
        if self.s.skips_in_a_row>=MAX_SKIPS: raise Dead(_not_finite(self.s))
        if self.s.step%self.plan.log_every==0: self._note(crc(batches))

    def _note(self, heard=math.nan):
        "The means since the last row, as a row"
        if not self.recent: return
        logs, self.recent = [_floats(o) for o in self.recent], []
        row = means([o | dict(steps=1) for o in logs])
        self.log.append(row | dict(step=self.s.step, steps=len(logs), own_seconds=self.clock.read(), heard=heard,
                                   lr_g=self.s.opt_g.param_groups[0]['lr'], skipped=self.s.skipped))

    def _write_log(self):
        "The log up to this step: what a kill would lose is no part of a later row"
        self._note()
        write_table(self.plan.folder/'log.csv', self.columns, self.log)

    def _gpu_gb(self): return torch.cuda.max_memory_allocated()/1e9 if self.device.type=='cuda' else math.nan

def _load(): return os.getloadavg()[0] if hasattr(os, 'getloadavg') else math.nan

def _floats(logs):
    "All numbers of a step at once: a single wait for the device"
    return dict(zip(logs, torch.stack([v.float() for v in logs.values()]).tolist())) if logs else {}

def _not_finite(s):
    return (f'{MAX_SKIPS} steps in a row up to step {s.step} had losses or gradients that are not finite: '
            'lower its learning rates, or race in fp32')

def warm_up(plan, steps=2):
    "Let libraries load, choose and compile what a step needs, on a state that is thrown away"
    cfg, device = plan.cfg, torch.device(plan.device)
    s = new_state(cfg, device, plan.precision)
    s.step = cfg.mel_warmup # past the steps without discriminators
    for _ in range(steps):
        train_step([.1*torch.randn(cfg.batch_size, 1, cfg.segment_size, device=device)
                    for _ in range(cfg.grad_accum)], s)

def keep_generator(s, path):
    "The moving average alone, as a checkpoint that all commands read"
    weights = {k: v.detach().cpu().clone() for k,v in s.ema.state_dict().items()}
    with new_file(path) as part:
        torch.save(dict(format=FORMAT, version=VERSION, config=config_dict(s.cfg), generator=weights, step=s.step),
                   part)

# Its process

def serve(plan, pipe):
    "The life of a side's process: an answer to each order, until it is killed"
    follow_parent()
    torch.set_num_threads(plan.threads)
    try:
        with _alone(plan.folder):
            side = Side(plan)
            pipe.send(('done', side.facts()))
            while True: pipe.send(('done', side.turn(pipe.recv())))
    except EOFError: pass # the referee is gone
    except (Dead, ValueError, OSError) as e: pipe.send(('failed', e))
    except (MemoryError, RuntimeError) as e:
        if not _out_of_memory(e): raise
        why = (str(e).splitlines() or [type(e).__name__])[0][:200]
        pipe.send(('failed', Dead(f'out of memory ({why}): take a smaller batch', again=True)))

@contextmanager
def _alone(folder, patience=20.):
    "Hold the folder; the process of a race that was killed a moment ago may still have it"
    until = time.monotonic()+patience
    with ExitStack() as held:
        while True:
            try: held.enter_context(only_one(folder))
            except ValueError:
                if time.monotonic()>until: raise
                time.sleep(.2)
            else: break
        yield

def _out_of_memory(e):
    words = 'out of memory', "can't allocate memory", 'not enough memory', 'bad_alloc'
    return isinstance(e, MemoryError) or any(w in str(e).lower() for w in words)

class Process:
    "A side in a process of its own, as the referee sees it"
    def __init__(self, plan):
        spawn = get_context('spawn')
        self.pipe, theirs = spawn.Pipe()
        self.process = spawn.Process(target=serve, args=(plan, theirs), daemon=True)
        with uninterrupted(): self.process.start() # Ctrl-C is the referee's
        theirs.close() # so that its end is seen here
        self.facts = self._answer()

    def turn(self, order):
        "The row of a turn; `Dead` where the side has died of it"
        try: self.pipe.send(order)
        except OSError: pass # it is gone: the answer says how
        return self._answer()

    def _answer(self):
        try: kind, said = self.pipe.recv()
        except (EOFError, ConnectionError): raise Dead(self._gone(), again=True) from None
        if kind=='failed': raise said
        return said

    def _gone(self):
        "How the process has ended"
        self.process.join(10)
        code = self.process.exitcode
        if code is not None and code<0:
            return f'its process was killed ({signal.Signals(-code).name}); where memory is short, the system does that'
        return f'its process ended with exit code {code}, and what went wrong stands above'

    def end(self):
        "Let it go, at once: what is saved is whole, and a turn that is under way is lost"
        self.process.kill()
        self.process.join()

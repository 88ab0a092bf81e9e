"""What a training step costs with other judges: discriminators, their channels, and how often they learn.

    python benchmarks/step_cost.py OUT [--presets V1 V2] [--batch_size 2] [--rounds 5] [--threads 1]
                                       [--checkout HIFIGAN]

All combinations take their turns in one process, round by round, so that what else the machine does meets them all.
OUT receives step_cost.csv, a row for each measurement, and step_cost.md, a table: median seconds of a step, and how
many times as many steps a second as the official recipe (`mpd+msd`, each step) in the same round, median and quartiles
of the rounds; the same of processor time, which other programs disturb less. The same command goes on after an
interruption: a round that was cut off is measured anew. With a clone of github.com/jik876/hifi-gan the official
code's own step is measured too."""
import argparse, csv, statistics, sys, time, warnings
from dataclasses import replace
from pathlib import Path
import torch
sys.path.insert(0, str(Path(__file__).parent))
import official
from train_step import batch
from hifigan_ruslan.base.files import new_file
from hifigan_ruslan.config import preset
from hifigan_ruslan.discriminators import DISCRIMINATORS, Discriminators
from hifigan_ruslan.generator import count_params
from hifigan_ruslan.step import new_state, train_step

RECIPE, CODE = 'mpd+msd', 'official code'
COMBINATIONS = { # Name -> what is other than in the official recipe
    RECIPE: {},
    'mpd+mrd': dict(discriminators=('mpd','mrd')),
    'mpd': dict(discriminators=('mpd',)),
    'mpd+unet': dict(discriminators=('mpd','unet')),
    'mrd+unet': dict(discriminators=('mrd','unet')),
    'unet': dict(discriminators=('unet',)),
    'mel only': dict(mel_warmup=2**53), # no discriminators at all: what is left of a step
    **{f'mpd+msd, shrink {n}': dict(disc_shrink=n) for n in (2, 4, 8)},
    **{f'mpd+unet, shrink {n}': dict(discriminators=('mpd','unet'), disc_shrink=n) for n in (2, 4)},
    'mpd+msd, every 2': dict(d_every=2),
    'mpd+mrd, every 2': dict(discriminators=('mpd','mrd'), d_every=2),
    'mpd, every 2': dict(discriminators=('mpd',), d_every=2),
    'mpd+unet, every 2': dict(discriminators=('mpd','unet'), d_every=2),
    'unet, every 2': dict(discriminators=('unet',), d_every=2),
    'mpd+msd, shrink 2, every 2': dict(disc_shrink=2, d_every=2),
    'mpd+mrd, shrink 2': dict(discriminators=('mpd','mrd'), disc_shrink=2)}
COLUMNS = 'round preset combination seconds processor batch_size threads device torch'.split()

class Bench:
    "All combinations of all presets; they share the networks, so that all fit into the memory"
    def __init__(self, a):
        self.a, self.judges, self.params, self.turns = a, {}, {}, []
        for name in a.presets: self.add(name, replace(preset(name), batch_size=a.batch_size))

    def add(self, name, cfg):
        wav, s = batch(cfg, self.a.device), new_state(replace(cfg, disc_shrink=32), self.a.device)
        for k in self.a.only or COMBINATIONS:
            self.turns.append((name, k, self.step(k, wav, s, replace(cfg, **COMBINATIONS[k]))))
        if not self.a.checkout: return
        o = official.Official(official.load(self.a.checkout), cfg, self.a.device)
        self.turns.append((name, CODE, lambda: o.step(wav)))

    def disc(self, cfg):
        "All discriminators there are, with this share of their channels, and their optimiser"
        small = replace(cfg, discriminators=tuple(DISCRIMINATORS), upsample_initial_channel=16)
        if cfg.disc_shrink not in self.judges: self.judges[cfg.disc_shrink] = new_state(small, self.a.device)
        return self.judges[cfg.disc_shrink]

    def step(self, name, wav, s, cfg):
        "`d_every` steps of a combination; of the others' discriminators nothing has a gradient"
        d, own = self.disc(cfg), Discriminators.__new__(Discriminators)
        torch.nn.ModuleDict.__init__(own, {k: d.discriminators[k] for k in cfg.discriminators})
        mine = replace(s, cfg=cfg, discriminators=own, opt_d=d.opt_d, scaler_d=d.scaler_d)
        self.params[name] = '' if cfg.mel_warmup else f'{count_params(own)/1e6:.2f} M'
        def steps():
            for _ in range(cfg.d_every): train_step([wav], mine)
            if mine.skipped: raise SystemExit(f'{name}: a step was not finite, its time says nothing')
        steps.count = cfg.d_every
        return steps

def timed(f, device):
    "Wall and processor seconds of one step"
    wait = torch.cuda.synchronize if device.type=='cuda' else lambda: None
    wait()
    begin, busy = time.perf_counter(), time.process_time()
    f()
    wait()
    n = getattr(f, 'count', 1)
    return (time.perf_counter()-begin)/n, (time.process_time()-busy)/n

def read(path, wanted, settings):
    "Measurements of whole rounds so far; a file with other ones is not touched"
    if not path.exists(): return []
    with path.open(newline='', encoding='utf-8') as f: rows = [r for r in csv.DictReader(f) if all(r.values())]
    other = next((r for r in rows if [*r]!=COLUMNS or any(r[k]!=v for k,v in settings.items())), None)
    if other: raise SystemExit(f'{path} holds measurements of {other}, expected {settings}: give another OUT')
    rounds = {i: [dict(r, seconds=float(r['seconds']), processor=float(r['processor'])) for r in rows if r['round']==i]
              for i in dict.fromkeys(r['round'] for r in rows)}
    def has(rows): return {(r['preset'], r['combination']) for r in rows}
    if rounds and has([*rounds.values()][0])!=wanted and (len(rounds)>1 or not has(rows)<=wanted):
        raise SystemExit(f'{path} holds {len(rounds)} rounds of other combinations: give another OUT')
    return [r for own in rounds.values() if has(own)==wanted for r in own]

def quartiles(v): return statistics.quantiles(v, n=4, method='inclusive') if len(v)>1 else (v[0],)*3

def ratios(rows, name, k, column):
    "How many times as fast as the official recipe, round by round"
    def of(what): return {r['round']: r[column] for r in rows if (r['preset'], r['combination'])==(name, what)}
    base, other = of(RECIPE), of(k)
    return quartiles([base[i]/other[i] for i in other])

def table(rows, a, params):
    "Markdown"
    n = len({r['round'] for r in rows})
    lines = [f'Batch {a.batch_size}, {a.device}, {a.threads} thread(s), torch {torch.__version__}, {n} rounds. '
             'In brackets: quartiles of the rounds.', '']
    for name in a.presets:
        lines += [f'| {name} | parameters | s a step | steps/s against mpd+msd | of processor time |',
                  '|---|---|---|---|---|']
        for k in dict.fromkeys(r['combination'] for r in rows if r['preset']==name):
            seconds = statistics.median(r['seconds'] for r in rows if (r['preset'], r['combination'])==(name, k))
            cells = [f'{m:.2f} ({lo:.2f} to {hi:.2f})' for lo,m,hi in
                     (ratios(rows, name, k, c) for c in ('seconds', 'processor'))]
            lines.append(f'| {k} | {params.get(k, "")} | {seconds:.2f} | {" | ".join(cells)} |')
        lines.append('')
    return '\n'.join(lines)

def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('out', type=Path)
    p.add_argument('--presets', nargs='+', default=['V1', 'V2'])
    p.add_argument('--batch_size', type=int, default=2)
    p.add_argument('--rounds', type=int, default=5)
    p.add_argument('--threads', type=int, default=1)
    p.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu')
    p.add_argument('--checkout', help='clone of github.com/jik876/hifi-gan')
    p.add_argument('--only', nargs='+', choices=list(COMBINATIONS), help='some combinations; the official is needed')
    a = p.parse_args()
    if a.rounds<1: p.error('--rounds must be above 0')
    if a.only and RECIPE not in a.only: p.error(f'--only must have {RECIPE!r}, against which all is measured')
    warnings.filterwarnings('ignore', category=FutureWarning)
    torch.set_num_threads(a.threads)
    a.device = torch.device(a.device)
    a.out.mkdir(parents=True, exist_ok=True)
    path, bench = a.out/'step_cost.csv', Bench(a)
    turns = bench.turns
    settings = dict(batch_size=str(a.batch_size), threads=str(a.threads), device=str(a.device),
                    torch=str(torch.__version__))
    rows = read(path, {(name, k) for name,k,_ in turns}, settings)
    done = len({r['round'] for r in rows})
    with new_file(path) as part: write(part, rows)
    print(f'{done} whole rounds in {path}; warming up', flush=True)
    if done<a.rounds:
        for *_,f in turns: f()
    for i in range(done, a.rounds):
        for name,k,f in turns[7*i%len(turns):] + turns[:7*i%len(turns)]: # nobody always comes after the same one
            seconds, processor = timed(f, a.device)
            rows.append(dict(round=str(i), preset=name, combination=k, seconds=seconds, processor=processor)|settings)
            write(path, rows[-1:], 'a')
        print(f'round {i+1} of {a.rounds}', flush=True)
    text = table(rows, a, bench.params)
    with new_file(a.out/'step_cost.md') as part: part.write_text(text+'\n', encoding='utf-8')
    print(f'\n{text}')

def write(path, rows, mode='w'):
    "Measurements as CSV, with the names of the columns where the file begins"
    with path.open(mode, newline='', encoding='utf-8') as f:
        w = csv.DictWriter(f, COLUMNS)
        if mode=='w': w.writeheader()
        w.writerows(rows)

if __name__=='__main__': main()

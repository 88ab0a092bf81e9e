"""What a race (`equal_time.py`) says in the end: race.md, race.png, results.csv, curves.csv, from its files alone"""
import math, platform
from dataclasses import fields
from pathlib import Path
from typing import NamedTuple
from matplotlib.figure import Figure
from hifigan_ruslan.base.files import json_dict, new_file, write_text
from hifigan_ruslan.config import Config, config_from_dict
from hifigan_ruslan.eval import comparisons, read_rows, summary
from hifigan_ruslan.evaluation.stats import clips_to_prove, least_p
from hifigan_ruslan.evaluation.systems import RECORDING
from hifigan_ruslan.metrics import METRICS, not_computed
from race_side import TURN_COLUMNS, read_table, write_table

HEADLINE = 'pesq', 'dnsmos', 'stoi', 'mel_l1', 'f0_cents', 'vuv_f1' # At the marks, and in the tables of the page
CURVE_COLUMNS = ['side', *(k for k in TURN_COLUMNS if k!='mark'), *HEADLINE]
RESULT_COLUMNS = 'side against metric mean low high n difference diff_low diff_high p verdict'.split()
BETTER, WORSE, EQUAL, UNTOLD = 'better', 'worse', 'no difference shown', 'cannot be told'

class Mark(NamedTuple):
    "A generator that was kept"
    side:str
    turn:int
    step:int
    minutes:float # Of the side's own time
    path:Path
    system:str # As the evaluation calls it

def machine(device):
    "What the race is run on, in words"
    import torch
    cpu = next((l.partition(':')[2].strip() for l in _cpu_lines() if l.startswith('model name')), platform.machine())
    gpu = f'{torch.cuda.get_device_name(device)}, ' if device.type=='cuda' else ''
    return f'{gpu}{cpu}, torch {torch.__version__}'

def _cpu_lines():
    try: return Path('/proc/cpuinfo').read_text().splitlines()
    except OSError: return [] # not Linux

# From the files

class Result:
    "All that lies in the folder of a race"
    def __init__(self, out):
        self.out, self.facts = Path(out), json_dict(Path(out)/'race.json')
        self.cfgs = {n: config_from_dict(c) for n,c in self.facts['sides'].items()}
        self.turns = {n: read_table(self.folder(n)/'turns.csv') for n in self.cfgs}
        self.logs = {n: read_table(self.folder(n)/'log.csv') for n in self.cfgs}
        self.dead = {n: d['why'] for n in self.cfgs if (d := json_dict(self.folder(n)/'dead.json'))}
        self.sizes = {n: json_dict(self.folder(n)/'side.json') for n in self.cfgs}
        self.marks = marks(self.out, self.cfgs)
        table = self.out/'evaluation'/'clips.csv'
        self.rows = read_rows(table) if table.is_file() else []

    def folder(self, name): return self.out/'sides'/name

    @property
    def last(self):
        "Side -> its mark at the end of the race, of those that have come so far"
        end = max((m.turn for m in self.marks), default=0)
        return {m.side: m for m in self.marks if m.turn==end}

def marks(out, sides):
    "The generators that were kept, side by side"
    return [Mark(n, r['turn'], r['step'], r['own_seconds']/60, path, f'{n} {r["mark"]}')
            for n in sides for r in read_table(Path(out)/'sides'/n/'turns.csv')
            if r['mark'] and (path := Path(out)/'sides'/n/f'{r["mark"]}.pt').is_file()]

def same_segments(cfgs, logs):
    "Did the sides that should hear the same segments hear them? Sentences; those that begin with NOT are bad news"
    def kind(c): return c.batch_size, c.grad_accum, c.segment_size, c.hop_length, c.random_gain_db
    heard = {n: {r['step']: r['heard'] for r in logs[n] if r['heard']==r['heard']} for n in cfgs}
    for i,(a,b) in enumerate((a, b) for j,a in enumerate(cfgs) for b in [*cfgs][j+1:]):
        if kind(cfgs[a])!=kind(cfgs[b]): continue
        common = sorted({*heard[a]} & {*heard[b]})
        other = next((s for s in common if heard[a][s]!=heard[b][s]), None)
        if other is not None: yield f'NOT THE SAME SEGMENTS: {a} and {b} differ at step {other}'
        elif common: yield (f'{a} and {b} heard the same segments: compared at {len(common)} steps up to '
                            f'step {common[-1]}')

# Who is better

def verdict(difference, low, high, p, better):
    "In a word: is the first better, outside of the interval and of Holm's p?"
    if not math.isfinite(p) or not math.isfinite(low): return UNTOLD
    if p>=.05 or low<=0<=high: return EQUAL
    return BETTER if (difference>0)==(better=='higher') else WORSE

def standings(rows, names, reference):
    """Rows by RESULT_COLUMNS: each side in each metric, and against the reference; of `evaluate`'s rows, whose
    systems are the sides"""
    order = [reference, *(n for n in names if n!=reference)]
    rows = sorted((r for r in rows if r['system'] in order), key=lambda r: order.index(r['system']))
    means, pairs = summary(rows), comparisons(rows)
    against = {(o['b'], o['metric']): o for o in pairs if o['a']==reference}
    return [_standing(n, k, means[n][k], reference, against.get((n, k)))
            for n in names if n in means for k in METRICS if k in means[n]]

def _standing(side, metric, mean, reference, pair):
    row = dict(side=side, metric=metric, mean=mean[0], low=mean[1], high=mean[2], n=mean[3])
    if not pair: return row | dict(against='', verdict='' if side==reference else UNTOLD)
    difference, low, high = -pair['difference'], -pair['high'], -pair['low'] # the pair is reference minus side
    return row | dict(against=reference, difference=difference, diff_low=low, diff_high=high, p=pair['p'],
                      verdict=verdict(difference, low, high, pair['p'], METRICS[metric].better))

def judgement(side, reference, standing):
    "What the numbers say of a side, in a sentence or two"
    mine = {r['metric']: r for r in standing if r['side']==side and r['metric'] in HEADLINE}
    def named(word): return [_change(r) for r in mine.values() if r['verdict']==word]
    said = [f'{word}: {", ".join(named(word))}' for word in (BETTER, WORSE) if named(word)]
    rest = [METRICS[k].title for k,r in mine.items() if r['verdict'] in (EQUAL, UNTOLD)]
    if rest: said.append(f'no difference shown: {", ".join(rest)}')
    return f'**{side}** against {reference}: {"; ".join(said) or "not measured"}. {_bar(mine)}'

def _change(r):
    m = METRICS[r['metric']]
    d, low, high = (_signed(r[k], m.digits) for k in ('difference', 'diff_low', 'diff_high'))
    return f'{m.title} {d} [{low}, {high}], p {_p(r["p"])}'

def _signed(v, digits):
    "With more digits where these would show nothing"
    return f'{v:+.{digits}f}' if abs(v)>=10**-digits or not v else f'{v:+.1g}'

def _p(p): return f'{p:.4f}' if p>=.0001 else '< .0001'

def _bar(mine):
    "PESQ or mel L1 better outside the intervals, and DNSMOS and F0 not worse"
    if missing := [METRICS[k].title for k in ('pesq', 'mel_l1', 'dnsmos', 'f0_cents') if k not in mine]:
        return f'Whether it won cannot be told: {", ".join(missing)} not measured.'
    better = any(mine[k]['verdict']==BETTER for k in ('pesq', 'mel_l1'))
    worse = [METRICS[k].title for k in ('dnsmos', 'f0_cents') if mine[k]['verdict']==WORSE]
    if better and not worse: return 'It won: better in PESQ or mel L1 outside the intervals, DNSMOS and F0 not worse.'
    why = ' and '.join(['neither PESQ nor mel L1 is better outside the intervals']*(not better)
                       + [f'{" and ".join(worse)} worse']*bool(worse))
    return f'It did not win: {why}.'

# The page

def write_page(out):
    "Write the four files; their paths"
    r = Result(out)
    last = r.last
    reference = next(iter(last), None)
    rows = _as_sides(r.rows, last)
    standing = standings(rows, list(last), reference) if rows else []
    paths = [r.out/n for n in ('results.csv', 'curves.csv', 'race.png', 'race.md')]
    write_table(paths[0], RESULT_COLUMNS, standing)
    curves = curve_rows(r)
    write_table(paths[1], CURVE_COLUMNS, curves)
    with new_file(paths[2]) as part: picture(curves, list(r.cfgs)).savefig(part, dpi=90, format='png')
    write_text(paths[3], page(r, last, reference, standing, rows))
    return paths

def _as_sides(rows, last):
    "The rows of the last marks, their systems called as the sides"
    names = {m.system: n for n,m in last.items()}
    return [row | dict(system=names[row['system']]) for row in rows if row['system'] in names]

def curve_rows(r):
    "Rows by CURVE_COLUMNS: the turns of all sides, with the means of all metrics at the marks"
    means = summary(r.rows) if r.rows else {}
    at = {(m.side, m.turn): means.get(m.system, {}) for m in r.marks}
    def measured(n, turn): return {k: v[0] for k,v in at.get((n, turn), {}).items() if k in HEADLINE}
    return [dict(side=n) | t | measured(n, t['turn']) for n,turns in r.turns.items() for t in turns]

def page(r, last, reference, standing, rows):
    "The page as Markdown"
    f = r.facts
    parts = [f'# A race: {", ".join(r.cfgs)}',
             f'{f["minutes"]:g} minutes of its own for each side, in turns of {f["turn_minutes"]:g}'
             f'{_by_steps(f)}; seed {f["seed"]}, {f["threads"]} threads, {f["precision"]} on {f["device"]} '
             f'({f["machine"]}). Data: {f["corpus"]}; {f["n_clips"]} held-out clips, {f["n_valid"]} of them after each '
             'turn.', _words(r, last, reference, standing, rows), '![curves](race.png)',
             '## Time and work', _table(_WORK, [_work(r, n) for n in r.cfgs])]
    if standing:
        parts += ['## At the end', _table(['', *map(_head, HEADLINE)], _ends(r, last, reference, standing)),
                  f'Mean and half of the 95 % interval over the clips. + better and − worse than {reference}: the '
                  'interval of the paired difference leaves out 0, and p < .05 (sign flips, Holm over the pairs). '
                  'All metrics are in results.csv.']
    if r.rows: parts += ['## At the marks', _table(['side', 'minutes', 'step', *map(_head, HEADLINE)], _at_marks(r))]
    parts += ['## The sides', *(f'- **{n}**: {_numbers(r, n)}' for n in r.cfgs)]
    return '\n\n'.join(parts)+'\n'

def _by_steps(f): return f' ({f["steps_per_turn"]} steps, whatever time they took)' if f['steps_per_turn'] else ''

def _words(r, last, reference, standing, rows):
    "Sentences about what came out, one a line"
    lines = [judgement(n, reference, standing) for n in last if n!=reference and standing]
    lines += [f'**{n} is out**: {why}.' for n,why in r.dead.items()]
    late = [n for n in r.cfgs if n not in last and n not in r.dead]
    if late: lines.append(f'Not at the end yet, and not compared: {", ".join(late)}.')
    if reference not in (None, next(iter(r.cfgs))): lines.append(f'{reference} stands in as what one compares with.')
    if not r.rows: lines.append('Not evaluated yet: the same command without --no_eval does it.')
    lines += _no_voice(standing) + _unfinished(r, last, rows) + _doubts(rows, len(last))
    lines += [f'{k}: {v}' for k,v in not_computed().items() if k!='UTMOS']
    lines += [f'{s}.' for s in same_segments(r.cfgs, r.logs)] + [f'Note: {n}.' for n in r.facts['notes']]
    return '\n'.join(f'- {line}' for line in lines)

FLOOR = 1.3 # PESQ, which has 1.04 for noise

def _no_voice(standing):
    "That there is nothing to hear yet, and so nothing to be better at"
    pesq = {s['side']: s['mean'] for s in standing if s['metric']=='pesq'}
    if not pesq or max(pesq.values())>=FLOOR: return []
    return [f'**No side is a voice yet**: PESQ {max(pesq.values()):.2f} at most, and noise has 1.04. What is better '
            'here says little of what would be after a longer race.']

def _unfinished(r, last, rows):
    "That some of the last generators are not measured on all recordings"
    there, all = len(rows), len(last)*r.facts['n_clips']
    return [f'The evaluation is not finished: {there} of {all} measurements at the end are there. The same command '
            'goes on.'] if 0<there<all else []

def _doubts(rows, n):
    "What makes the numbers weak"
    clips, pairs = len({r['clip'] for r in rows}), n*(n-1)//2 if n<=6 else n-1
    bad = [r for r in rows if r['error']]
    out = [f'{len(bad)} measurements failed, {_first(bad[0])}.'] if bad else []
    if pairs<1 or not clips or least_p(clips, pairs)<=.05: return out
    return out + [f'Too few clips to tell: with {clips} and {pairs} pairs p cannot be below '
                  f'{least_p(clips, pairs):.2f}; {clips_to_prove(pairs)} could show a difference.']

def _first(row): return f'the first: {row["clip"]} by {row["system"]}, {row["error"]}'

# Tables

def _table(head, rows):
    lines = [head, ['---']*len(head), *rows]
    return '\n'.join('| '+' | '.join(map(str, cells))+' |' for cells in lines)

def _head(key): return f'{METRICS[key].title}{f" ({METRICS[key].unit})"*bool(METRICS[key].unit)}'

_WORK = ['side', 'steps', 'steps/s', 'own min', 'processor min', 'steps/processor s', 'cores busy', 'load',
         'generator', 'discriminators', 'skipped', 'D', 'gaps of its parts', 'mel L1, last turn']

def _work(r, n):
    "Cells about a side"
    turns = r.turns[n]
    if not turns: return [n, *['-']*(len(_WORK)-1)]
    t, size = turns[-1], r.sizes[n]
    step, own, cpu = t['step'], t['own_seconds'], t['cpu_seconds']
    loads = [x['load'] for x in turns if x['load']==x['load']]
    def weights(k): return f'{size[k]:,}' if k in size else '-'
    return [n, f'{step:,}', _share(step, own, 2), f'{own/60:.1f}', f'{cpu/60:.1f}', _share(step, cpu, 2),
            _share(cpu, own, 2),
            _num(sum(loads)/len(loads) if loads else math.nan, 1), weights('g_params'), weights('d_params'),
            f'{t["skipped"]}', _health(turns), t['gaps'] or '-', f'{t["valid_mel"]:.4f}']

def _health(turns):
    "The last word on the discriminators, and how often it was another than ok"
    told = [t['health'] for t in turns if t['health']]
    bad = [h for h in told if h!='ok']
    if not told: return 'too early to judge'
    return told[-1] + (f' ({len(bad)} of {len(told)} turns: {", ".join(sorted(set(bad)))})' if bad else '')

def _share(a, b, digits): return _num(a/b if b else math.nan, digits)

def _num(v, digits): return f'{v:.{digits}f}' if math.isfinite(v) else '-'

def _ends(r, last, reference, standing):
    "Cells of the table of the last marks"
    by, signs = {(s['side'], s['metric']): s for s in standing}, {BETTER: ' +', WORSE: ' −'}
    def cell(n, k):
        s = by.get((n, k))
        if s is None: return '-'
        half = f' ±{(s["high"]-s["low"])/2:.{METRICS[k].digits}f}' if math.isfinite(s['low']) else ''
        return f'{s["mean"]:.{METRICS[k].digits}f}{half}{signs.get(s["verdict"], "")}'
    real = summary([row for row in r.rows if row['system']==RECORDING]).get(RECORDING, {})
    ceiling = ['recording', *(f'{real[k][0]:.{METRICS[k].digits}f}' if k in real else '-' for k in HEADLINE)]
    return [*([n, *(cell(n, k) for k in HEADLINE)] for n in last), ceiling]

def _at_marks(r):
    means = summary(r.rows)
    def cell(m, k): return f'{means[m.system][k][0]:.{METRICS[k].digits}f}' if k in means.get(m.system, {}) else '-'
    return [[m.side, f'{m.minutes:.1f}', f'{m.step:,}', *(cell(m, k) for k in HEADLINE)] for m in r.marks]

def _numbers(r, name):
    "A side as it was asked for, and in what it differs from the first"
    asked = dict(w.split('=', 1) for w in r.facts.get('words', ()))
    first = next(iter(r.cfgs))
    pairs = ((f.name, getattr(r.cfgs[name], f.name), getattr(r.cfgs[first], f.name)) for f in fields(Config))
    differ = [f'{k} {_found(v)} in place of {_found(was)}' for k,v,was in pairs if v!=was]
    rest = '' if name==first else f': {", ".join(differ) or "as the first, to see what chance does"}'
    return f'`{asked.get(name, "?")}`{rest}'

def _found(v): return '+'.join(map(str, v)) if isinstance(v, tuple) else v

# The picture

def picture(curves, names):
    "Curves over the sides' own minutes, and over steps"
    panels = [('own_seconds', 'valid_mel', 'mel L1, held out'), ('step', 'valid_mel', 'the same, over steps'),
              *(('own_seconds', k, _head(k)) for k in ('pesq', 'dnsmos', 'stoi', 'f0_cents', 'vuv_f1')),
              ('own_seconds', 'gap', 'largest gap of D')]
    fig = Figure(figsize=(14,6), layout='constrained')
    for ax,(x,y,title) in zip(fig.subplots(2, 4).flat, panels):
        for i,n in enumerate(names): _curve(ax, [c for c in curves if c['side']==n], x, y, n, f'C{i}')
        ax.set(title=title, xlabel='minutes of its own' if x=='own_seconds' else 'step')
        if y=='valid_mel': ax.set_yscale('log')
        if not ax.lines: ax.text(.5, .5, 'no value yet', ha='center', transform=ax.transAxes)
        ax.grid(alpha=.3, which='both')
    fig.axes[0].legend(fontsize=8)
    return fig

def _curve(ax, rows, x, y, label, color):
    seen = [(r[x]/(60 if x=='own_seconds' else 1), r[y]) for r in rows if math.isfinite(r.get(y, math.nan))]
    if not seen: return
    few = len(seen)<30
    ax.plot([a for a,_ in seen], [b for _,b in seen], c=color, lw=1.2, marker='o' if few else None, ms=3, label=label)

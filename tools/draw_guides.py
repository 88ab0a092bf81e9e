"""Draw the pictures of the guides into docs/pages/images, and write down the numbers behind them.

    python tools/draw_guides.py             # train, and draw
    python tools/draw_guides.py --pictures  # draw alone

health.png: the loss and the scores of the discriminators in four small trainings, as they should be and with three
things done wrong. Its numbers are in health.csv. kaggle.png: what travels between a clone and Kaggle in two
sessions. Both are drawn in Russian too, as NAME_ru.png."""
import argparse, ast, contextlib, csv, io, tempfile
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch
import matplotlib.pyplot as plt, nbformat, torch
from hifigan_ruslan import step as steps
from hifigan_ruslan.config import TINY
from hifigan_ruslan.data import SegmentDataset
from hifigan_ruslan.dataset.prepare import prepare
from hifigan_ruslan.step import disc_health, new_state, train_step

ROOT = Path(__file__).parent.parent
OUT = ROOT/'docs/pages/images'
STEPS, MEAN = 240, 10 # Optimiser steps of each training, and how many make a row

def from_notebook(notebook, name):
    "A function that a notebook defines for itself, without running the rest of it"
    cells = nbformat.read(ROOT/'nbs'/f'{notebook}.ipynb', 4).cells
    found = [o for c in cells if c.cell_type=='code' and f'def {name}(' in c.source
             for o in ast.parse(c.source).body if getattr(o, 'name', '')==name]
    space = dict(vars(steps))
    exec(compile(ast.Module(found, []), notebook, 'exec'), space)
    return space[name]

def twice_the_same(wavs, s):
    "A step whose discriminators get the recording twice, as from a loader that returns one batch twice"
    def generate(batch, s): return batch.wav.clone().requires_grad_()
    def update(s, opt, *args): return opt is not s.opt_d or real(s, opt, *args)
    real = steps._update
    with patch.object(steps, '_generate', generate), patch.object(steps, '_update', update): return train_step(wavs, s)

def train(step, cfg, data):
    "Rows of a training: means over MEAN steps"
    s, ds, rows, seen = new_state(cfg), SegmentDataset(data, cfg.segment_size), [], []
    for i in range(1, STEPS+1):
        ds.set_epoch(i)
        wavs = torch.stack([ds[j%len(ds)] for j in range(cfg.batch_total)]).split(cfg.batch_size)
        seen.append({k: v.item() for k,v in step(list(wavs), s).items()})
        if i%MEAN==0:
            rows.append(dict(step=i) | {k: sum(o[k] for o in seen)/MEAN for k in seen[0]})
            seen = []
    return rows

def health(data):
    "Four trainings: their rows, into health.csv"
    cfg = replace(TINY, upsample_initial_channel=32, disc_shrink=32, segment_size=2048, batch_size=4,
                  grad_accum=1, lr_g=1e-3, lr_d=1e-3)
    runs = {'healthy': (train_step, cfg),
            'dead: the same wave twice': (twice_the_same, cfg),
            'leak: D is not cleared': (from_notebook('30_step', 'leaky_step'), cfg),
            'crushing: G hardly learns': (train_step, replace(cfg, lr_g=1e-6, lr_d=3e-3))}
    rows = {name: train(*run, data) for name,run in runs.items()}
    for name,r in rows.items():
        end = {k: sum(o[k] for o in r[-5:])/5 for k in r[-1]}
        print(f'{name}: D loss {r[-1]["disc"]:.2f} at the end, alarm: {disc_health(end)[0]}')
    with open(OUT/'health.csv', 'w', newline='', encoding='utf-8') as f:
        keys = ['step','disc','gen','fm','mel', *(k for k in rows['healthy'][0] if k.startswith(('real','fake')))]
        w = csv.DictWriter(f, ['run', *keys], extrasaction='ignore', lineterminator='\n')
        w.writeheader()
        for name,r in rows.items(): w.writerows({'run': name} | {k: round(v, 4) for k,v in o.items()} for o in r)

def stored():
    "Name of a training -> its rows in health.csv"
    found = {}
    with open(OUT/'health.csv', newline='', encoding='utf-8') as f:
        for row in csv.DictReader(f): found.setdefault(row.pop('run'), []).append({k: float(v) for k,v in row.items()})
    return found

RUSSIAN = {'healthy': 'здоровое', 'dead: the same wave twice': 'мёртвое: дважды одна волна',
           'leak: D is not cleared': 'утечка: градиенты D не стёрты',
           'crushing: G hardly learns': 'подавление: G почти не учится', 'real': 'настоящее', 'fake': 'поддельное',
           'step': 'шаг', 'D loss\n(green: healthy)': 'потеря D\n(зелёное: норма)',
           'scores of the eight': 'оценки всех восьми',
           '.5': '0,5', 'your clone': 'ваш клон', 'data set\nfreezerainml/ruslan': 'набор данных\nfreezerainml/ruslan',
           'session 1\nup to 12 h, two T4s': 'сессия 1\nдо 12 ч, две T4', 'session 2\ngoes on': 'сессия 2\nпродолжает',
           'output 1\nrun/checkpoints': 'результаты 1\nrun/checkpoints'}

def draw_health(rows, say, path):
    "A row for each training, narrow for a phone: the loss of the discriminators, and their scores"
    fig, axs = plt.subplots(4, 2, figsize=(5.2,7.4), sharex=True, sharey='col')
    for (name,r),(left,right) in zip(rows.items(), axs):
        x = [o['step'] for o in r]
        left.plot(x, [o['disc'] for o in r], 'k')
        left.set_title(say(name), fontsize=10, loc='left')
        left.set(ylim=(0, 8.5), yticks=(0, 2, 4, 6, 8))
        left.axhspan(1.3, 3.8, color='C2', alpha=.15)
        left.axhline(4, ls=':', c='.5', lw=1)
        left.axhline(40/9, ls=':', c='C3', lw=1)
        for kind,c in (('real','C0'), ('fake','C1')):
            keys = [k for k in r[0] if k.startswith(kind)]
            for k in keys: right.plot(x, [o[k] for o in r], c=c, lw=.7, label=say(kind) if k==keys[0] else None)
        right.set(ylim=(-.3,1.3), yticks=(0, .5, 1))
    right.set_yticklabels(['0', say('.5'), '1'])
    for ax in axs[-1]: ax.set_xlabel(say('step'))
    where = dict(transform=axs[0,0].transAxes, fontsize=8, ha='right', va='top')
    axs[0,0].text(.97, .93, say('D loss\n(green: healthy)'), **where)
    axs[0,1].set_title(say('scores of the eight'), fontsize=10, loc='right')
    axs[1,1].legend(fontsize=8, loc='upper right')
    fig.tight_layout()
    fig.savefig(path, dpi=110)
    plt.close(fig)

def draw_kaggle(say, path):
    "Two sessions, and what goes from one to the next: narrow and in large letters, for a phone"
    fig, ax = plt.subplots(figsize=(4.4,4.6))
    ax.axis('off')
    ax.set(xlim=(0,10), ylim=(0,10))
    fig.subplots_adjust(0, 0, 1, 1)
    def box(x, y, text, c):
        ax.text(x, y, say(text), ha='center', va='center', fontsize=9, linespacing=1.3,
                bbox=dict(boxstyle='round,pad=.5', fc=c, ec='.6'))
    def arrow(a, b, text='', at=(0,0), ha='center'):
        ax.annotate('', b, a, arrowprops=dict(arrowstyle='->', color='.3', lw=1.2))
        ax.text(*at, text, fontsize=9, color='.2', ha=ha, va='center', linespacing=1.3)
    left, right, blue, green, sand = 1.9, 8., '#e8eef5', '#dcead8', '#f5ecd9'
    ax.axvspan(5.72, 10, color='.965', zorder=0)
    ax.text(left, 9.5, say('your clone'), fontsize=10, color='.35', ha='center')
    ax.text(right, 9.5, 'Kaggle', fontsize=10, color='.35', ha='center')
    box(right, 8.5, 'data set\nfreezerainml/ruslan', blue)
    box(left, 6.5, 'kernel/train.ipynb', blue)
    box(right, 6.5, 'session 1\nup to 12 h, two T4s', green)
    box(right, 4.5, 'output 1\nrun/checkpoints', sand)
    box(left, 4.5, 'kaggle-output/run', sand)
    box(left, 2.5, 'out/*.wav', sand)
    box(left, .9, 'kernel/train.ipynb', blue)
    box(right, .9, 'session 2\ngoes on', green)
    arrow((right,7.85), (right,7.15))
    arrow((right,5.85), (right,5.15))
    arrow((right,3.85), (right,1.55))
    arrow((3.7,6.5), (5.9,6.5), 'hifigan-kaggle\npush', (4.75,7.15))
    arrow((6.2,4.5), (3.75,4.5), 'hifigan-kaggle\npull', (4.85,5.15))
    arrow((left,4.05), (left,2.95), 'hifigan-generate', (2.1,3.5), 'left')
    arrow((3.7,.9), (6.7,.9), 'hifigan-kaggle\ncontinue', (4.85,1.55))
    fig.savefig(path, dpi=130)
    plt.close(fig)

def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--pictures', action='store_true', help='nothing is trained: draw what health.csv holds')
    if not p.parse_args().pictures:
        OUT.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory() as tmp:
            with contextlib.redirect_stdout(io.StringIO()):
                data = prepare(ROOT/'hifigan_ruslan/clips', Path(tmp)/'data', valid=0, test=0, progress=False)
            health(data)
    for end,words in (('', {}), ('_ru', RUSSIAN)):
        def say(text): return words.get(text, text)
        draw_kaggle(say, OUT/f'kaggle{end}.png')
        draw_health(stored(), say, OUT/f'health{end}.png')

if __name__=='__main__': main()

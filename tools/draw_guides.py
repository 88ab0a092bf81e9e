"""Draw the pictures of the guides into docs/pages/images, and write down the numbers behind them.

    python tools/draw_guides.py

health.png: the loss and the scores of the discriminators in four small trainings, as they should be and with three
things done wrong. Its numbers are in health.csv. kaggle.png: what travels between a clone and Kaggle in two
sessions."""
import ast, contextlib, csv, io, tempfile
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
    "Four trainings, their rows and their picture"
    cfg = replace(TINY, upsample_initial_channel=32, disc_shrink=32, segment_size=2048, batch_size=4,
                  grad_accum=1, lr_g=1e-3, lr_d=1e-3)
    runs = {'healthy': (train_step, cfg),
            'dead: the same wave twice': (twice_the_same, cfg),
            'leak: D is not cleared': (from_notebook('30_step', 'leaky_step'), cfg),
            'crushing: G hardly learns': (train_step, replace(cfg, lr_g=1e-6, lr_d=3e-3))}
    rows = {name: train(*run, data) for name,run in runs.items()}
    fig, axs = plt.subplots(2, 4, figsize=(11,4.4), sharex=True, sharey='row')
    for (name,r),(top,low) in zip(rows.items(), axs.T):
        x = [o['step'] for o in r]
        top.plot(x, [o['disc'] for o in r], 'k')
        top.set_title(name, fontsize=10)
        top.set_ylim(0, 8.5)
        top.axhspan(1.3, 3.8, color='C2', alpha=.15)
        top.axhline(4, ls=':', c='.5', lw=1)
        top.axhline(40/9, ls=':', c='C3', lw=1)
        for kind,c in (('real','C0'), ('fake','C1')):
            keys = [k for k in r[0] if k.startswith(kind)]
            for k in keys: low.plot(x, [o[k] for o in r], c=c, lw=.7, label=kind if k==keys[0] else None)
        low.set(ylim=(-.3,1.3), xlabel='step')
        end = {k: sum(o[k] for o in r[-5:])/5 for k in r[-1]}
        print(f'{name}: D loss {r[-1]["disc"]:.2f} at the end, alarm: {disc_health(end)[0]}')
    axs[0,0].set_ylabel('D loss (green: healthy)')
    axs[1,0].set_ylabel('scores of the eight')
    axs[1,0].legend(fontsize=8)
    fig.tight_layout()
    fig.savefig(OUT/'health.png', dpi=80)
    plt.close(fig)
    with open(OUT/'health.csv', 'w', newline='', encoding='utf-8') as f:
        keys = ['step','disc','gen','fm','mel', *(k for k in rows['healthy'][0] if k.startswith(('real','fake')))]
        w = csv.DictWriter(f, ['run', *keys], extrasaction='ignore', lineterminator='\n')
        w.writeheader()
        for name,r in rows.items(): w.writerows({'run': name} | {k: round(v, 4) for k,v in o.items()} for o in r)

def kaggle():
    "Two sessions, and what goes from one to the next"
    fig, ax = plt.subplots(figsize=(10,3.6))
    ax.axis('off')
    ax.set(xlim=(0,10), ylim=(0,4))
    def box(x, y, w, text, c):
        ax.text(x+w/2, y, text, ha='center', va='center', fontsize=9,
                bbox=dict(boxstyle='round,pad=.5', fc=c, ec='.6'))
    def arrow(a, b, text='', at=(0,0)):
        ax.annotate('', b, a, arrowprops=dict(arrowstyle='->', color='.3', lw=1.2))
        ax.text(*at, text, fontsize=8, color='.2')
    ax.text(0, 3.7, 'Kaggle', fontsize=10, color='.4')
    ax.text(0, .05, 'your clone', fontsize=10, color='.4')
    ax.axhline(1.45, c='.85')
    box(0, 2.9, 1.6, 'data set\nfreezerainml/ruslan', '#e8eef5')
    box(2.3, 2.9, 1.8, 'session 1\nup to 12 h, two T4s', '#dcead8')
    box(7, 2.9, 1.8, 'session 2\ngoes on', '#dcead8')
    box(4.6, 2.9, 1.6, 'output 1\nrun/checkpoints', '#f5ecd9')
    box(.8, .75, 1.6, 'kernel/train.ipynb', '#e8eef5')
    box(4.6, .75, 1.6, 'kaggle-output/run', '#f5ecd9')
    box(8.2, .75, 1.6, 'out/*.wav', '#f5ecd9')
    arrow((1.6,2.9), (2.35,2.9))
    arrow((4.1,2.9), (4.65,2.9))
    arrow((6.2,2.9), (7.1,2.9))
    arrow((1.7,1.0), (3.0,2.55), 'hifigan-kaggle push', (1.25,1.65))
    arrow((5.4,2.55), (5.4,1.05), 'hifigan-kaggle pull', (5.5,2.25))
    arrow((2.5,.75), (7.8,2.55), 'hifigan-kaggle continue', (6.95,1.85))
    arrow((6.2,.75), (8.4,.75), 'hifigan-generate', (6.75,.88))
    fig.tight_layout()
    fig.savefig(OUT/'kaggle.png', dpi=80)
    plt.close(fig)

def main():
    OUT.mkdir(exist_ok=True)
    kaggle()
    with tempfile.TemporaryDirectory() as tmp:
        with contextlib.redirect_stdout(io.StringIO()):
            data = prepare(ROOT/'hifigan_ruslan/clips', Path(tmp)/'data', valid=0, test=0, progress=False)
        health(data)

if __name__=='__main__': main()

"""Our training beside the official code's: the same data, the same first weights, the same segments in the same
order, the same number of steps.

    python benchmarks/equal_steps.py CHECKOUT DATA OUT --steps 2500

CHECKOUT is a clone of github.com/jik876/hifi-gan, DATA a folder made by hifigan-prepare. OUT receives official.csv,
ours.csv and the picture equal_steps.png: full-band mel L1 on whole unseen utterances. `--only official` and `--only
ours` run one of the two (in two terminals, say)."""
import argparse, csv, sys, time
from dataclasses import replace
from pathlib import Path
import numpy as np, torch
sys.path.insert(0, str(Path(__file__).parent))
import official
from loader import segments
from hifigan_ruslan.config import preset
from hifigan_ruslan.data import SpeechData
from hifigan_ruslan.losses import mel_loss
from hifigan_ruslan.mel import LogMel
from hifigan_ruslan.training.logging import read_log
from hifigan_ruslan.step import new_state, train_step
from hifigan_ruslan.train import valid_clips

@torch.no_grad()
def unseen_mel(generate, clips, cfg):
    "Mean full-band mel L1 over whole utterances; `generate` makes waves (1, 1, T) of waves (1, 1, T)"
    logmel, scores = LogMel(cfg, fmax=cfg.fmax_loss), []
    for clip in clips:
        real = torch.from_numpy(clip.wav)[None,None]
        scores.append(mel_loss(logmel, real, generate(real)).item())
    return float(np.mean(scores))

def run_official(a, data, cfg, clips, first, write):
    o = official.Official(official.load(a.checkout), cfg).start_from(first)
    for step,wav in zip(range(1, a.steps+1), segments(data, cfg)):
        logs = o.step(wav)
        if step%(len(data.split('train'))//cfg.batch_size)==0:      # the end of an epoch: the official schedule
            for opt in (o.optim_g, o.optim_d):
                for g in opt.param_groups: g['lr'] *= cfg.lr_decay
        if step%a.every==0: write(step=step, disc=logs['disc'].item(), fm=logs['fm'].item(), mel=logs['mel'].item(),
                                  valid_mel=unseen_mel(lambda w: o.generator(o.mel(w, cfg.fmax)), clips, cfg))

def run_ours(a, data, cfg, clips, first, write):
    s = first
    for step,wav in zip(range(1, a.steps+1), segments(data, cfg)):
        logs = train_step([wav], s)
        s.epoch = step//(len(data.split('train'))//cfg.batch_size)
        if step%a.every: continue
        unseen = {k: unseen_mel(lambda w: g(s.logmel(w)), clips, cfg)
                  for k,g in (('valid_mel', s.generator), ('valid_ema', s.ema))}
        write(step=step, disc=logs['disc'].item(), fm=logs['fm'].item(), mel=logs['mel'].item(), **unseen)

def picture(out):
    from matplotlib.figure import Figure
    fig = Figure(figsize=(8,4), layout='constrained')
    ax = fig.subplots()
    for name,k,c,label in (('official','valid_mel','C7','official code'),
                           ('ours','valid_mel','C0','ours, raw weights'),
                           ('ours','valid_ema','C3','ours, EMA')):
        log = read_log(out/f'{name}.csv')
        ax.plot(log['step'], log[k], c=c, lw=1.3, label=f'{label}: {log[k][-1]:.3f}')
    ax.set(xlabel='step', ylabel='full-band mel L1, unseen utterances', yscale='log')
    ax.legend()
    ax.grid(alpha=.3, which='both')
    fig.savefig(out/'equal_steps.png', dpi=90)

def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('checkout')
    p.add_argument('data')
    p.add_argument('out', type=Path)
    p.add_argument('--preset', default='V2')
    p.add_argument('--steps', type=int, default=2500)
    p.add_argument('--every', type=int, default=100)
    p.add_argument('--batch_size', type=int, default=4)
    p.add_argument('--disc_shrink', type=int, default=16)
    p.add_argument('--clips', type=int, default=8)
    p.add_argument('--threads', type=int, default=1)
    p.add_argument('--only', choices=['official', 'ours'])
    a = p.parse_args()
    torch.set_num_threads(a.threads)
    cfg = replace(preset(a.preset), batch_size=a.batch_size, disc_shrink=a.disc_shrink, valid_clips=a.clips)
    data = SpeechData.open(a.data)
    clips = valid_clips(data, cfg)
    a.out.mkdir(parents=True, exist_ok=True)
    for name,run in (('official', run_official), ('ours', run_ours)):
        if a.only not in (None, name): continue
        begin, f = time.perf_counter(), (a.out/f'{name}.csv').open('w', newline='')
        columns = ['step', 'seconds', 'disc', 'fm', 'mel', 'valid_mel'] + ['valid_ema']*(name=='ours')
        table = csv.DictWriter(f, columns)
        table.writeheader()
        def write(**row):
            row = dict(seconds=time.perf_counter()-begin) | row
            table.writerow({k: f'{v:.6g}' if isinstance(v, float) else v for k,v in row.items()})
            f.flush()
            print(name, *(f'{k} {v:.4g}' for k,v in row.items()), flush=True)
        run(a, data, cfg, clips, new_state(cfg), write)
    if all((a.out/f'{n}.csv').exists() for n in ('official', 'ours')):
        picture(a.out)
        print(f'{a.out}/equal_steps.png')

if __name__=='__main__': main()

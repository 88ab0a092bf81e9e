"""An official pair of checkpoints goes in, is trained on, comes out, and the official code goes on from it.

    python benchmarks/official_pair.py CHECKOUT

CHECKOUT is a clone of github.com/jik876/hifi-gan. The official code takes two steps and saves g_* and do_*;
`init_weights` reads them, and both take the same third step (gradients and weights compared); then `save_official`
writes a pair, the official code loads it the way its train.py does, and both take a fourth."""
import argparse, sys, tempfile, warnings
from dataclasses import replace
from pathlib import Path
import torch
sys.path.insert(0, str(Path(__file__).parent))
import official
from train_step import batch
from hifigan_ruslan.checkpoint import init_weights, save_official
from hifigan_ruslan.config import load_config, preset
from hifigan_ruslan.step import new_state, train_step

def save_as_train_py(o, folder, steps, epoch=0):
    "The two files that the official train.py writes"
    o.code.utils.save_checkpoint(f'{folder}/g_{steps:08d}', {'generator': o.generator.state_dict()})
    states = {k: getattr(o, k).state_dict() for k in ('mpd', 'msd', 'optim_g', 'optim_d')}
    o.code.utils.save_checkpoint(f'{folder}/do_{steps:08d}', states | {'steps': steps, 'epoch': epoch})

def load_as_train_py(code, cfg, folder):
    "What the official train.py does at its start, with the schedulers"
    o = official.Official(code, cfg)
    g, do = (code.utils.load_checkpoint(code.utils.scan_checkpoint(str(folder), p), 'cpu') for p in ('g_', 'do_'))
    o.generator.load_state_dict(g['generator'])
    o.mpd.load_state_dict(do['mpd'])
    o.msd.load_state_dict(do['msd'])
    o.optim_g.load_state_dict(do['optim_g'])
    o.optim_d.load_state_dict(do['optim_d'])
    for opt in (o.optim_g, o.optim_d):
        torch.optim.lr_scheduler.ExponentialLR(opt, gamma=cfg.lr_decay, last_epoch=do['epoch'])
    return o, do['steps'], do['epoch']

def compare(o, s, wav, what):
    "Both take a step on the same batch; the losses and the largest difference of the weights after it"
    theirs, ours = o.step(wav), train_step([wav], s)
    losses = max(abs(theirs[k].item()-ours[k].item())/max(1, abs(theirs[k].item())) for k in theirs)
    def flat(m): return torch.cat([p.detach().flatten() for p in m.parameters()])
    mine = s.networks()
    weights = {k: (flat(getattr(o, k))-flat(mine[k])).abs().max().item() for k in ('generator', 'mpd', 'msd')}
    print(f'{what}: losses agree to {losses:.1e}, weights to ' + ', '.join(f'{k} {v:.1e}' for k,v in weights.items()))
    assert losses<1e-5 and max(weights.values())<1e-5, 'they do not agree'

def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('checkout')
    p.add_argument('--preset', default='V3')
    a = p.parse_args()
    warnings.filterwarnings('ignore', category=FutureWarning)
    code, cfg, work = official.load(a.checkout), replace(preset(a.preset), batch_size=1), Path(tempfile.mkdtemp())
    wav = batch(cfg, torch.device('cpu'))
    o = official.Official(code, cfg)
    for _ in range(2): o.step(wav)
    save_as_train_py(o, work, 2)
    s = new_state(replace(cfg, seed=7))
    print('taken over from the official pair:', ', '.join(init_weights(s, work/'g_00000002')))
    compare(o, s, wav, 'the next step')
    s.step, s.epoch = 3, 1
    out = save_official(s, work/'ours').parent
    assert load_config(out/'config.json').upsample_initial_channel==cfg.upsample_initial_channel
    again, steps, epoch = load_as_train_py(code, cfg, out)
    assert (steps, epoch)==(3, 1)
    # as ours in epoch 1
    for g in [*again.optim_g.param_groups, *again.optim_d.param_groups]: g['lr'] = cfg.lr_g*cfg.lr_decay
    compare(again, s, wav, 'written back, loaded by the official code, one more step')

if __name__=='__main__': main()

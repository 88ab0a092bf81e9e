"""Our training step beside the official one: the same weights, the same batch, interleaved in one process.

    python benchmarks/train_step.py CHECKOUT [--preset V2] [--batch_size 2] [--repeats 7] [--threads 1]
                                             [--precision fp32 bf16]

CHECKOUT is a clone of github.com/jik876/hifi-gan, which is never part of this repository. Printed: whether losses
and gradients agree, the ratio of the whole step and of each part (generator, both discriminators, mel, optimisers),
and the memory that each needs. On a GPU the official step is also run wrapped in autocast. Speed is a ratio of
medians from the same run; absolute times hold for this machine and this moment."""
import argparse, statistics, subprocess, sys, time, warnings
from dataclasses import replace
from pathlib import Path
import torch
sys.path.insert(0, str(Path(__file__).parent))
import official
from hifigan_ruslan.config import preset
from hifigan_ruslan.dataset.corpus import synth_wav
from hifigan_ruslan.base.hardware import DTYPES
from hifigan_ruslan.generator import weights_once
from hifigan_ruslan.losses import disc_loss, feature_loss, gen_loss, mel_loss
from hifigan_ruslan.step import new_state, train_step

def batch(cfg, device):
    "Segments of a synthetic voice"
    seconds, part = cfg.segment_size/cfg.sample_rate+1, slice(4000, 4000+cfg.segment_size)
    waves = [torch.from_numpy(synth_wav(seconds, cfg.sample_rate, seed=i))[part] for i in range(cfg.batch_size)]
    return torch.stack(waves)[:,None].to(device)

def interleaved(functions, repeats, device):
    "Seconds of each call, round by round; one round more, to warm up, is not counted"
    times = {k: [] for k in functions}
    for i in range(repeats+1):
        for k,f in functions.items():
            if device.type=='cuda': torch.cuda.synchronize()
            begin = time.perf_counter()
            f()
            if device.type=='cuda': torch.cuda.synchronize()
            if i: times[k].append(time.perf_counter()-begin)
    return times

def table(times, against):
    base = statistics.median(times[against])
    for k,v in times.items():
        q = statistics.quantiles(v, n=4) if len(v)>1 else (v[0],)*3
        print(f'  {k:28} {statistics.median(v)*1e3:9.1f} ms   quartiles {q[0]*1e3:.1f} to {q[2]*1e3:.1f}   '
              f'ratio {base/statistics.median(v):.2f}', flush=True)

def flat(grads): return torch.cat([g.flatten().float() for g in grads])

def gradients(step, opts, params):
    "The gradients that each optimiser is about to use"
    seen, real = {}, {k: o.step for k,o in opts.items()}
    for k,o in opts.items():
        def spy(*a, _k=k, **kw):
            seen[_k] = flat(p.grad for p in params[_k])
            return real[_k](*a, **kw)
        o.step = spy
    losses = step()
    for k,o in opts.items(): o.step = real[k]
    return seen, losses

def agree(a, cfg, wav):
    "Relative difference of the gradients, and of the losses, at three steps from the same weights"
    s, o = new_state(cfg, a.device), official.Official(a.code, cfg, a.device)
    for i in range(3):
        o.start_from(s)
        ours, mine = gradients(lambda: train_step([wav], s), dict(g=s.opt_g, d=s.opt_d),
                               dict(g=list(s.generator.parameters()), d=s.disc_params()))
        params = dict(g=list(o.generator.parameters()), d=[*o.mpd.parameters(), *o.msd.parameters()])
        theirs, their = gradients(lambda: o.step(wav), dict(g=o.optim_g, d=o.optim_d), params)
        diff = {k: ((ours[k]-theirs[k]).norm()/theirs[k].norm()).item() for k in ours}
        loss = {k: abs(mine[k].item()-their[k].item()) for k in their}
        print(f'  step {i}: gradients of G {diff["g"]:.1e}, of D {diff["d"]:.1e} (relative); losses '
              + ', '.join(f'{k} {v:.1e}' for k,v in loss.items()), flush=True)

def parts(o, s, wav):
    "The parts of the step, by name: (official, ours)"
    h = o.h
    mel, fake0 = s.logmel(wav), s.generator(s.logmel(wav)).detach()
    grad = torch.randn_like(fake0)
    def g_official(): o.generator(mel).backward(grad)
    def g_ours():
        with weights_once(s.generator): y = s.generator(mel)
        y.backward(grad)
    def d_official(m):
        fake, k = fake0.clone().requires_grad_(), o.code.models
        r, g, _, _ = m(wav, fake.detach())
        k.discriminator_loss(r, g)[0].backward()
        _, g, fr, fg = m(wav, fake)
        (k.generator_loss(g)[0]+k.feature_loss(fr, fg)).backward()
    def d_ours(m):
        fake = fake0.clone().requires_grad_()
        with weights_once(m): loss = disc_loss(m(wav)[0], m(fake.detach())[0])
        loss.backward()
        m.requires_grad_(False)
        with weights_once(m):
            with torch.no_grad(): fr = m(wav)[1]
            sf, ff = m(fake)
        (gen_loss(sf)+2*feature_loss(fr, ff)).backward()
        m.requires_grad_(True)
    def mel_official():
        fake = fake0.clone().requires_grad_()
        o.mel(wav, h.fmax)
        torch.nn.functional.l1_loss(o.mel(wav, h.fmax_for_loss), o.mel(fake, h.fmax_for_loss)).backward()
    def mel_ours():
        fake = fake0.clone().requires_grad_()
        s.logmel(wav)
        mel_loss(s.logmel_loss, wav, fake).backward()
    def opt_official():
        o.optim_d.step()
        o.optim_g.step()
    def opt_ours():
        s.opt_d.step()
        s.opt_g.step()
    mpd, msd = s.discriminators.values()
    return {'generator': (g_official, g_ours),
            'MPD': (lambda: d_official(o.mpd), lambda: d_ours(mpd)),
            'MSD': (lambda: d_official(o.msd), lambda: d_ours(msd)),
            'mel': (mel_official, mel_ours), 'optimisers': (opt_official, opt_ours)}

def peak_rss():
    line = next(l for l in Path('/proc/self/status').read_text().splitlines() if l.startswith('VmHWM'))
    return int(line.split()[1])/1024

def memory(a):
    "Peak of a process that does nothing but two steps, beyond that of one that has only the models"
    for name in ('official', 'ours'):
        args = [sys.executable, __file__, a.checkout, '--preset', a.preset, '--batch_size', str(a.batch_size),
                '--threads', str(a.threads), '--device', str(a.device), '--memory_of', name]
        print('  '+subprocess.run(args, capture_output=True, text=True, check=True).stdout.strip(), flush=True)

def memory_of(a, cfg, wav):
    s = new_state(cfg, a.device)
    o = official.Official(a.code, cfg, a.device) if a.memory_of=='official' else None
    step = (lambda: o.step(wav)) if o else (lambda: train_step([wav], s))
    before = peak_rss()
    for _ in range(2): step()
    print(f'{a.memory_of}: {torch.cuda.max_memory_allocated()/2**20:.0f} MiB on the GPU'
          if a.device.type=='cuda'
          else f'{a.memory_of}: {peak_rss()-before:.0f} MiB above the models ({before:.0f} MiB)')

def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('checkout', help='clone of github.com/jik876/hifi-gan')
    p.add_argument('--preset', default='V2')
    p.add_argument('--batch_size', type=int, default=2)
    p.add_argument('--repeats', type=int, default=7)
    p.add_argument('--threads', type=int, default=1)
    p.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu')
    p.add_argument('--precision', nargs='+', default=['fp32', 'bf16'], choices=list(DTYPES))
    p.add_argument('--memory_of', choices=['official', 'ours'], help=argparse.SUPPRESS)
    a = p.parse_args()
    warnings.filterwarnings('ignore', category=FutureWarning)
    torch.set_num_threads(a.threads)
    a.device, a.code = torch.device(a.device), official.load(a.checkout)
    cfg = replace(preset(a.preset), batch_size=a.batch_size)
    wav = batch(cfg, a.device)
    if a.memory_of: return memory_of(a, cfg, wav)
    print(f'{a.preset}, batch {a.batch_size}, segment {cfg.segment_size}, {a.device}, {a.threads} thread(s), '
          f'torch {torch.__version__}\n\nAgreement with the official code:')
    agree(a, cfg, wav)
    o = official.Official(a.code, cfg, a.device)
    states = {p: new_state(cfg, a.device, p) for p in a.precision}
    o.start_from(states[a.precision[0]])
    ours = {f'ours, {p}': (lambda s=s: train_step([wav], s)) for p,s in states.items()}
    steps = {'official': lambda: o.step(wav)} | ours
    if a.device.type=='cuda':
        half = official.Official(a.code, cfg, a.device)
        steps['official in autocast bf16'] = lambda: half.step(wav, autocast=torch.bfloat16)
    print('\nWhole step:')
    table(interleaved(steps, a.repeats, a.device), 'official')
    print('\nParts, fp32:')
    for name,(theirs, ours) in parts(o, new_state(cfg, a.device), wav).items():
        table(interleaved({f'{name}, official': theirs, f'{name}, ours': ours}, a.repeats, a.device),
              f'{name}, official')
    print('\nMemory:')
    memory(a)

if __name__=='__main__': main()

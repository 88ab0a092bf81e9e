"""What it costs to see the pseudo-inverse mel: generators with mel_input mel, pim and mel+pim, in turns in one process.

    python benchmarks/mel_input.py [--preset V2] [--batch_size 2] [--repeats 7] [--seconds 5] [--threads 1]
                                  [--no_step]

Printed: the whole training step, the generator's share of it (forward and backward), and RTF (seconds of computing for
a second of sound) of the engines for a CPU; medians, quartiles, and ratios to mel. A ratio below 1 is slower. Counted
is the processor time of this process, to which programs beside it add little; absolute times hold for this machine."""
import argparse, statistics, sys, time
from dataclasses import replace
from pathlib import Path
import torch
sys.path.insert(0, str(Path(__file__).parent))
from hifigan_ruslan.config import preset
from hifigan_ruslan.generator import count_params, random_generator, remove_weight_norm, weights_once
from hifigan_ruslan.step import new_state, train_step
from hifigan_ruslan.vocoder import Vocoder
from inference import speech
from train_step import batch, table

SEEN = 'mel', 'pim', 'mel+pim'

def in_turns(functions, repeats):
    "Processor seconds of each call, round by round; one round more, to warm up, is not counted"
    times = {k: [] for k in functions}
    for i in range(repeats+1):
        for k,f in functions.items():
            begin = time.process_time()
            f()
            if i: times[k].append(time.process_time()-begin)
    return times

def pass_of(generator, mel):
    "Forward and backward, as in a step"
    def f():
        with weights_once(generator): generator(mel).square().mean().backward()
    return f

def steps(cfgs, wav, repeats):
    "The whole step, and the generator's share"
    states = {o: new_state(c) for o,c in cfgs.items()}
    print('\nWhole step:')
    table(in_turns({o: (lambda s=s: train_step([wav], s)) for o,s in states.items()}, repeats), 'mel')
    mel = states['mel'].logmel(wav)
    print('\nGenerator in it, forward and backward:')
    table(in_turns({o: pass_of(s.generator, mel) for o,s in states.items()}, repeats), 'mel')

def engines(cfgs, mel, a):
    "RTF of the engines for a CPU"
    for engine,precision in (('fast','fp32'), ('fast','bf16'), ('torch','fp32'), ('onnx','fp32')):
        voices = {o: Vocoder(c, random_generator(c), engine=engine, precision=precision) for o,c in cfgs.items()}
        times = in_turns({o: (lambda v=v: v.vocode(mel)) for o,v in voices.items()}, a.repeats)
        rtf = ', '.join(f'{o} {statistics.median(t)/a.seconds:.4f}' for o,t in times.items())
        print(f'\n{engine} {precision}, {a.seconds:g} s: RTF {rtf}')
        table(times, 'mel')

def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--preset', default='V2')
    p.add_argument('--batch_size', type=int, default=2)
    p.add_argument('--repeats', type=int, default=7)
    p.add_argument('--seconds', type=float, default=5)
    p.add_argument('--threads', type=int, default=1)
    p.add_argument('--no_step', action='store_true', help='only the engines')
    a = p.parse_args()
    torch.set_num_threads(a.threads)
    base = replace(preset(a.preset), batch_size=a.batch_size)
    cfgs = {o: replace(base, mel_input=o) for o in SEEN}
    weights = {o: count_params(remove_weight_norm(random_generator(c))) for o,c in cfgs.items()}
    print(f'{a.preset}, batch {a.batch_size}, {a.threads} thread(s), torch {torch.__version__}; weights: '
          + ', '.join(f'{o} {n:,}' for o,n in weights.items()))
    if not a.no_step: steps(cfgs, batch(base, torch.device('cpu')), a.repeats)
    engines(cfgs, speech(base, a.seconds), a)

if __name__=='__main__': main()

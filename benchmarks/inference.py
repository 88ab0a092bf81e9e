"""Speed of inference: our engines, the official eager code, onnxruntime and OpenVINO, interleaved in one process,
and what they cost in accuracy, memory, delay.

    python benchmarks/inference.py CHECKOUT [--models V1 V2 V3] [--seconds 1 5 15] [--rounds 5] [--threads 1]
                                            [--checkpoint BEST.PT]

CHECKOUT is a folder with github.com/jik876/hifi-gan. The weights are random, each layer scaled so that the signal
neither fades nor grows, or those of a trained checkpoint; the mel is that of the packaged clips. OpenVINO runs if
it is installed (pip install openvino). Printed for each length: RTF (seconds of computing for a second of sound,
median of the rounds), `first` (the first call, which compiles what is new at this length), the ratio to the
official code, the signal-to-noise ratio against it, the share of the fastest convolution that this processor was
seen to do; then the delay of a stream, and the peak memory above the loaded model and the wave at 15 s and at 60 s,
median of three processes (Linux)."""
import os
# many engines in one process would evict each other's compiled convolutions; set before torch
os.environ['ONEDNN_PRIMITIVE_CACHE_CAPACITY'] = '16384'
import argparse, contextlib, io, subprocess, sys, tempfile, time, warnings
from pathlib import Path
from statistics import median
import torch, torch.nn.functional as F
import official
from hifigan_ruslan.config import official_dict, preset
from hifigan_ruslan.model.reading import open_checkpoint
from hifigan_ruslan.generator import random_generator
from hifigan_ruslan.mel import LogMel
from hifigan_ruslan.inference.onnx import export_onnx
from hifigan_ruslan.base.audio import read_wav, wav_at
from hifigan_ruslan.vocoder import Vocoder
from hifigan_ruslan.model.weights import old_names

CLIPS = sorted((Path(__file__).parent.parent/'hifigan_ruslan'/'clips').glob('*.flac'))

def model(name, checkpoint=None):
    "Config and weights of a preset, random, or of a checkpoint"
    return open_checkpoint(checkpoint) if checkpoint else (preset(name), random_generator(preset(name)).state_dict())

def speech(cfg, seconds):
    "A mel of the packaged clips, of this length"
    wav = torch.cat([torch.from_numpy(wav_at(*read_wav(p), cfg.sample_rate)) for p in CLIPS])
    mel, n = LogMel(cfg)(wav[None])[0], round(seconds*cfg.sample_rate/cfg.hop_length)
    return mel.repeat(1, -(-n//mel.shape[1]))[:,:n].contiguous()

def flops(cfg, seconds):
    "Multiplications and additions of a generator"
    total, ch, length = 0, cfg.upsample_initial_channel, round(seconds*cfg.sample_rate/cfg.hop_length)
    total += 2*length*cfg.input_bands*ch*7
    for u,k in zip(cfg.upsample_rates, cfg.upsample_kernel_sizes):
        total += 2*length*ch*(ch//2)*k
        ch, length = ch//2, length*u
        per_pair = 2 if cfg.resblock=='1' else 1
        blocks = zip(cfg.resblock_kernel_sizes, cfg.resblock_dilation_sizes)
        total += sum(2*length*ch*ch*rk*len(d)*per_pair for rk,d in blocks)
    return total+2*length*ch*7

def peak(dtype):
    "Floating-point operations in a second of the best of some convolutions of the generator's shapes"
    best = 0
    for c,k,t in ((512,3,1024), (256,7,2048), (128,7,4096), (64,7,8192), (32,11,16384)):
        x, w = (torch.randn(*s).to(dtype).contiguous(memory_format=torch.channels_last) for s in ((1,c,1,t), (c,c,1,k)))
        with torch.inference_mode():
            for i in range(8):
                begin = time.perf_counter()
                F.conv2d(x, w, padding=(0,k//2))
                best = max(best, 2*t*c*c*k/(time.perf_counter()-begin))
    return best

def theirs(code, cfg, state):
    "The official generator, as its inference.py runs it"
    # its weight norm is deprecated, and it says what it removes
    with warnings.catch_warnings(action='ignore'), contextlib.redirect_stdout(io.StringIO()):
        g = official.ready(code, official_dict(cfg), old_names(state))
    def f(mel):
        with torch.no_grad(): return g(mel[None])[0]
    return f

def openvino(cfg, state, threads):
    "OpenVINO in fp32, from the ONNX file that we export; None where it is not installed"
    try: import openvino as ov
    except ImportError: return None
    with tempfile.TemporaryDirectory() as folder:
        hints = dict(INFERENCE_PRECISION_HINT='f32', INFERENCE_NUM_THREADS=threads, PERFORMANCE_HINT='LATENCY')
        net = ov.Core().compile_model(export_onnx(cfg, state, Path(folder)/'a.onnx'), 'CPU', hints)
    return lambda mel: torch.from_numpy(net(mel[None].numpy())[0][0].copy())

def compare(code, name, seconds, rounds, peaks, checkpoint):
    "One length of one model: a line for each engine"
    cfg, state = model(name, checkpoint)
    mel = speech(cfg, seconds)
    ours = {f'{e} {p}': Vocoder(cfg, state, engine=e, precision=p).vocode
            for e,p in (('torch','fp32'), ('fast','fp32'), ('fast','bf16'), ('onnx','fp32'))}
    engines = {k: f for k,f in ({'official': theirs(code, cfg, state)} | ours
                                | {'openvino fp32': openvino(cfg, state, torch.get_num_threads())}).items() if f}
    waves, first, times = {}, {}, {k: [] for k in engines}
    for k,f in engines.items():
        begin = time.perf_counter()
        waves[k] = f(mel)
        first[k] = time.perf_counter()-begin
    for _ in range(rounds):
        for k,f in engines.items():
            begin = time.perf_counter()
            f(mel)
            times[k].append(time.perf_counter()-begin)
    want, base = waves['official'], median(times['official'])
    for k,t in times.items():
        noise = (waves[k]-want).pow(2).mean().item()
        snr = f'{10*torch.log10(want.pow(2).mean()/noise).item():6.1f} dB' if noise else '  equal'
        spread = (max(t)-min(t))/median(t)
        mel_l1 = (LogMel(cfg)(waves[k])-LogMel(cfg)(want)).abs().mean().item()
        print(f'{name} {seconds:>4g} s  {k:<13} RTF {median(t)/seconds:.4f} (first {first[k]/seconds:.4f})  '
              f'ratio {base/median(t):5.2f}  {snr}  log-mel L1 {mel_l1:.4f}  '
              f'{flops(cfg, seconds)/median(t)/peaks["bf16" in k]:4.0%} of peak  spread {spread:.0%}', flush=True)

def delay(name, precision, checkpoint, chunk=8, seconds=4):
    "A stream of `chunk` frames: computing until the first sound, and RTF"
    cfg, state = model(name, checkpoint)
    v, mel = Vocoder(cfg, state, precision=precision), speech(cfg, seconds)
    for _ in range(2): # the first time compiles the convolutions
        begin, first = time.perf_counter(), None
        for w in v.stream(mel.split(chunk, -1)): first = first or time.perf_counter()-begin
        total = time.perf_counter()-begin
    print(f'{name} stream of {chunk} frames, {precision}: first sound after {first*1e3:.0f} ms of computing, '
          f'RTF {total/seconds:.3f}', flush=True)

def memory(name, seconds, precision):
    "In a process of its own: peak memory above the loaded model and the wave, MiB"
    cfg, state = model(name)
    v, mel = Vocoder(cfg, state, precision=precision), speech(cfg, seconds)
    v.vocode(mel[:,:20])
    Path('/proc/self/clear_refs').write_text('5') # the peak begins anew
    before = _kib('VmRSS')
    wav = v.vocode(mel)
    print((_kib('VmHWM')-before)/1024-wav.nbytes/2**20)

def _kib(key):
    return int(next(l for l in Path('/proc/self/status').read_text().splitlines() if l.startswith(key)).split()[1])

def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('checkout', help='folder of the official repository')
    p.add_argument('--models', nargs='+', default=['V1','V2','V3'])
    p.add_argument('--seconds', nargs='+', type=float, default=[1,5,15,60])
    p.add_argument('--rounds', type=int, default=5)
    p.add_argument('--threads', type=int, default=1)
    p.add_argument('--checkpoint', help='a trained model of one of --models, in place of random weights')
    p.add_argument('--memory', nargs=3, help=argparse.SUPPRESS)
    a = p.parse_args()
    torch.set_num_threads(a.threads)
    if a.memory: return memory(a.memory[0], float(a.memory[1]), a.memory[2])
    if a.checkpoint and len(a.models)!=1: p.error('--checkpoint is one model: say which, --models V1')
    code, peaks = official.load(a.checkout), [peak(torch.float32), peak(torch.bfloat16)]
    print(f'torch {torch.__version__}, {a.threads} thread(s); best convolution: '
          f'fp32 {peaks[0]/1e9:.0f}, bf16 {peaks[1]/1e9:.0f} GFLOP/s')
    for name in a.models:
        for s in a.seconds: compare(code, name, s, a.rounds, peaks, a.checkpoint)
        for precision in ('fp32','bf16'):
            delay(name, precision, a.checkpoint)
            def peak_mib(s):
                cmd = [sys.executable, __file__, a.checkout, '--threads', str(a.threads),
                       '--memory', name, str(s), precision]
                return float(subprocess.run(cmd, capture_output=True, text=True, check=True).stdout)
            mib = [median(peak_mib(s) for _ in range(3)) for s in (15,60)]
            print(f'{name} {precision}: peak memory above model and wave {mib[0]:.0f} MiB at 15 s, '
                  f'{mib[1]:.0f} MiB at 60 s ({mib[1]/max(mib[0], 1):.2f} x)', flush=True)

if __name__=='__main__': main()

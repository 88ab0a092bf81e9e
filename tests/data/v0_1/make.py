"""Makes the files beside it. Needs version 0.1 of hifigan_ruslan (commit 92a7387), whose modules had other names:

    PYTHONPATH=CHECKOUT_OF_0_1 python make.py FOLDER"""
import shutil, sys
from dataclasses import replace
from pathlib import Path
import numpy as np, torch
from hifigan_ruslan.blind import Session, make_test
from hifigan_ruslan.config import TINY
from hifigan_ruslan.data import prepare, synth_corpus
from hifigan_ruslan.exchange import export
from hifigan_ruslan.train import fit
from hifigan_ruslan.vocoder import Vocoder

TOY = replace(TINY, upsample_initial_channel=16, disc_shrink=32, segment_size=1024, batch_size=2,
              valid_every=2, valid_clips=1, save_every_epochs=100, mpd_periods=(3,), msd_scales=1)
MRD = replace(TOY, disc='mpd+mrd', mel_loss='multiscale', lambda_mel=6.5, mel_warmup=1, adv_ramp=2)
RUNS = dict(run=TOY, run_mrd=MRD)

def train(data, out, name, cfg, work):
    "Four steps, which are kept, and what two more would make of them"
    how = dict(device='cpu', precision='fp32', view='lines', log_every=1)
    fit(data, out/name, cfg, steps=4, **how)
    shutil.copytree(out/name, work/name)
    s = fit(data, work/name, cfg, steps=6, **how)
    weights = torch.cat([p.detach().flatten() for p in [*s.generator.parameters(), *s.disc_params()]]).numpy()
    return {f'{name}_6': weights, f'{name}_mel_l1': s.best}

def export_all(run, out):
    "The generator in every format"
    (out/'onnx').mkdir()
    export(run, out/'voice')
    export(run, out/'half', 'safetensors-fp16')
    export(run, out/'onnx'/'voice.onnx')
    export(run, out/'official'/'g_4', 'official')

def rate(folder, rng):
    "A listening test, and one answer of one listener"
    n = rng.normal(0, .1, 8000)
    systems = dict(one=dict(a=n, b=n*.5), two=dict(a=n+.02*rng.normal(0, 1, 8000), b=n*.4))
    Session(make_test(folder, 'abx', systems, ['a','b'], 8000), 'x').answer('A')

def main(out):
    torch.set_num_threads(1)
    out.mkdir(parents=True)
    work = out.with_name(out.name+'_work')
    corpus = synth_corpus(work/'corpus', n=6, seconds=.6, sample_rate=22050)
    data = prepare(corpus, out/'data', valid=.2, test=.2, progress=False)
    expected = {k: v for name,cfg in RUNS.items() for k,v in train(data, out, name, cfg, work).items()}
    export_all(out/'run', out)
    rng = np.random.default_rng(0)
    expected['mel'] = rng.normal(-5, 2, (80,12)).astype('float32')
    expected['wav'] = np.asarray(Vocoder.load(out/'run').vocode(expected['mel']))
    rate(out/'blind', rng)
    np.savez_compressed(out/'expected.npz', **expected)
    for pattern in ('*.png', '.lock', 'events*', 'best.pt'):
        for p in out.rglob(pattern): p.unlink()

if __name__=='__main__': main(Path(sys.argv[1]))

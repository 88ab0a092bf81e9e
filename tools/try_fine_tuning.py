"""Short trials of ways to fine-tune the voice `universal`, good and bad ones, measured on the way.

    python tools/try_fine_tuning.py WAVS WORK --ruslan FOLDER TRIAL [TRIAL ...]

WAVS and WORK are those of tools/tune_voice.py. Each trial trains V1 on festvox-ru with discriminators at an eighth
of their channels and batches of 4, and is measured at some steps of the generator on twelve pieces of three seconds
that were not trained on, and on the beginnings of the RUSLAN recordings in FOLDER (of which only numbers are
written). The rows are appended to nbs/runs/fine_tune/trials.csv, which nbs/57_fine_tune.ipynb shows. On two cores a
trial takes a quarter of an hour."""
import argparse, csv, time
from dataclasses import replace
from pathlib import Path
import numpy as np, torch
from hifigan_ruslan.config import V1, fine_tuning
from hifigan_ruslan.checkpoint import init_weights
from hifigan_ruslan.data import SegmentDataset
from hifigan_ruslan.data import SpeechData
from hifigan_ruslan.dataset.prepare import prepare
from hifigan_ruslan.model.reading import start_weights
from hifigan_ruslan.mel import LogMel
from hifigan_ruslan.metrics import dnsmos, hf_error_db, mel_l1, pesq_wb
from hifigan_ruslan.base.audio import read_wav, wav_at
from hifigan_ruslan.step import new_state, train_step
from hifigan_ruslan.train import advance, epoch_batches
from train_voice import link

OUT = Path(__file__).parent.parent/'nbs/runs/fine_tune/trials.csv'
SMALL = dict(batch_size=4, disc_shrink=8)
TRIALS = { # name -> (numbers, steps in which only the discriminators learn)
    # the official rates, both networks from the first step
    'at once': (replace(V1, **SMALL), 0),
    # no discriminators at all
    'mel alone': (replace(fine_tuning(V1), mel_warmup=10**9, **SMALL), 0),
    # discriminators that hear, with all their weight, at the official rates
    'no ramp': (replace(V1, **SMALL), 500),
    # as hifigan-train --init universal
    'default': (replace(fine_tuning(V1), **SMALL), 500)}
LOOKS = 20, 50, 100, 200, 400 # Steps of the generator
COLUMNS = 'trial step part weights mel_l1 mel_l1_8k pesq dnsmos hf_db seconds'.split()

def pieces(paths, begin, seconds, rate=V1.sample_rate):
    "Pieces of recordings, cut to whole frames"
    out = [wav_at(*read_wav(p), rate)[round(begin*rate):round((begin+seconds)*rate)] for p in paths]
    return [w[:len(w)//V1.hop_length*V1.hop_length] for w in out]

def measured(generator, waves, logmel):
    "Means of the numbers over the pieces"
    rows = []
    for real in waves:
        with torch.no_grad(): fake = generator(logmel(torch.from_numpy(real)[None,None]))[0,0].numpy()
        rows.append([mel_l1(real, fake), mel_l1(real, fake, fmax=8000.), pesq_wb(real, fake), dnsmos(fake),
                     hf_error_db(real, fake)])
    return dict(zip(COLUMNS[4:9], np.mean(rows, 0).tolist()))

def trial(name, data, parts, write):
    "Train one trial and write its rows"
    cfg, warmup = TRIALS[name]
    s = new_state(cfg)
    init_weights(s, start_weights('universal'))
    s.hold_g, ds = warmup, SegmentDataset(data, cfg.segment_size, cfg.seed)
    begin, end = time.monotonic(), warmup+LOOKS[-1]
    while s.step<end:
        for batches in epoch_batches(s, ds):
            train_step(batches, s)
            advance(s, len(ds))
            if s.step-warmup not in LOOKS: continue
            for kind,g in (('ema', s.ema), ('raw', s.generator)):
                g.eval()
                for part,waves in parts.items():
                    write(dict(trial=name, step=s.step-warmup, part=part, weights=kind,
                               seconds=round(time.monotonic()-begin)) | measured(g, waves, s.logmel))
                g.train()
            if s.step>=end: break

def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('wavs', type=Path, help='folder with the 620 recordings of festvox-ru')
    p.add_argument('work', type=Path, help='folder to work in')
    p.add_argument('trials', nargs='+', choices=list(TRIALS), metavar='TRIAL', help=', '.join(TRIALS))
    p.add_argument('--ruslan', type=Path, required=True, help='folder with recordings of RUSLAN')
    a = p.parse_args()
    link(a.wavs, a.work)
    if not (a.work/'data'/'dataset.json').is_file():
        prepare(a.work/'train', a.work/'data', sample_rate=V1.sample_rate, test=0.)
    data = SpeechData.open(a.work/'data')
    unheard = {u.id for part in ('valid', 'guard') for u in data.split(part)}
    parts = dict(festvox=pieces([p for p in sorted((a.work/'train').iterdir()) if p.stem in unheard], .5, 3.),
                 ruslan=pieces(sorted(a.ruslan.glob('*.wav')), 0., 3.))
    OUT.parent.mkdir(parents=True, exist_ok=True)
    new = not OUT.exists()
    with open(OUT, 'a', newline='', encoding='utf-8') as f:
        w = csv.DictWriter(f, COLUMNS, lineterminator='\n')
        def write(row):
            w.writerow({k: f'{v:.4g}' if isinstance(v, float) else v for k,v in row.items()})
            f.flush()
        if new:
            w.writeheader()
            g = new_state(TRIALS['default'][0])
            init_weights(g, start_weights('universal'))
            for part,waves in parts.items():
                write(dict(trial='start', step=0, part=part, weights='ema', seconds=0)
                      | measured(g.ema.eval(), waves, LogMel(V1)))
        for name in a.trials: trial(name, data, parts, write)

if __name__=='__main__': main()

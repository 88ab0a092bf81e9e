"""How much of a fine-tuned generator, and how much of the one that it began from? Averages of both, measured.

    python tools/share_table.py RUN RECORDINGS [--start universal] [--shares 0 .15 .3 .45 .6 1]

RUN is a checkpoint or the folder of a run, RECORDINGS a folder of sounds that it has not heard. Written is
nbs/runs/fine_tune/shares.csv, a row for each share and recording, which nbs/57_fine_tune.ipynb shows.
`hifigan-export RUN OUT --blend universal --share .3` makes such an average."""
import argparse, csv
from pathlib import Path
import numpy as np
from hifigan_ruslan.evaluation.systems import eval_clips
from hifigan_ruslan.metrics import dnsmos, mel_l1, pesq_wb
from hifigan_ruslan.model.reading import open_checkpoint
from hifigan_ruslan.model.weights import blend_weights
from hifigan_ruslan.vocoder import Vocoder

OUT = Path(__file__).parent.parent/'nbs/runs/fine_tune/shares.csv'
COLUMNS = 'share clip mel_l1 pesq dnsmos'.split()

def measured(vocoder, share, clips, cfg):
    "A row for each recording"
    for clip in clips:
        wav = clip.wav(cfg.sample_rate)
        made = np.asarray(vocoder.resynthesize(wav, cfg.sample_rate)).ravel()
        n = min(len(wav), len(made))
        pair = wav[:n], made[:n]
        numbers = mel_l1(*pair, cfg), pesq_wb(*pair, cfg.sample_rate), dnsmos(made[:n], cfg.sample_rate)
        yield dict(zip(COLUMNS, (share, clip.name, *(f'{v:.4f}' for v in numbers))))

def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('run', type=Path)
    p.add_argument('recordings', type=Path)
    p.add_argument('--start', default='universal', help='what the run began from')
    p.add_argument('--shares', type=float, nargs='+', default=[0, .15, .3, .45, .6, 1],
                   help='of the run in the average')
    a = p.parse_args()
    cfg, start = open_checkpoint(a.start)
    end = open_checkpoint(a.run)[1]
    clips = eval_clips(a.recordings)
    with open(OUT, 'w', encoding='utf-8', newline='') as f:
        table = csv.DictWriter(f, COLUMNS, lineterminator='\n')
        table.writeheader()
        for share in a.shares:
            vocoder = Vocoder(cfg, blend_weights(cfg, start, end, share) if share else start)
            rows = list(measured(vocoder, share, clips, cfg))
            table.writerows(rows)
            f.flush()
            print(share, *(f'{k} {np.mean([float(r[k]) for r in rows]):.3f}' for k in COLUMNS[2:]), flush=True)

if __name__=='__main__': main()

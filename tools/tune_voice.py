"""Fine-tune the voice `universal` on the recordings of Debian's festvox-ru: the same clips, numbers and seed each
time.

    python tools/tune_voice.py WAVS WORK [--hours 2] [--precision bf16] [--config FILE]

WAVS is the folder with the 620 recordings (tools/train_voice.py says where they come from). 20 of them are kept out
of everything, in WORK/held_out; 600 are trained on. These hold nothing above 7 kHz, and a voice that hears nothing
else unlearns what it does there. So every third of them is there once more, played 1.5 times as fast: the speech of
a smaller person, with sound up to 10.5 kHz. All of it is prepared in WORK/data_mixed. Started again, it goes on
where it was. nbs/runs/fine_tune/config.json has the numbers: those of `hifigan-train --init universal` with batches
of 4 and discriminators at an eighth of their channels. For a GPU give --config with others."""
import argparse
from pathlib import Path
from hifigan_ruslan.config import load_config
from hifigan_ruslan.model.reading import start_weights
from hifigan_ruslan.train import fit
from train_voice import mixed_data

CONFIG = Path(__file__).parent.parent/'nbs/runs/fine_tune/config.json'

def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('wavs', type=Path, help='folder with the 620 recordings of festvox-ru, WAV or FLAC')
    p.add_argument('work', type=Path, help='folder to work in')
    p.add_argument('--config', type=Path, default=CONFIG)
    p.add_argument('--init', default='universal', help='voice, folder or file to start from')
    p.add_argument('--steps', type=int, default=3500)
    p.add_argument('--hours', type=float, help='stop within so much time, and go on at the next start')
    p.add_argument('--precision', help='fp32, bf16 or fp16; default: what suits the device')
    a = p.parse_args()
    fit(mixed_data(a.wavs, a.work), a.work/'tuned', load_config(a.config), steps=a.steps, hours=a.hours,
        precision=a.precision, init=start_weights(a.init))

if __name__=='__main__': main()

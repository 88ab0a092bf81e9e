"""Make a small packaged voice of a run of tools/train_voice.py, measure it, and write what the documentation shows
of it.

    python tools/ship_voice.py work --about 'A LIGHT after 30,000 steps ...' [--name festvox-ru-light]
                               [--checkpoint last.pt] [--ruslan FOLDER]

NAME is festvox-ru-light, stored in half precision, or festvox-ru-v2.
WORK is the folder of tools/train_voice.py. The weights are the moving average of its best checkpoint, by mel L1, or
of the one that --checkpoint names. Measured are the 20 held-out recordings and, if given, other recordings
(--ruslan: never committed, only their numbers), each beside Griffin-Lim with 60 iterations and, for the light one,
`universal`. Written are hifigan_ruslan/voices/NAME with its model card, and in nbs/runs/voice or nbs/runs/light the
rows of both evaluations, every fifth row of the log, one sentence at several moments of the training and, where it
had them, the last discriminators in fp16. Printed
is the SHA-256 of model.safetensors, which belongs into VOICES of nbs/25_voices.ipynb: only a file that has it is
loaded."""
import argparse, csv, hashlib, shutil
from pathlib import Path
from typing import NamedTuple
import soundfile as sf
from safetensors.torch import save_file
from hifigan_ruslan.config import load_config
from hifigan_ruslan.eval import evaluate, summary
from hifigan_ruslan.model.reading import open_checkpoint
from hifigan_ruslan.inference.hub import export_folder
from hifigan_ruslan.metrics import METRICS
from hifigan_ruslan.base.audio import read_wav, wav_at
from hifigan_ruslan.evaluation.systems import GriffinLim, Original, TrainedGenerator, eval_clips
from hifigan_ruslan.vocoder import Vocoder
from hifigan_ruslan.model.weights import read_checkpoint

ROOT = Path(__file__).parent.parent
FOLDERS = ROOT/'hifigan_ruslan/voices'
SHOWN = 'pesq stoi dnsmos mel_l1 mel_l1_8k mcd f0_cents vuv_f1 periodicity level_db hf_db rtf'.split()
# The sentence that is heard at several moments: held out, without its silence
CLIP, BEGIN, SECONDS, MOMENTS = 'ru_0058', .4, 3., 6

class Kind(NamedTuple):
    "What differs between the two small voices"
    runs:str # Folder for the documentation
    half:bool # Are the weights stored in half precision?
    beside:tuple # Voices that it is measured beside
    data:str # For the card
    sound:str

def measure(name, kind, recordings, cfg, out, best=None):
    "Rows for the voice, those beside it and, if given, the checkpoint with the best mel L1, on whole recordings"
    systems = [Original(), TrainedGenerator(FOLDERS/name, name), *(TrainedGenerator(n, n) for n in kind.beside),
               GriffinLim(cfg, n_iter=60, name='griffin-lim')]
    if best: systems.append(TrainedGenerator(best, 'best-mel-l1'))
    return evaluate(systems, eval_clips(recordings), cfg, out, workers=2)

def table(names, rows):
    "Means with half of their intervals, in Markdown"
    means = summary(rows)
    def cell(v, digits): return f'{v[0]:.{digits}f} ± {(v[2]-v[1])/2:.{digits}f}' if v else '-'
    heads = {k: (f'{m.title} ({m.unit})' if m.unit else m.title, m.better,
                 m.digits) for k,m in METRICS.items()} | {'rtf': ('RTF, one thread', 'lower', 3)}
    lines = ['| | best | ' + ' | '.join(names) + ' |', '|---'*(len(names)+2) + '|']
    for k in SHOWN:
        title, better, digits = heads[k]
        lines.append(f'| {title} | {better} | '
                     + ' | '.join(cell(means[s].get(k), digits) for s in names) + ' |')
    return '\n'.join(lines)

KINDS = {
    'festvox-ru-v2': Kind('voice', False, (), (
        'They were recorded at 16 kHz and hold nothing above some 7 kHz. This model has learnt silence there, so '
        'whatever it vocodes sounds dull.'), (
        'Most words can be understood; the voice is hoarse. It is far from a HiFi-GAN that was trained on a GPU for '
        'days, and Griffin-Lim is ahead of it in all of these numbers but speed. It is there for a first sound and for '
        'examples.')),
    'festvox-ru-light': Kind('light', True, ('universal',), (
        'They were recorded at 16 kHz and hold nothing above some 7 kHz. So that it does not learn silence there, 71 '
        'of them have a **synthetic** band above 6.7 kHz, which the voice `universal` made of their mels '
        '(`tools/full_band.py`), and every third was there once more, played 1.5 times as fast: the speech of a '
        'smaller person, with sound up to 10.5 kHz.'), (
        'It is no HiFi-GAN: it works on frames, takes the phases of voiced sounds from a train of pulses with the '
        'pitch that it reads from the mel, and was trained by the mel loss alone, without discriminators. So it is'
        ' very fast and small. Its noises (s, sh, breath) are smoother than real ones, and above 8 kHz, where the '
        'mel says nothing, they are guessed; a vowel that is held for more than two seconds turns '
        'hoarse, and two voices at once have one pitch. Other voices than this reader and a man of RUSLAN were not'
        ' measured: for them, and where size does not count, `universal-ru` and `universal` are safer.'))}

def card(name, about, rows, others):
    "What a reader of the model card should know"
    kind, (n, m) = KINDS[name], (len({r['clip'] for r in o}) for o in (rows, others))
    names = [name, *kind.beside, 'griffin-lim']
    where = f'On {m} recordings of RUSLAN, another man in another room, with sound up to 11 kHz:'
    beyond = f'\n\n{where}\n\n{table(names, others)}' if others else ''
    return f"""{about}

**Data.** 600 recordings, 1.6 hours, of festvox-ru: one male reader, Nickolay V. Shmyrev, reads A. N. Tolstoy's "Aelita". {kind.data}

**How good it is.** Whole utterances, mean and half of the 95 % interval; Griffin-Lim has 60 iterations and the same mels. On the {n} held-out recordings:

{table(names, rows)}{beyond}

{kind.sound}

**Again.** `tools/train_voice.py` in the repository of hifigan_ruslan trains it, `tools/ship_voice.py` wrote this card.

**Notice.** The recordings are copyright (c) 2005 Nickolay V. Shmyrev, all rights reserved, under a BSD-like licence: use, modification and distribution without restriction, with this notice, with changes marked, without the author's name as an endorsement. The full text lies in `clips/README.txt` of the package. What was changed: a network was trained on the recordings; they are not in this file."""

def into_table(name, rows, table):
    "Put the rows of a voice into the table of all voices (nbs/56_ruslan.ipynb), in place of its earlier ones"
    with open(table, newline='', encoding='utf-8') as f: others = [r for r in csv.DictReader(f) if r['system']!=name]
    with open(rows, newline='', encoding='utf-8') as f: mine = [r for r in csv.DictReader(f) if r['system']==name]
    with open(table, 'w', newline='', encoding='utf-8') as f:
        w = csv.DictWriter(f, others[0], lineterminator='\n')
        w.writeheader()
        w.writerows(others+mine)

def moments(work, out):
    "The sentence as recorded and from the moving average at several steps"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    def cut(wav, rate): return wav[round(BEGIN*rate):round((BEGIN+SECONDS)*rate)]
    wav, rate = read_wav(work/'held_out'/f'{CLIP}.wav')
    own = load_config(work/'run'/'config.json').sample_rate
    sf.write(out/'recording.flac', cut(wav_at(wav, rate, own), own), own)
    kept = sorted((work/'run'/'checkpoints').glob('epoch_*.pt'))
    chosen = dict.fromkeys(kept[round(i*(len(kept)-1)/(MOMENTS-1))] for i in range(MOMENTS))
    for p in chosen:
        step, v = read_checkpoint(p, whole=False)['step'], Vocoder.load(p)
        sf.write(out/f'step_{step:05d}.flac',
                 cut(v.resynthesize(wav, rate)[0].numpy(), v.sample_rate).clip(-1, 1-2**-15), v.sample_rate)

def thin(log, out):
    "Every fifth row of the log, and those of the validations"
    with open(log, newline='', encoding='utf-8') as f: rows = list(csv.DictReader(f))
    with open(out, 'w', newline='', encoding='utf-8') as f:
        w = csv.DictWriter(f, rows[0], lineterminator='\n')
        w.writeheader()
        w.writerows(r for i,r in enumerate(rows, 1) if i%5==0 or r['valid_ema'])

def discriminators(last, out):
    "The discriminators of a checkpoint, for a look through their eyes (nbs/00_story.ipynb)"
    ck = read_checkpoint(last)
    save_file({f'{name}.{k}': v.half().contiguous() for name in ('mpd','msd') for k,v in ck[name].items()}, out)

def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('work', type=Path, help='folder of tools/train_voice.py')
    p.add_argument('--about', required=True, help='a sentence for the card: model, steps, hardware, time')
    p.add_argument('--name', choices=KINDS, default='festvox-ru-light')
    p.add_argument('--checkpoint', default='best.pt', help='file in WORK/run/checkpoints')
    p.add_argument('--ruslan', type=Path, help='folder of RUSLAN recordings to measure too')
    a = p.parse_args()
    kind, made = KINDS[a.name], a.work/'run'
    runs, folder = ROOT/'nbs/runs'/kind.runs, FOLDERS/a.name
    cfg, weights = open_checkpoint(made/'checkpoints'/a.checkpoint)
    shutil.rmtree(folder, ignore_errors=True) # a card that is there would be kept
    export_folder(cfg, weights, folder, half=kind.half)
    best = made/'checkpoints'/'best.pt'
    rows = measure(a.name, kind, a.work/'held_out', cfg, a.work/'eval_held_out',
                   best if a.checkpoint!=best.name else None)
    others = measure(a.name, kind, a.ruslan, cfg, a.work/'eval_ruslan') if a.ruslan else []
    export_folder(cfg, weights, folder, 'other', card(a.name, a.about, rows, others), half=kind.half)
    for own in folder.glob('.*'): own.unlink() # the package's files need no marker
    shutil.copy(a.work/'eval_held_out'/'clips.csv', runs/'held_out.csv')
    if others: shutil.copy(a.work/'eval_ruslan'/'clips.csv', runs/'ruslan.csv')
    for part in ('held_out', 'ruslan'):
        if (runs/f'{part}.csv').exists(): into_table(a.name, runs/f'{part}.csv', ROOT/f'nbs/runs/voices/{part}.csv')
    thin(made/'log.csv', runs/'log.csv')
    moments(a.work, runs/'moments')
    last = made/'checkpoints'/'last.pt'
    if read_checkpoint(last, whole=False)['step']>cfg.mel_warmup:
        discriminators(last, runs/'discriminators.safetensors')
    shutil.copy(made/'config.json', runs/'config.json')
    print(hashlib.sha256((folder/'model.safetensors').read_bytes()).hexdigest())

if __name__=='__main__': main()

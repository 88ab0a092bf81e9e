"""Train a V2 on the recordings of Debian's festvox-ru: the same seed, clips and numbers each time.

    # on Debian or Ubuntu, no root needed; or unpack the .deb elsewhere
    apt-get download festvox-ru && dpkg-deb -x festvox-ru_*.deb x
    WAVS=x/usr/share/festival/voices/russian/msu_ru_nsh_clunits/wav
    python tools/train_voice.py $WAVS work --hours 2.7 --precision bf16

WAVS is the folder with the 620 recordings. Every 31st of them in sorted order (ru_0017, ru_0058 ...), 20 in all, is
kept out of everything and laid into WORK/held_out; the other 600 are prepared in WORK/data and trained on, with the
numbers of nbs/runs/voice/config.json; with --config nbs/runs/light/config.json a LIGHT. --full_band names a folder with
some of them as tools/full_band.py makes them, which are taken in place of the plain ones; with
--mixed every third is there once more, played 1.5 times as fast, as in tools/tune_voice.py. Started again, it goes on
where it was. WORK/run then holds the checkpoints, log.csv and curves.png. nbs/runs/voice/log.csv is every fifth row
of such a run, on two cores with bf16, in two sittings."""
import argparse
from pathlib import Path
import soundfile as sf
from hifigan_ruslan.config import load_config
from hifigan_ruslan.data import SpeechData
from hifigan_ruslan.dataset.prepare import prepare
from hifigan_ruslan.train import fit
from make_clips import held_out

CONFIG = Path(__file__).parent.parent/'nbs/runs/voice/config.json'
FASTER, EVERY = 1.5, 3

def recordings(wavs):
    "Path by name of the 620 recordings, in order"
    files = {p.stem: p for p in sorted(wavs.glob('*')) if p.suffix in ('.wav', '.flac')}
    if len(files)!=620:
        raise SystemExit(f'{wavs} has {len(files)} recordings, festvox-ru has 620: '
                         'give the folder wav/ of msu_ru_nsh_clunits')
    return files

def link(wavs, work, full_band=None):
    "Links to the recordings in two folders, train and held_out"
    files = recordings(wavs)
    held = held_out(list(files))
    fuller = {p.stem: p for p in full_band.glob('*.flac')} if full_band else {}
    if full_band and not fuller: raise SystemExit(f'{full_band} holds no .flac: tools/full_band.py writes them')
    for id,p in files.items():
        if id not in held: p = fuller.get(id, p)
        to = work/('held_out' if id in held else 'train')/p.name
        to.parent.mkdir(parents=True, exist_ok=True)
        if not to.exists(): to.symlink_to(p.resolve())

def plain_data(wavs, work, full_band=None, sample_rate=22050):
    "The prepared recordings, made if they are not there"
    link(wavs, work, full_band)
    if not (work/'data'/'dataset.json').is_file(): prepare(work/'train', work/'data', sample_rate=sample_rate, test=0.)
    return SpeechData.open(work/'data')

def mix(work, plain):
    "The recordings to train on, and every third of the training part once more, faster"
    out, part = work/'train_mixed', {u.id for u in plain.split('train')}
    out.mkdir(exist_ok=True)
    for i,p in enumerate(sorted((work/'train').glob('*'))):
        same, fast = out/p.name, out/f'fast_{p.stem}.wav'
        if not same.exists(): same.symlink_to(p.resolve())
        if i%EVERY or p.stem not in part or fast.exists(): continue
        wav, rate = sf.read(p, dtype='int16')
        sf.write(fast, wav, round(FASTER*rate), subtype='PCM_16')
    return out

def mixed_data(wavs, work, full_band=None, sample_rate=22050):
    "The same, and with them every third recording played faster"
    plain = plain_data(wavs, work, full_band, sample_rate)
    if not (work/'data_mixed'/'dataset.json').is_file():
        prepare(mix(work, plain), work/'data_mixed', sample_rate=sample_rate, valid=.0075, test=0.)
    return SpeechData.open(work/'data_mixed')

def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('wavs', type=Path, help='folder with the 620 recordings of festvox-ru, WAV or FLAC')
    p.add_argument('work', type=Path, help='folder to work in')
    p.add_argument('--config', type=Path, default=CONFIG)
    p.add_argument('--full_band', type=Path, help='folder of tools/full_band.py')
    p.add_argument('--mixed', action='store_true', help='with every third recording once more, 1.5 times as fast')
    p.add_argument('--hours', type=float, help='stop within so much time, and go on at the next start')
    p.add_argument('--precision', help='fp32, bf16 or fp16; default: what suits the device')
    a = p.parse_args()
    cfg = load_config(a.config)
    data = (mixed_data if a.mixed else plain_data)(a.wavs, a.work, a.full_band, cfg.sample_rate)
    fit(data, a.work/'run', cfg, steps=cfg.cosine_steps, hours=a.hours, precision=a.precision)

if __name__=='__main__': main()

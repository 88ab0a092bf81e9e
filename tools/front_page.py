"""Make what the front page shows: one sentence as recorded, from the voice `universal`, and after the demo's minute
of training.

    hifigan-demo --out DEMO && python tools/front_page.py DEMO
    python tools/front_page.py  # the pictures alone, of the sounds that are there

Written are nbs/sounds/ru_0141_{recording,universal,minute}.flac and the picture nbs/images/first_minute.png, in
Russian first_minute_ru.png. The sentence is one that the demo keeps out of its training."""
import argparse
from pathlib import Path
import soundfile as sf, torch
from matplotlib.figure import Figure
from hifigan_ruslan.config import V1
from hifigan_ruslan.mel import LogMel, plot_mel
from hifigan_ruslan.base.audio import read_wav, wav_at
from hifigan_ruslan.vocoder import Vocoder

ROOT = Path(__file__).parent.parent
CLIP, SECONDS = 'ru_0141', 4.
SOUNDS, IMAGES = ROOT/'nbs'/'sounds', ROOT/'nbs'/'images'
TITLES = dict(recording='the recording', universal='universal, which has never heard Russian',
              minute='a small model after a minute of training')
RUSSIAN = dict(recording='запись', universal='universal: русской речи этот голос не слышал никогда',
               minute='маленькая модель после минуты обучения')

def waves(demo):
    "The three versions, at 22,050 Hz"
    wav, rate = read_wav(ROOT/'hifigan_ruslan'/'clips'/f'{CLIP}.flac')
    real = wav_at(wav, rate, V1.sample_rate)
    last = sorted((demo/'run'/'samples'/CLIP).glob('step_*.wav'))
    if not last: raise SystemExit(f'{demo}/run/samples/{CLIP} has no sounds: run hifigan-demo --out {demo}')
    return dict(recording=real,
                universal=Vocoder.load('universal').resynthesize(real, V1.sample_rate)[0].numpy(),
                minute=read_wav(last[-1])[0][0])

def stored():
    "The three versions, as they lie in nbs/sounds"
    return {kind: read_wav(SOUNDS/f'{CLIP}_{kind}.flac')[0][0] for kind in TITLES}

def draw(found, titles, labels, path):
    "Their mels below each other"
    fig, logmel = Figure(figsize=(6, 5), layout='constrained'), LogMel(V1, fmax=None)
    for ax,(kind,wav) in zip(fig.subplots(3, sharex=True), found.items()):
        part = torch.from_numpy(wav[:round(SECONDS*V1.sample_rate)])[None]
        plot_mel(logmel(part)[0], V1, ax, titles[kind])
        ax.set(xlabel=labels[0] if kind=='minute' else '', ylabel=labels[1], xticks=range(5), xlim=(0, SECONDS))
    fig.savefig(path, dpi=110)

def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('demo', type=Path, nargs='?', help='folder of hifigan-demo; without it the sounds stay')
    demo = p.parse_args().demo
    if demo:
        SOUNDS.mkdir(exist_ok=True)
        for kind,wav in waves(demo).items():
            sf.write(SOUNDS/f'{CLIP}_{kind}.flac', wav.clip(-1, 1-2**-15), V1.sample_rate)
    draw(stored(), TITLES, ('s', 'mel band'), IMAGES/'first_minute.png')
    draw(stored(), RUSSIAN, ('с', 'мел-полоса'), IMAGES/'first_minute_ru.png')

if __name__=='__main__': main()

"""Make hifigan_ruslan/clips from the recordings in the Debian package festvox-ru.

    apt-get download festvox-ru && dpkg-deb -x festvox-ru_*.deb festvox
    python tools/make_clips.py festvox/usr/share/festival/voices/russian/msu_ru_nsh_clunits
"""
import re
from pathlib import Path
import soundfile as sf
from fastcore.script import call_parse

TRAIN = 'ru_0003 ru_0025 ru_0040 ru_0079 ru_0149 ru_0214 ru_0254 ru_0308 ru_0773'.split()
# from the evaluation part of our runs on the whole voice: every 31st recording
HELD_OUT = 'ru_0058 ru_0141 ru_0264'.split()
CLIPS = Path(__file__).parent.parent/'hifigan_ruslan'/'clips'

def held_out(ids): return sorted(ids)[15::31]

def read_texts(path):
    "id -> text from Festival's list, one `( id \"text\" )` per line"
    return dict(re.findall(r'^\(\s*(\S+)\s+"(.*)"\s*\)\s*$', path.read_text(encoding='utf-8'), re.M))

@call_parse
def main(
    voice:str, # Folder of the voice, with wav/ and etc/txt.done.data
    out:str=str(CLIPS), # Where the FLAC files and metadata.csv go
):
    "Write the chosen recordings as FLAC, with their texts in RUSLAN's form `id|text`"
    voice, out = Path(voice), Path(out)
    texts = read_texts(voice/'etc'/'txt.done.data')
    held = held_out(p.stem for p in (voice/'wav').glob('*.wav'))
    if len(held)!=20 or not set(HELD_OUT)<=set(held) or set(TRAIN)&set(held):
        raise ValueError(f'{voice}: not the voice that the clips were chosen from; every 31st recording is {held}, '
                         f'expected {HELD_OUT} among 20')
    out.mkdir(parents=True, exist_ok=True)
    ids = sorted(TRAIN+HELD_OUT)
    for i in ids:
        wav, rate = sf.read(voice/'wav'/f'{i}.wav', dtype='int16')
        sf.write(out/f'{i}.flac', wav, rate, subtype='PCM_16')
    (out/'metadata.csv').write_text(''.join(f'{i}|{texts[i]}\n' for i in ids), encoding='utf-8', newline='\n')
    size = sum((out/f'{i}.flac').stat().st_size for i in ids)
    print(f'{len(ids)} clips, {sum(sf.info(out/f"{i}.flac").duration for i in ids):.1f} s, {size/1e6:.2f} MB in {out}')

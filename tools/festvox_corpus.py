"""Make a real Russian corpus in RUSLAN's layout from the Debian package festvox-ru: 600 clips to train on and 20
held out.

    apt-get download festvox-ru && dpkg-deb -x festvox-ru_*.deb festvox
    python tools/festvox_corpus.py festvox/usr/share/festival/voices/russian/msu_ru_nsh_clunits corpus

The held-out clips are every 31st of the 620. The originals are 16 kHz with nothing above 7 kHz; at 44.1 kHz they
only take RUSLAN's form. """
from pathlib import Path
import soundfile as sf, soxr
from fastcore.script import call_parse
from make_clips import held_out, read_texts

def write_part(ids, wavs, texts, out, rate):
    "RUSLAN/NNNNNN_RUSLAN.wav and metadata_RUSLAN_22200.csv beside the folder"
    (out/'RUSLAN').mkdir(parents=True)
    with open(out/'metadata_RUSLAN_22200.csv', 'w', encoding='utf-8', newline='\n') as f:
        for i,id in enumerate(ids):
            wav, native = sf.read(wavs/f'{id}.wav', dtype='float32')
            sf.write(out/'RUSLAN'/f'{i:06d}_RUSLAN.wav', soxr.resample(wav, native, rate), rate, subtype='PCM_16')
            f.write(f'{i:06d}_RUSLAN|{texts[id]}\n')

@call_parse
def main(
    voice:str, # Folder of the voice, with wav/ and etc/txt.done.data
    out:str, # Folder to make, with train/ and held_out/ in it
    rate:int=44100 # Hz
):
    "Write the two parts"
    wavs, texts = Path(voice)/'wav', read_texts(Path(voice)/'etc'/'txt.done.data')
    ids = sorted(p.stem for p in wavs.glob('*.wav'))
    held = held_out(ids)
    write_part([i for i in ids if i not in held], wavs, texts, Path(out)/'train', rate)
    write_part(held, wavs, texts, Path(out)/'held_out', rate)
    print(f'{len(ids)-len(held)} clips in {out}/train, {len(held)} in {out}/held_out')

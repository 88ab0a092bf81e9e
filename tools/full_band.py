"""Give the 16 kHz recordings of festvox-ru a band above 6.7 kHz, so that a network trained on them does not learn
silence there:

    python tools/full_band.py FOLDER OUT [--voice universal]

FOLDER holds recordings (WAV or FLAC), OUT receives each as a FLAC of 22,050 Hz. What is below 6.7 kHz is the recording;
what is above is **synthetic**: the voice speaks the recording's mel, in which the bands that the recorder's filter took
away (above 6.8 kHz) are lifted to where RUSLAN, a recording of 44.1 kHz, has them on average. Started again, it goes on
where it was. Whatever is trained on such files has to say so."""
import argparse
from pathlib import Path
import numpy as np, soundfile as sf
from scipy.signal import fftconvolve, firwin
from hifigan_ruslan.base.audio import read_wav, wav_at
from hifigan_ruslan.base.files import new_file
from hifigan_ruslan.vocoder import Vocoder

# Natural-log units: RUSLAN's mean above bands 70 to 74, less that of festvox-ru. Band 79 lies in the recorder's noise
LIFT = {76: .36, 77: 1.13, 78: 2.06}
CROSSOVER, TAPS = 6700, 257 # Hz; of the filter, samples
REFERENCE = 4000, 6400 # Hz: here both parts must be equally loud

def lifted(mel):
    "The mel (1, 80, F) with the bands that the recorder's filter took away"
    mel = mel.clone()
    for band,gain in LIFT.items(): mel[:,band] += gain
    mel[:,79] = mel[:,78]
    return mel

def above(wav, rate):
    "What lies above the crossover, and with it all of what lies below: two parts that add up to the wave"
    low = fftconvolve(wav, firwin(TAPS, CROSSOVER, fs=rate), mode='same')
    return wav-low, low

def level(wav, rate):
    "Energy between the two reference frequencies"
    spec = np.fft.rfft(wav)
    f = np.fft.rfftfreq(len(wav), 1/rate)
    return np.square(np.abs(spec[(f>REFERENCE[0])&(f<REFERENCE[1])])).sum()

def full_band(wav, voice):
    "The recording below the crossover, what the voice makes of its mel above"
    rate = voice.sample_rate
    wav = wav[:len(wav)//256*256].astype('f4')
    mel = voice.mel(wav, rate)[None]
    spoken = voice.vocode(lifted(mel)[0])[0].numpy()
    gain = np.sqrt(level(wav, rate)/level(spoken, rate))
    return above(wav, rate)[1] + gain*above(spoken, rate)[0]

def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('folder', type=Path)
    p.add_argument('out', type=Path)
    p.add_argument('--voice', default='universal')
    a = p.parse_args()
    voice = Vocoder.load(a.voice)
    a.out.mkdir(parents=True, exist_ok=True)
    files = [f for f in sorted(a.folder.iterdir()) if f.suffix in ('.wav', '.flac')]
    if not files: raise SystemExit(f'{a.folder} holds no .wav and no .flac')
    for i,f in enumerate(files, 1):
        to = a.out/f'{f.stem}.flac'
        if to.exists(): continue
        wav = full_band(wav_at(*read_wav(f), voice.sample_rate), voice)
        with new_file(to) as part: sf.write(part, wav.clip(-1, 1), voice.sample_rate, 'PCM_16', format='FLAC')
        print(f'{i}/{len(files)} {to.name}', flush=True)

if __name__=='__main__': main()

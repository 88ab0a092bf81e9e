"""Pack what fine-tuning needs on a machine with a GPU and without a network: the recordings as FLAC, in parts, the
weights to start from, and the wheels that are missing there.

    python tools/pack_gpu.py x/usr/share/festival/voices/russian/msu_ru_nsh_clunits/wav .gpu [--python 3.12] [--mib 40]

WAVS is the folder with the 620 recordings of festvox-ru (tools/train_voice.py says where they come from). Written
are OUT/wheels, OUT/universal (that voice as a folder, in half precision, 28 MB) and the parts OUT/1, OUT/2 ...,
none of them larger than --mib, for machines that take only so much at a time. OUT should be ignored by git. What is
assumed to be there: torch, torchaudio, numpy, scipy, scikit-learn, numba, matplotlib, safetensors, tensorboard,
tqdm. There, in the folder of the repository:

    mkdir -p /tmp/wav; cp .gpu/1/* /tmp/wav/                                                    # and so each part
    python3 -m pip install -q --no-index --no-deps --target /tmp/site .gpu/wheels/*.whl
    export PYTHONPATH=/tmp/site:$PWD
    python3 -c "from hifigan_ruslan.config import *; save_config(fine_tuning(V1), '/tmp/gpu.json')"
    setsid python3 tools/tune_voice.py /tmp/wav /tmp/work --init .gpu/universal --config /tmp/gpu.json \\
        --steps 20000 --hours .2 > /tmp/train.log 2>&1 &
    # the moving average; log.csv and curves.png are in /tmp/work/tuned
    python3 -c "from hifigan_ruslan.cli import run; run('export', '/tmp/work/tuned', 'voice')"

The same command goes on where a run stopped. --hours is the time of the sitting. tools/train_voice.py trains the
small voice from nothing in the same way."""
import argparse, subprocess, sys
from pathlib import Path
from hifigan_ruslan.model.reading import open_checkpoint
from hifigan_ruslan.inference.hub import export_folder
from hifigan_ruslan.base.audio import read_wav
import soundfile as sf
from train_voice import recordings

WHEELS = ('librosa soundfile soxr audioread pooch lazy_loader msgpack decorator platformdirs fastcore cffi '
          'pycparser').split()

def wheels(out, python):
    "Those of WHEELS that exist for this Python on Linux, newest version"
    out.mkdir(parents=True, exist_ok=True)
    names = 'manylinux_2_28 manylinux_2_27 manylinux_2_17 manylinux2014 manylinux1'.split()
    systems = [f'--platform={o}_x86_64' for o in names]
    for name in WHEELS:
        done = subprocess.run([sys.executable, '-m', 'pip', 'download', '-q', '--no-deps',
                               '--only-binary=:all:', f'--python-version={python}', '--implementation=cp',
                               *systems, '-d', out, name], capture_output=True, text=True)
        print(f'{name}: '
              + ('packed' if done.returncode==0 else f'left out: {(done.stderr.strip().splitlines() or ["?"])[-1]}'))

def parts(wavs, out, limit):
    "The recordings as 16-bit FLAC in numbered folders of at most `limit` bytes"
    number, size = 1, 0
    for p in wavs:
        wav, rate = read_wav(p)
        flac = out/str(number)/f'{p.stem}.flac'
        flac.parent.mkdir(parents=True, exist_ok=True)
        sf.write(flac, wav[0], rate, subtype='PCM_16')
        size += flac.stat().st_size
        if size>limit:
            number, size = number+1, flac.stat().st_size
            (out/str(number)).mkdir()
            flac.rename(out/str(number)/flac.name)

def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('wavs', type=Path, help='folder with the 620 recordings of festvox-ru')
    p.add_argument('out', type=Path, help='new folder')
    p.add_argument('--python', default='3.12', help='version there')
    p.add_argument('--mib', type=float, default=40., help='largest part')
    a = p.parse_args()
    files = recordings(a.wavs)
    if a.out.exists(): raise SystemExit(f'{a.out} exists already: give a new folder')
    wheels(a.out/'wheels', a.python)
    export_folder(*open_checkpoint('universal'), a.out/'universal', 'other', half=True)
    parts(files.values(), a.out, a.mib*2**20)
    for o in sorted(a.out.iterdir()):
        print(f'{o}: {len(list(o.iterdir()))} files, {sum(f.stat().st_size for f in o.iterdir())/2**20:.1f} MiB')

if __name__=='__main__': main()

"""Make the packaged voice universal-ru: between `universal` and the end of a run of tools/tune_voice.py.

    python tools/blend_voice.py WORK/tuned

Every weight is .4 of universal's and .6 of the run's, but for the last upsampling stage and what follows it, which
are universal's: that stage makes the band above 8 kHz, of which festvox-ru has nothing to teach
(nbs/57_fine_tune.ipynb). What comes out of such a mixture is .2 dB quieter; the last layer gives that back. Written
is hifigan_ruslan/voices/universal-ru, in half precision; printed is the SHA-256 of its model.safetensors, which
belongs into VOICES of nbs/25_voices.ipynb. tools/voice_cards.py then measures it and writes its model card."""
import argparse, hashlib
from pathlib import Path
from hifigan_ruslan.config import V1, save_config
from hifigan_ruslan.model.reading import open_checkpoint
from hifigan_ruslan.inference.hub import export_folder
from hifigan_ruslan.model.weights import load_generator

FOLDER = Path(__file__).parent.parent/'hifigan_ruslan/voices/universal-ru'
SHARE = .6 # Of the run
GAIN = .25 # Of the last layer, dB
# The last upsampling stage and what follows
LAST = 'ups.3.', 'resblocks.9.', 'resblocks.10.', 'resblocks.11.', 'conv_post.'

def folded(checkpoint):
    "Weights by name, without weight norm"
    return load_generator(*open_checkpoint(checkpoint)).state_dict()

def blend(start, end):
    "Between two sets of weights of one model"
    share = {k: 0. if k.startswith(LAST) else SHARE for k in start}
    out = {k: (1-share[k])*start[k] + share[k]*end[k] for k in start}
    return out | {k: out[k]*10**(GAIN/20) for k in ('conv_post.weight', 'conv_post.bias')}

def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('run', type=Path, help='folder of the run, whose best checkpoint is taken')
    export_folder(V1, blend(folded('universal'), folded(p.parse_args().run)), FOLDER, 'other', half=True)
    save_config(V1, FOLDER/'config.json')
    print(hashlib.sha256((FOLDER/'model.safetensors').read_bytes()).hexdigest())

if __name__=='__main__': main()

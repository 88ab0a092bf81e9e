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
from hifigan_ruslan.model.weights import blend_weights, folded_weights

FOLDER = Path(__file__).parent.parent/'hifigan_ruslan/voices/universal-ru'
SHARE = .6 # Of the run
GAIN = .25 # Of the last layer, dB
# The last upsampling stage and what follows
LAST = 'ups.3.', 'resblocks.9.', 'resblocks.10.', 'resblocks.11.', 'conv_post.'

def blend(start, end):
    "Between two generators of this model"
    start = folded_weights(V1, start)
    kept = {k: w for k,w in start.items() if k.startswith(LAST)}
    out = blend_weights(V1, start, end, SHARE) | kept
    return out | {k: out[k]*10**(GAIN/20) for k in ('conv_post.weight', 'conv_post.bias')}

def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('run', type=Path, help='folder of the run, whose best checkpoint is taken')
    start, end = (open_checkpoint(o)[1] for o in ('universal', p.parse_args().run))
    export_folder(V1, blend(start, end), FOLDER, 'other', half=True)
    save_config(V1, FOLDER/'config.json')
    print(hashlib.sha256((FOLDER/'model.safetensors').read_bytes()).hexdigest())

if __name__=='__main__': main()

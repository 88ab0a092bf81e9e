"""Generators go over to the official code and come back: the waves must be the same.

    python benchmarks/official_generator.py CHECKOUT

CHECKOUT is a clone of github.com/jik876/hifi-gan. For V1, V2 and V3 with random weights at the level of speech:
`export_official` writes a file that the official code loads the way its inference.py does, and the official code
saves a file that `open_checkpoint` reads; each time the waves of both are compared."""
import argparse, json, sys, tempfile, warnings
from pathlib import Path
import torch
sys.path.insert(0, str(Path(__file__).parent))
import official
from hifigan_ruslan.config import official_dict, preset
from hifigan_ruslan.model.reading import open_checkpoint
from hifigan_ruslan.inference.hub import export_official
from hifigan_ruslan.generator import random_generator
from hifigan_ruslan.model.weights import load_generator

def as_inference_py(code, path):
    "The official generator, from the two files that inference.py reads"
    return official.ready(code, json.loads((path.parent/'config.json').read_text()),
                          code.utils.load_checkpoint(str(path), 'cpu')['generator'])

@torch.no_grad()
def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('checkout')
    p.add_argument('--frames', type=int, default=100, help='length of the mel')
    a = p.parse_args()
    warnings.filterwarnings('ignore', category=FutureWarning)
    code, work = official.load(a.checkout), Path(tempfile.mkdtemp())
    for name in ('V1', 'V2', 'V3'):
        cfg, mel = preset(name), torch.randn(1, 80, a.frames, generator=torch.manual_seed(1))*2-5
        weights = random_generator(cfg).state_dict()
        want = load_generator(cfg, weights)(mel)
        ours = as_inference_py(code, export_official(cfg, weights, work/name/'generator'))
        there = (ours(mel)-want).abs().max().item()
        theirs = official.Official(code, cfg).generator
        (work/f'{name}_official').mkdir()
        code.utils.save_checkpoint(str(work/f'{name}_official'/'g_00000000'), {'generator': theirs.state_dict()})
        (work/f'{name}_official'/'config.json').write_text(json.dumps(official_dict(cfg)))
        again = load_generator(*open_checkpoint(work/f'{name}_official'/'g_00000000'))
        back = (again(mel)-theirs(mel)).abs().max().item()
        print(f'{name}: rms {want.std():.2f}; ours in the official code {there:.1e}, theirs in ours {back:.1e}')
        assert there<1e-5 and back<1e-5, 'they do not agree'

if __name__=='__main__': main()

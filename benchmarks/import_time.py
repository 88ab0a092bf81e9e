"""What `import hifigan_ruslan.X` costs, for each module of the spine: seconds, modules in all, modules of ours.

    python benchmarks/import_time.py                 this checkout
    python benchmarks/import_time.py OTHER_CHECKOUT   beside another one, turn by turn

Every import has a fresh interpreter, and the best of --repeats counts. torch is most of it: its own time stands in
the first line."""
import argparse, json, os, subprocess, sys
from pathlib import Path

SPINE = 'config data mel generator discriminators losses step checkpoint train vocoder metrics eval cli'.split()
ROOT = Path(__file__).parent.parent
CODE = '''import json, sys, time
begin = time.perf_counter()
__import__(sys.argv[1])
ours = sorted(m.partition('.')[2] for m in sys.modules if m.startswith('hifigan_ruslan.'))
print(json.dumps([time.perf_counter()-begin, len(sys.modules), ours]))'''

def measure(checkout, module):
    "Seconds, number of modules, and ours among them"
    env = os.environ | dict(PYTHONPATH=str(checkout))
    cmd = [sys.executable, '-c', CODE, module]
    done = subprocess.run(cmd, env=env, cwd='/', capture_output=True, text=True, check=True)
    return json.loads(done.stdout)

def row(module, checkouts, repeats):
    "The best of several turns, which the checkouts take in turn"
    found = [[measure(c, module) for c in checkouts] for _ in range(repeats)]
    return [min(turn[i] for turn in found) for i in range(len(checkouts))]

def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('other', nargs='?', type=Path, help='another checkout, such as a git worktree of an older commit')
    p.add_argument('--repeats', type=int, default=3)
    p.add_argument('--names', action='store_true', help='list our modules too')
    a = p.parse_args()
    checkouts = [ROOT] + ([a.other.absolute()] if a.other else [])
    print(f'torch alone: {min(measure(ROOT, "torch")[0] for _ in range(a.repeats)):.2f} s')
    print(f'{"":16}' + ''.join(f'{c.name[:22]:>24}' for c in checkouts))
    print(f'{"import":16}' + f'{"s":>8}{"modules":>9}{"ours":>7}'*len(checkouts))
    for m in SPINE:
        cells = row(f'hifigan_ruslan.{m}', checkouts, a.repeats)
        print(f'{m:16}' + ''.join(f'{s:8.2f}{n:9}{len(ours):7}' for s,n,ours in cells))
        if a.names: print(*(f'    {" ".join(ours)}' for _,_,ours in cells), sep='\n')

if __name__=='__main__': main()

"""Commands that are killed while they work, as tools/kills.py does it: a few kills of each; more of them:
python tools/kills.py"""
import os, re, subprocess, sys
from pathlib import Path
import pytest

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT/'tools'))
slow = pytest.mark.skipif('slow' not in os.environ.get('NB_FLAGS', ''), reason='NB_FLAGS=slow runs it')
pytestmark = pytest.mark.skipif(sys.platform!='linux', reason='fork, flock and audit events are tried on Linux')

def kills(n, *names):
    "The tool's table, from a process of its own"
    env = os.environ | dict(PYTHONPATH=str(ROOT), OMP_NUM_THREADS='1')
    r = subprocess.run([sys.executable, str(ROOT/'tools'/'kills.py'), '--n', str(n), '--only', ','.join(names)],
                       capture_output=True, text=True, env=env)
    assert r.returncode==0, r.stdout+r.stderr[-2000:]
    return r.stdout

@pytest.mark.parametrize('names', [['prepare', 'export', 'onnx', 'generate'],
                                   pytest.param(['train', 'eval'], marks=slow)])
def test_nothing_half_there_and_the_same_result(names):
    said = kills(4, *names)
    for name in names: assert re.search(f'^{name} +4 of 4 kills met it at work, .* 0 faults', said, re.M), said

def broken(way):
    "A command that writes as nobody should"
    def run(out):
        out = Path(out)
        out.mkdir(exist_ok=True)
        if way=='half':
            with open(out/'a', 'w') as f: f.write('x'*10)
            for _ in range(8):
                with open(out/'a', 'a') as f: f.write('y')
        if way=='left' and not (out/'.b.part').exists(): (out/'.b.part').write_text('x')
        if way=='left': (out/'a').write_text('xy')
        if way=='left' and os.path.getsize(out/'.b.part')==1: os.replace(out/'.b.part', out/f'c{os.getpid()}')
        if way=='nothing': return
    return run

class Broken:
    def words(self, out): return [str(out)]

@pytest.mark.parametrize('way, said', [('half', 'a is half there'), ('left', 'files: '), ('nothing', '')])
def test_a_fault_is_seen(tmp_path, monkeypatch, way, said):
    import kills as tool
    action = type('Bad', (Broken, tool.Action), {})
    monkeypatch.setattr(tool, 'ACTIONS', dict(broken=action))
    monkeypatch.setattr(tool, 'run', broken(way))
    result = tool.tried('broken', tmp_path, 6, twice=0)
    if said: assert any(said in o for o in result.wrong), result
    else: assert len(result.met)<6, result # it wrote nothing: no kill can meet it

"""How a session on Kaggle ends: an error where it is no good one, a record whichever way, and nothing held back.
What can be seen in one process stands in nbs/72_session.ipynb; here it is killed, and run as Kaggle runs it"""
import ast, json, os, signal, subprocess, sys
import pytest, test_kernel
from hifigan_ruslan.base.files import claim
from hifigan_ruslan.kaggle import session as sessions
from hifigan_ruslan.kaggle.kernel import compiled
from hifigan_ruslan.kaggle.session import Session
from test_kernel import ROOT, attach, execute, files, session

python = test_kernel.python # the fixture: a Python as it is there

@pytest.fixture(scope='module')
def kernel(): return compiled(ROOT)

BEGUN = '''import os, signal, sys
from hifigan_ruslan.kaggle.session import Session
s = Session('TINY', minutes=1., root=sys.argv[1], cpu=True)
print('begun', flush=True)
os.kill(os.getpid(), getattr(signal, sys.argv[2]))
print('and goes on')
'''

def begun_and_told(root, name):
    "What a session prints that is sent a signal between two steps, and how it ended"
    env = os.environ | dict(PYTHONPATH=str(ROOT))
    done = subprocess.run([sys.executable, '-c', BEGUN, root, name], capture_output=True, text=True, env=env)
    assert 'begun' in done.stdout and 'goes on' not in done.stdout, done.stdout+done.stderr
    return -done.returncode, session(root)

def test_a_session_that_is_told_to_stop_or_killed_leaves_its_record(tmp_path):
    "And the reserve goes; after a kill the next session removes it"
    (tmp_path/'input').mkdir()
    before = signal.getsignal(signal.SIGTERM)
    reserve = tmp_path/'working'/'.reserve'
    number, record = begun_and_told(tmp_path, 'SIGTERM')
    assert (number, record['outcome'], record['why'])==(signal.SIGTERM, 'stopped', 'SIGTERM in the step begin')
    assert not reserve.exists()
    number, record = begun_and_told(tmp_path, 'SIGKILL')
    assert (number, record['outcome'], record['why'])==(signal.SIGKILL, 'running', '') and reserve.exists()
    with pytest.raises(sessions.SessionFailed, match='no preset'): Session('V9', root=tmp_path)
    assert not reserve.exists()
    s = Session('TINY', minutes=1., root=tmp_path, cpu=True)
    assert reserve.stat().st_size==16*2**20
    with pytest.raises(sessions.SessionFailed, match='No recordings'): s.find()
    assert not reserve.exists() and session(tmp_path)['outcome']=='failed'
    assert signal.getsignal(signal.SIGTERM)==before

def test_failures_look_like_failures_on_kaggle(python, kernel, tmp_path):
    "No GPU, and training that fails: papermill ends with an error that can be read, and the record says the same"
    attach(tmp_path, 'new', 'A', n=12)
    log, code = execute(python, kernel, tmp_path, MINUTES=None, CPU=False, env=dict(CUDA_VISIBLE_DEVICES=''))
    assert code!=0 and 'SessionFailed: The session was not begun, no GPU can be used' in log, log
    assert 'Accelerator' in session(tmp_path)['why'] and session(tmp_path)['outcome']=='failed'
    assert 'sound files' not in log and files(tmp_path)=={'session.json', '.hifigan_ruslan.json'}
    no_such = test_kernel.CONFIG | dict(discriminators=['mpd', 'abc'])
    log, code = execute(python, kernel, tmp_path, TRAIN='--steps 20', CONFIG=no_such)
    assert code!=0 and 'SessionFailed: The session failed: training ended with exit code 1' in log, log
    assert 'abc' in session(tmp_path)['why'] and session(tmp_path)['outcome']=='failed'
    assert 'Traceback' not in log.partition('SessionFailed')[2] and {'index.html', 'session.json'}<=files(tmp_path)

@pytest.mark.parametrize('lang, said', [('en', 'This Python lacks soxr: '), ('ru', 'В этом Python нет soxr: ')])
def test_a_package_without_which_the_session_cannot_be_imported(kernel, tmp_path, lang, said):
    "soxr is imported at the top of a module: the cell says it in its language, and leaves a record"
    cells = [''.join(c['source']) for c in json.loads(kernel)['cells']]
    cell = next(c for c in cells if 'session = Session(' in c)
    code = f'import sys; sys.modules["soxr"] = None; ROOT, LANG = {(str(tmp_path), lang)!r}\n{cell}'
    env = os.environ | dict(PYTHONPATH=str(ROOT))
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, env=env)
    assert done.returncode==1 and f'ModuleNotFoundError: {said}' in done.stderr, done.stderr
    record = session(tmp_path)
    assert record['outcome']=='failed' and record['why'].endswith('run !pip install soxr above')
    assert not claim(tmp_path/'working').foreign('session.json') # the next session may replace it

def packages(source):
    "Names of the packages that a module imports, at its top: without them it cannot be imported"
    tree = ast.parse(source)
    names = [a.name for o in tree.body if isinstance(o, ast.Import) for a in o.names]
    names += [o.module for o in tree.body if isinstance(o, ast.ImportFrom) and not o.level]
    return {n.partition('.')[0] for n in names}-set(sys.stdlib_module_names)-{'hifigan_ruslan', 'torch'}

def test_every_package_that_the_kernel_needs_is_looked_for_at_once(kernel):
    cells = [''.join(c['source']) for c in json.loads(kernel)['cells']]
    modules = [c.partition('\n')[2] for c in cells if c.startswith('%%writefile')]
    assert len(modules)>20 and {p for m in modules for p in packages(m)}==set(sessions._NEEDED)

STAND_IN = '''"As torch is on a machine with a P100, a GPU that is taken, one that is broken, and a good one"
from types import SimpleNamespace as Bag
class Matrix:
    def __init__(self, device): self.value = 1 if device=='cuda:2' else 64**3
    def __matmul__(self, other): return self
    def sum(self): return self
    def item(self): return self.value
def ones(*size, device):
    if device=='cuda:0': raise RuntimeError('CUDA error: no kernel image is available\\nSearch for it')
    return Matrix(device)
def memory(i): return [15, 1, 15, 15][i]*2**30, 15*2**30
cuda = Bag(device_count=lambda: 4, get_device_name=lambda i: ['Tesla P100', 'Tesla T4'][i>0], mem_get_info=memory,
           get_device_capability=lambda i: [(6, 0), (7, 5)][i>0], get_arch_list=lambda: ['sm_70', 'sm_75'])
'''

def test_gpus_that_cannot_train_are_seen(tmp_path, monkeypatch):
    "Each is tried by a program of its own, which meets this torch here"
    (tmp_path/'torch.py').write_text(STAND_IN)
    monkeypatch.setenv('PYTHONPATH', str(tmp_path))
    monkeypatch.setattr(sessions.torch.cuda, 'device_count', lambda: 4)
    assert [(o['name'], o['why']) for o in sessions.gpus_tried()]==[
        ('Tesla P100', 'this torch is made for sm_70 sm_75, and it is sm_60: CUDA error: no kernel image is available'),
        ('Tesla T4', 'only 1.0 of its 15.0 GiB are free: another program holds the rest'),
        ('Tesla T4', 'it computes wrongly'), ('Tesla T4', '')]

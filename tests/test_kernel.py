"""The compiled kernel as Kaggle runs it: the pushed text, executed by papermill where nothing but the image's packages can be imported.
NB_FLAGS=slow runs every layout; else two sessions that together have one of each."""
import json, os, re, shutil, signal, subprocess, sys, sysconfig, time
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote
import pytest
from hifigan_ruslan.config import TINY
from hifigan_ruslan.dataset.corpus import synth_corpus
from hifigan_ruslan.inference.hub import export_folder
from hifigan_ruslan.kaggle.kernel import build, stale
from hifigan_ruslan.kaggle.pack import pack
from hifigan_ruslan.step import new_state
from kaggle_stub import KaggleStub

ROOT = Path(__file__).parent.parent
NOT_THERE = ('hifigan_ruslan', '__editable__', '__pycache__', 'nbdev', 'execnb', 'ghapi', 'kaggle', 'sphinx', 'pytest', '_pytest', 'myst_nb')
CONFIG = dict(upsample_initial_channel=32, disc_shrink=32, segment_size=2048, batch_size=2, valid_every=20)
slow = pytest.mark.skipif('slow' not in os.environ.get('NB_FLAGS', ''), reason='NB_FLAGS=slow runs it')

@pytest.fixture(scope='module')
def python(tmp_path_factory):
    "A Python that has the packages of this one, but neither the project nor nbdev nor the tools around them; or the one in KERNEL_PYTHON"
    if given := os.environ.get('KERNEL_PYTHON'): return Path(given)
    venv = tmp_path_factory.mktemp('image')
    subprocess.run([sys.executable, '-m', 'venv', '--without-pip', venv], check=True)
    site = next(venv.glob('lib/python*/site-packages'))
    for p in Path(sysconfig.get_paths()['purelib']).iterdir():
        if not p.name.startswith(NOT_THERE) and p.suffix!='.pth': (site/p.name).symlink_to(p)
    return venv/'bin'/'python'

@pytest.fixture(scope='module')
def pushed(tmp_path_factory):
    "The text of the committed kernel as the real command sends it"
    clone, home = tmp_path_factory.mktemp('clone'), tmp_path_factory.mktemp('home')
    meta = json.loads((ROOT/'kernel-metadata.json').read_text()) | dict(id='alice/hifigan-ruslan-train')
    (clone/'kernel-metadata.json').write_text(json.dumps(meta))
    shutil.copytree(ROOT/'kernel', clone/'kernel')
    with KaggleStub() as kaggle:
        done = subprocess.run([sys.executable, '-m', 'kaggle', 'kernels', 'push'], cwd=clone, env=kaggle.env(home), capture_output=True, text=True)
        assert 'successfully pushed' in done.stdout, done.stdout+done.stderr
        return kaggle.pushed['text']

def environment(home, **more):
    return {k: v for k,v in os.environ.items() if k in ('PATH','LANG','LD_LIBRARY_PATH')} | dict(HOME=str(home), MPLBACKEND='Agg', KAGGLE_KERNEL_RUN_TYPE='Batch', OMP_NUM_THREADS='1') | more

def start(python, text, place, env=None, **settings):
    "papermill at work on the kernel, in an empty folder, as Kaggle starts it"
    home = place/'elsewhere'; home.mkdir(exist_ok=True)
    (home/'kernel.ipynb').write_text(text)
    (place/'working').mkdir(exist_ok=True)
    settings = dict(ROOT=str(place), PRESET='TINY', MINUTES=3., TRAIN='', CONFIG=CONFIG) | settings
    yaml = home/'settings.yaml'; yaml.write_text(json.dumps(settings)) # JSON is YAML
    return subprocess.Popen([python, '-m', 'papermill', home/'kernel.ipynb', home/'out.ipynb', '-f', yaml, '--log-output', '--no-progress-bar'], cwd=place/'working',
                            env=environment(home, **(env or {})), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, encoding='utf-8')

def execute(*args, **settings):
    "Exit code and output of the whole run"
    p = start(*args, **settings)
    return p.communicate()[0], p.returncode

def attach(place, mount, layout, metadata=True, n=24, seconds=1.):
    "A corpus under input/, mounted as Kaggle does it"
    folder = place/'input'/dict(new='datasets/freezerainml/ruslan', old='ruslan')[mount]
    synth_corpus(folder, n=n, seconds=seconds, sample_rate=44100)
    if layout=='B': (folder/'RUSLAN').mkdir(); [p.rename(folder/'RUSLAN'/p.name) for p in folder.glob('*.wav')]
    if not metadata: (folder/'metadata_RUSLAN_22200.csv').unlink()
    return folder

def read_only(folder): subprocess.run(['chmod', '-R', 'a-w', folder], check=True)

@contextmanager
def mounted_read_only(folder):
    "As Kaggle mounts it, where this user may mount; even root cannot write then"
    if subprocess.run(['mount', '--bind', folder, folder], capture_output=True).returncode: pytest.skip('this user may not mount')
    try:
        subprocess.run(['mount', '-o', 'remount,bind,ro', folder], check=True)
        yield
    finally: subprocess.run(['umount', folder], check=True)

def files(place): return {p.relative_to(place/'working').as_posix() for p in (place/'working').rglob('*') if p.is_file()}

PROMISED = {'index.html', 'session.json', 'run/config.json', 'run/log.csv', 'run/curves.png', 'run/checkpoints/last.pt', 'run/checkpoints/best.pt'}

def trained(place, log, code, step):
    "The run ended as COMPLETE, and left what was promised"
    assert code==0, log
    facts = json.loads((place/'working'/'session.json').read_text())
    assert (facts['outcome'], facts['step'], facts['problems'])==('trained', step, []), log
    assert PROMISED<=files(place) and any(f.startswith('run/samples/') and f.endswith('.wav') for f in files(place)), files(place)
    assert not any(f.endswith(('.py', '.npy')) for f in files(place)) # neither the package nor the decoded corpus
    return facts

def test_committed_kernel_is_fresh():
    assert stale(ROOT)==''

def test_fresh_kernel_is_not_rewritten(tmp_path):
    for name in ('hifigan_ruslan', 'kernel'): shutil.copytree(ROOT/name, tmp_path/name, ignore=shutil.ignore_patterns('clips', '__pycache__'))
    (tmp_path/'nbs').mkdir(); shutil.copy(ROOT/'nbs'/'74_train_kernel.ipynb', tmp_path/'nbs')
    assert build(tmp_path).read_bytes()==(ROOT/'kernel'/'train.ipynb').read_bytes()

def test_two_sessions(python, pushed, tmp_path):
    "New mount, layout A, metadata, one process; then old mount, layout B, no metadata, two processes, going on from the first"
    first, second = tmp_path/'first', tmp_path/'second'
    for p in (first, second): p.mkdir()
    attach(first, 'new', 'A'); read_only(first/'input')
    log, code = execute(python, pushed, first, PROCS=1, TRAIN='--steps 20')
    trained(first, log, code, 20)
    assert 'hifigan_ruslan' in log and 'package' in log and 'datasets/' in log and '24 rows give a text' in log.replace('of 24 ', '')
    attach(second, 'old', 'B', metadata=False)
    shutil.copytree(first/'working', second/'input'/'hifigan-ruslan-train'); read_only(second/'input')
    log, code = execute(python, pushed, second, PROCS=2, TRAIN='--steps 40')
    trained(second, log, code, 40)
    assert 'going on from' in log and 'step 20' in log and '2 processes can train together' in log and 'processes: 2' in log
    out = json.loads((second/'elsewhere'/'out.ipynb').read_text())
    kinds = {k for c in out['cells'] for o in c.get('outputs', []) for k in o.get('data', {})}
    assert 'image/png' in kinds and any('<audio' in ''.join(o.get('data', {}).get('text/html', '')) for c in out['cells'] for o in c.get('outputs', []))

def attach_weights(place, mount, source):
    "Packed as hifigan-kaggle weights packs them, and mounted as Kaggle mounts a dataset"
    folder = place/'input'/dict(new='datasets/alice/hifigan-ruslan-weights-toy', old='hifigan-ruslan-weights-toy')[mount]
    folder.parent.mkdir(parents=True, exist_ok=True)
    return pack(source, folder, 'toy')

def generator(folder):
    cfg = replace(TINY, **CONFIG)
    return export_folder(cfg, new_state(cfg).generator.state_dict(), folder)

def warm(place, log, mine, networks, step):
    "The run began from these weights, and says what that has brought"
    facts = json.loads((place/'working'/'session.json').read_text())
    assert f'a new run starts from the weights {mine.words}' in log and f'starting from the weights of {mine.init}: {networks}' in log, log
    assert facts['start']['sha256']==mine.digest==json.loads((place/'working/run/start.json').read_text())['sha256']
    assert json.loads((place/'working/run/config.json').read_text())['lr_g']==1e-4
    assert set(facts['compared']['now'])==set(facts['compared']['start']) and 'mel_l1' in facts['compared']['now'] and f'From the weights toy to step {step}' in facts['compared']['said'] or facts['compared']['step']==0
    page = (place/'working/index.html').read_text()
    assert '<h2>Start and now</h2><table>' in page and 'the start, toy' in page
    sounds = re.findall(r'src="(run/compare/[^"]+)"', page)
    assert len(sounds)>=3 and all((place/'working'/unquote(o)).exists() for o in sounds)

def test_warm_sessions(python, pushed, tmp_path):
    "New mount, one process, a generator that is asked for; then old mount, two processes, a run with its discriminators, not asked for"
    first, second = tmp_path/'first', tmp_path/'second'
    for p in (first, second): p.mkdir()
    attach(first, 'new', 'A'); mine = attach_weights(first, 'new', generator(tmp_path/'toy')); read_only(first/'input')
    log, code = execute(python, pushed, first, PROCS=1, TRAIN='--steps 20 --disc_warmup 5', INIT=f'toy@{mine.digest[:12]}')
    trained(first, log, code, 20); warm(first, log, mine, 'generator, ema; the discriminators start anew', 20)
    attach(second, 'old', 'B', metadata=False); mine = attach_weights(second, 'old', first/'working'/'run'); read_only(second/'input')
    log, code = execute(python, pushed, second, PROCS=2, TRAIN='--steps 20')
    trained(second, log, code, 20); warm(second, log, mine, 'generator, ema, mpd, msd', 20)
    assert 'processes: 2' in log and 'only the discriminators learn' not in log

@slow
@pytest.mark.parametrize('mount,procs', [('new', 2), ('old', 1)])
def test_a_warm_run_goes_on(python, pushed, tmp_path, mount, procs):
    "The other two of layout and processes; then on from its output, with the weights gone, and the start still known"
    attach(tmp_path, mount, 'A'); mine = attach_weights(tmp_path, mount, generator(tmp_path/'toy'))
    log, code = execute(python, pushed, tmp_path, PROCS=procs, TRAIN='--steps 20 --disc_warmup 5', INIT='toy')
    trained(tmp_path, log, code, 20); warm(tmp_path, log, mine, 'generator, ema', 20)
    shutil.rmtree(mine.folder); shutil.move(tmp_path/'working', tmp_path/'input'/'hifigan-ruslan-train')
    log, code = execute(python, pushed, tmp_path, PROCS=procs, TRAIN='--steps 40 --disc_warmup 5')
    facts = trained(tmp_path, log, code, 40)
    assert 'it was begun from trained weights, and goes on' in log and facts['start']['sha256']==mine.digest and facts['compared']['start']

@pytest.mark.parametrize('what', ['missing', 'damaged', 'foreign'])
def test_weights_that_cannot_be_used_end_the_session_at_once(python, pushed, tmp_path, what):
    attach(tmp_path, 'new', 'A')
    mine = attach_weights(tmp_path, 'old', generator(tmp_path/'toy'))
    if what=='damaged': (mine.folder/'model.safetensors').write_bytes((mine.folder/'model.safetensors').read_bytes()[:-9])
    asked = dict(missing=dict(INIT='universal'), damaged=dict(), foreign=dict(CONFIG=CONFIG | dict(upsample_initial_channel=64)))[what]
    log, code = execute(python, pushed, tmp_path, **asked)
    words = dict(missing='INIT asks for the weights universal, and they are not attached', damaged='was changed or damaged', foreign='upsample_initial_channel: 32 there, 64 asked for')[what]
    assert code!=0 and words in log and not (tmp_path/'working'/'run').exists(), log
    if what=='missing': # and only if told so, from scratch
        log, code = execute(python, pushed, tmp_path, TRAIN='--steps 20', INIT='scratch')
        trained(tmp_path, log, code, 20); assert "a new run starts from scratch, as INIT = 'scratch' says" in log

@slow
@pytest.mark.parametrize('metadata', (True, False))
@pytest.mark.parametrize('layout', 'AB')
@pytest.mark.parametrize('mount', ('new', 'old'))
@pytest.mark.parametrize('procs', (1, 2))
def test_every_layout(python, pushed, tmp_path, mount, layout, metadata, procs):
    attach(tmp_path, mount, layout, metadata); read_only(tmp_path/'input')
    trained(tmp_path, *execute(python, pushed, tmp_path, PROCS=procs, TRAIN='--steps 20'), 20)

@slow
@pytest.mark.parametrize('procs', (1, 2))
def test_budget_of_two_minutes(python, pushed, tmp_path, procs):
    attach(tmp_path, 'new', 'B')
    begin = time.monotonic()
    log, code = execute(python, pushed, tmp_path, PROCS=procs, MINUTES=2., TRAIN='--steps 100000')
    took = time.monotonic()-begin
    assert code==0 and 'out of time' in log and json.loads((tmp_path/'working/session.json').read_text())['outcome']=='trained', log
    print(f'{took:.1f} s for a budget of 120 s')
    assert 90<took<140

def processes_with(words):
    "Process numbers whose command line holds the words"
    def words_of(p):
        try: return (p/'cmdline').read_bytes().decode(errors='replace').replace('\0', ' ')
        except OSError: return ''
    return [int(p.name) for p in Path('/proc').glob('[0-9]*') if words in words_of(p)]

@slow
@pytest.mark.parametrize('procs', (1, 2))
@pytest.mark.parametrize('whom', ('training', 'notebook', 'papermill'))
def test_sigterm(python, pushed, tmp_path, whom, procs):
    "Told to stop, training saves within 20 s, whoever was told"
    attach(tmp_path, 'new', 'A')
    p = start(python, pushed, tmp_path, PROCS=procs)
    lines, told = [], None
    for line in p.stdout:
        lines.append(line)
        if told is None and line.startswith('step 30/'):
            child = min(processes_with(f'{tmp_path}/temp/data_try {tmp_path}/working/run'))
            parent = int((Path('/proc')/str(child)/'stat').read_text().rpartition(')')[2].split()[1])
            told = time.monotonic()
            os.kill(dict(training=child, notebook=parent, papermill=p.pid)[whom], signal.SIGTERM)
    p.wait()
    while processes_with(f'{tmp_path}/working/run') and time.monotonic()<told+60: time.sleep(.2)
    took = time.monotonic()-told
    print(f'{whom}, {procs} processes: over {took:.1f} s after SIGTERM')
    from hifigan_ruslan.checkpoint import load_checkpoint
    assert took<20 and load_checkpoint(tmp_path/'working/run/checkpoints/last.pt')[0].step>=30, ''.join(lines)
    if whom!='papermill': assert p.returncode==0 and (tmp_path/'working/session.json').exists(), ''.join(lines)

@slow
def test_corrupt_checkpoint_and_one_gpu_missing(python, pushed, tmp_path):
    "A damaged checkpoint is passed over; processes that cannot meet are replaced by one"
    attach(tmp_path, 'new', 'A')
    old = tmp_path/'input/notebooks/alice/hifigan-ruslan-train/run/checkpoints'; old.mkdir(parents=True)
    (old/'last.pt').write_bytes(b'PK'*5000); (old/'best.pt').touch()
    with mounted_read_only(tmp_path/'input'): log, code = execute(python, pushed, tmp_path, PROCS=2, TRAIN='--steps 20', env=dict(GLOO_SOCKET_IFNAME='none0'))
    trained(tmp_path, log, code, 20)
    assert log.count('passed over:')==2 and '2 processes could not work together' in log and 'one process trains alone' in log and 'a new run' in log

@slow
def test_go_on_from_a_read_only_mount(python, pushed, tmp_path):
    for i,name in enumerate(('first', 'second')):
        place = tmp_path/name; place.mkdir()
        attach(place, 'old', 'A')
        if i: shutil.copytree(tmp_path/'first'/'working', place/'input'/'notebooks'/'alice'/'hifigan-ruslan-train')
        with mounted_read_only(place/'input'): trained(place, *execute(python, pushed, place, TRAIN=f'--steps {20+20*i}'), 20+20*i)

@slow
def test_editor_shows_a_plot(python, pushed, tmp_path):
    "One picture that is drawn anew, and no stream of lines"
    attach(tmp_path, 'new', 'A')
    trained(tmp_path, *execute(python, pushed, tmp_path, TRAIN='--steps 40', env=dict(KAGGLE_KERNEL_RUN_TYPE='Interactive')), 40)
    cell = next(c for c in json.loads((tmp_path/'elsewhere'/'out.ipynb').read_text())['cells'] if 'session.train(' in ''.join(c['source']))
    lines = ''.join(''.join(o.get('text', '')) for o in cell['outputs'])
    assert sum('image/png' in o.get('data', {}) for o in cell['outputs'])==1 and '\nstep ' not in lines and 'done: step 40' in lines, lines

@slow
def test_full_disk(python, pushed, tmp_path):
    attach(tmp_path, 'new', 'A')
    (tmp_path/'working').mkdir()
    if subprocess.run(['mount', '-t', 'tmpfs', '-o', 'size=18m', 'tmpfs', tmp_path/'working'], capture_output=True).returncode: pytest.skip('this user may not mount')
    try:
        log, code = execute(python, pushed, tmp_path, TRAIN='--steps 60', CONFIG=CONFIG | dict(upsample_initial_channel=64))
        assert code==0 and 'PROBLEM: training ended with exit code 1' in log and 'the disk is full' in log, log
        assert json.loads((tmp_path/'working/session.json').read_text())['outcome']=='failed'
    finally: subprocess.run(['umount', tmp_path/'working'], check=True)

@slow
def test_no_corpus(python, pushed, tmp_path):
    "Nothing to lose, so this one may end with an error, which says what to do"
    (tmp_path/'input').mkdir()
    log, code = execute(python, pushed, tmp_path)
    assert code!=0 and 'No recordings are attached' in log and 'freezerainml/ruslan' in log

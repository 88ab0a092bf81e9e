"""The compiled kernel as Kaggle runs it: the pushed text, executed by papermill where nothing but the image's packages
can be imported.
NB_FLAGS=slow runs every layout; else two sessions that together have one of each."""
import json, os, re, shutil, signal, subprocess, sys, sysconfig, time
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
import pytest
from hifigan_ruslan.checkpoint import load_checkpoint
from hifigan_ruslan.config import TINY
from hifigan_ruslan.dataset.corpus import synth_corpus
from hifigan_ruslan.inference.hub import export_folder
from hifigan_ruslan.kaggle.kernel import build, stale
from hifigan_ruslan.kaggle.pack import pack
from hifigan_ruslan.kaggle.session import how_far
from hifigan_ruslan.step import new_state
from kaggle_stub import KaggleStub

ROOT = Path(__file__).parent.parent
NOT_THERE = ('hifigan_ruslan', '__editable__', '__pycache__', 'nbdev', 'execnb', 'ghapi', 'kaggle', 'sphinx',
             'pytest', '_pytest', 'myst_nb')
CONFIG = dict(upsample_initial_channel=32, disc_shrink=32, segment_size=2048, batch_size=2, valid_every=20)
slow = pytest.mark.skipif('slow' not in os.environ.get('NB_FLAGS', ''), reason='NB_FLAGS=slow runs it')

@pytest.fixture(scope='module')
def python(tmp_path_factory):
    """A Python that has the packages of this one, but neither the project nor nbdev nor the tools around them;
    or the one in KERNEL_PYTHON"""
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
        done = subprocess.run([sys.executable, '-m', 'kaggle', 'kernels', 'push'], cwd=clone, env=kaggle.env(home),
                              capture_output=True, text=True)
        assert 'successfully pushed' in done.stdout, done.stdout+done.stderr
        return kaggle.pushed['text']

def environment(home, **more):
    kept = {k: v for k,v in os.environ.items() if k in ('PATH','LANG','LD_LIBRARY_PATH')}
    return kept | dict(HOME=str(home), MPLBACKEND='Agg', KAGGLE_KERNEL_RUN_TYPE='Batch', OMP_NUM_THREADS='1') | more

def start(python, text, place, env=None, **settings):
    "papermill at work on the kernel, in an empty folder, as Kaggle starts it"
    home = place/'elsewhere'; home.mkdir(exist_ok=True)
    (home/'kernel.ipynb').write_text(text)
    (place/'working').mkdir(exist_ok=True)
    settings = dict(ROOT=str(place), PRESET='TINY', MINUTES=50., CPU=True, TRAIN='', CONFIG=CONFIG) | settings
    yaml = home/'settings.yaml'; yaml.write_text(json.dumps(settings)) # JSON is YAML
    command = [python, '-m', 'papermill', home/'kernel.ipynb', home/'out.ipynb', '-f', yaml,
               '--log-output', '--no-progress-bar']
    return subprocess.Popen(command, cwd=place/'working', env=environment(home, **(env or {})),
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, encoding='utf-8')

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
    if subprocess.run(['mount', '--bind', folder, folder], capture_output=True).returncode:
        pytest.skip('this user may not mount')
    try:
        subprocess.run(['mount', '-o', 'remount,bind,ro', folder], check=True)
        yield
    finally: subprocess.run(['umount', folder], check=True)

def files(place):
    working = place/'working'
    return {p.relative_to(working).as_posix() for p in working.rglob('*') if p.is_file()}

def session(place): return json.loads((place/'working'/'session.json').read_text())

PROMISED = {'index.html', 'session.json', 'run/config.json', 'run/log.csv', 'run/curves.png',
            'run/checkpoints/last.pt', 'run/checkpoints/best.pt',
            'voice/model.safetensors', 'voice/config.json', 'voice/README.md'}

def trained(place, log, code, step):
    "The run ended as COMPLETE, and left what was promised"
    assert code==0, log
    facts, there = session(place), files(place)
    assert (facts['outcome'], facts['step'], facts['problems'])==('trained', step, []), log
    assert PROMISED<=there and any(f.startswith('run/samples/') and f.endswith('.wav') for f in there), there
    assert not any(f.endswith(('.py', '.npy')) for f in there) # neither the package nor the decoded corpus
    return facts

def test_committed_kernel_is_fresh():
    assert stale(ROOT)==''

def test_fresh_kernel_is_not_rewritten(tmp_path):
    copy_clone(tmp_path)
    assert build(tmp_path).read_bytes()==(ROOT/'kernel'/'train.ipynb').read_bytes()

def copy_clone(place):
    "What of the clone the kernel is made from, and the kernel"
    for name in ('hifigan_ruslan', 'kernel'):
        shutil.copytree(ROOT/name, place/name, ignore=shutil.ignore_patterns('clips', '__pycache__'))
    (place/'nbs').mkdir(); shutil.copy(ROOT/'nbs'/'76_train_kernel.ipynb', place/'nbs')

def test_a_changed_line_changes_few(tmp_path):
    "In the module's cell, its hash, and the seal; the step is a module in the middle of the others"
    copy_clone(tmp_path)
    before = (tmp_path/'kernel'/'train.ipynb').read_text(encoding='utf-8').splitlines()
    step = tmp_path/'hifigan_ruslan'/'step.py'
    text = step.read_text(encoding='utf-8')
    assert text.count('\ndef train_step(')==1
    step.write_text(text.replace('\ndef train_step(', '\ndef train_step( # a change'), encoding='utf-8')
    after = build(tmp_path).read_text(encoding='utf-8').splitlines()
    changed = [(a, b) for a,b in zip(before, after) if a!=b]
    assert len(before)==len(after) and 0<len(changed)<=5, changed
    assert sum('# a change' in l for l in after)==1

def test_the_modules_are_in_cells_as_they_are():
    cells = json.loads((ROOT/'kernel'/'train.ipynb').read_text(encoding='utf-8'))['cells']
    sources = [''.join(c['source']) for c in cells if c['id'].startswith('module-')]
    names = [re.match(r'%%writefile \{package\}/(.*)\n', s)[1] for s in sources]
    assert {'__init__.py', 'step.py', 'training/command.py', 'kaggle/session.py'}<=set(names) and 'cli.py' not in names
    for name,source in zip(names, sources):
        assert source.partition('\n')[2]+'\n'==(ROOT/'hifigan_ruslan'/name).read_text(encoding='utf-8'), name
    longest = max(len(l) for c in cells for s in c['source'] for l in s.splitlines() if c['cell_type']=='code')
    assert longest<1000 # no module travels in another form

def test_two_sessions(python, pushed, tmp_path):
    """New mount, layout A, metadata, one process;
    then old mount, layout B, no metadata, two processes, going on from the first"""
    first, second = tmp_path/'first', tmp_path/'second'
    for p in (first, second): p.mkdir()
    attach(first, 'new', 'A'); read_only(first/'input')
    log, code = execute(python, pushed, first, PROCS=1, TRAIN='--steps 20')
    trained(first, log, code, 20)
    assert re.search(r'^hifigan_ruslan [\d.]+ \(package [0-9a-f]{12}, \d+ modules\), written to \S+$', log, re.M), log
    assert 'datasets/' in log and '24 rows give a text' in log.replace('of 24 ', '')
    attach(second, 'old', 'B', metadata=False)
    shutil.copytree(first/'working', second/'input'/'hifigan-ruslan-train'); read_only(second/'input')
    log, code = execute(python, pushed, second, PROCS=2, TRAIN='--steps 40')
    trained(second, log, code, 40)
    for words in ('going on from', 'step 20', '2 processes can train together', 'processes: 2'):
        assert words in log, log
    out = json.loads((second/'elsewhere'/'out.ipynb').read_text())
    shown = [o.get('data', {}) for c in out['cells'] for o in c.get('outputs', [])]
    assert any('image/png' in o for o in shown) and any('<audio' in ''.join(o.get('text/html', '')) for o in shown)

def attach_weights(place, mount, source):
    "Packed as hifigan-kaggle weights packs them, and mounted as Kaggle mounts a dataset"
    name = 'hifigan-ruslan-weights-toy'
    folder = place/'input'/dict(new=f'datasets/alice/{name}', old=name)[mount]
    folder.parent.mkdir(parents=True, exist_ok=True)
    return pack(source, folder, 'toy')

def generator(folder):
    cfg = replace(TINY, **CONFIG)
    return export_folder(cfg, new_state(cfg).generator.state_dict(), folder)

def warm(place, log, mine, networks, step):
    "The run began from these weights, and says what that has brought"
    facts, run = session(place), place/'working'/'run'
    assert f'a new run starts from the weights {mine.words}' in log, log
    assert f'starting from the weights of {mine.init}: {networks}' in log, log
    assert facts['start']['sha256']==mine.digest==json.loads((run/'start.json').read_text())['sha256']
    assert json.loads((run/'config.json').read_text())['lr_g']==1e-4
    compared = facts['compared']
    measured = set(compared['now'])==set(compared['start']) and 'mel_l1' in compared['now']
    assert measured and f'From the weights toy to step {step}' in compared['said'] or compared['step']==0
    page = (place/'working/index.html').read_text()
    assert '<h2>Start and now</h2><table>' in page and 'the start, toy' in page
    assert page.count('<audio')>=3 and page.count('src="data:audio/flac;base64,')==page.count('<audio')

def test_warm_sessions(python, pushed, tmp_path):
    """New mount, one process, a generator that is asked for;
    then old mount, two processes, a run with its discriminators, not asked for"""
    first, second = tmp_path/'first', tmp_path/'second'
    for p in (first, second): p.mkdir()
    attach(first, 'new', 'A')
    mine = attach_weights(first, 'new', generator(tmp_path/'toy')); read_only(first/'input')
    asked = dict(TRAIN='--steps 20 --disc_warmup 5', INIT=f'toy@{mine.digest[:12]}')
    log, code = execute(python, pushed, first, PROCS=1, **asked)
    trained(first, log, code, 20)
    warm(first, log, mine, 'generator, ema; the discriminators start anew', 20)
    attach(second, 'old', 'B', metadata=False)
    mine = attach_weights(second, 'old', first/'working'/'run'); read_only(second/'input')
    log, code = execute(python, pushed, second, PROCS=2, TRAIN='--steps 20')
    trained(second, log, code, 20)
    warm(second, log, mine, 'generator, ema, mpd, msd', 20)
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
    assert 'it was begun from trained weights, and goes on' in log
    assert facts['start']['sha256']==mine.digest and facts['compared']['start']

UNUSABLE = dict( # settings, and what is said
    missing=(dict(INIT='universal'), 'INIT asks for the weights universal, and they are not attached'),
    damaged=({}, 'was changed or damaged'),
    foreign=(dict(CONFIG=CONFIG | dict(upsample_initial_channel=64)),
             'upsample_initial_channel: 32 there, 64 asked for'))

@pytest.mark.parametrize('what', UNUSABLE)
def test_weights_that_cannot_be_used_end_the_session_at_once(python, pushed, tmp_path, what):
    attach(tmp_path, 'new', 'A')
    mine = attach_weights(tmp_path, 'old', generator(tmp_path/'toy'))
    model = mine.folder/'model.safetensors'
    if what=='damaged': model.write_bytes(model.read_bytes()[:-9])
    asked, words = UNUSABLE[what]
    log, code = execute(python, pushed, tmp_path, **asked)
    assert code!=0 and words in log and not (tmp_path/'working'/'run').exists(), log
    if what=='missing': # and only if told so, from scratch
        log, code = execute(python, pushed, tmp_path, TRAIN='--steps 20', INIT='scratch')
        trained(tmp_path, log, code, 20)
        assert "a new run starts from scratch, as INIT = 'scratch' says" in log

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
    log, code = execute(python, pushed, tmp_path, PROCS=procs, MINUTES=2., TRAIN='--steps 100000')
    facts = session(tmp_path)
    assert code==0 and 'out of time' in log and facts['outcome']=='trained', log
    print(f'{3600*facts["hours"]:.1f} s of a budget of 120 s')
    assert .75<facts['hours']/(2/60)<1.1 # as the session itself says

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
    "Told to stop, training saves within 20 s by its own speed, whoever was told"
    attach(tmp_path, 'new', 'A')
    p = start(python, pushed, tmp_path, PROCS=procs)
    lines, told, run = [], False, tmp_path/'working'/'run'
    for line in p.stdout:
        lines.append(line)
        if not told and line.startswith('step 30 '):
            child = min(processes_with(f'{tmp_path}/temp/data_try {run}'))
            parent = int((Path('/proc')/str(child)/'stat').read_text().rpartition(')')[2].split()[1])
            os.kill(dict(training=child, notebook=parent, papermill=p.pid)[whom], signal.SIGTERM)
            told = True
    p.wait()
    for _ in range(600):
        if not processes_with(str(run)): break
        time.sleep(.2)
    step = load_checkpoint(run/'checkpoints'/'last.pt')[0].step
    more = (step-30)/how_far(run)['steps_per_s']
    print(f'{whom}, {procs} processes: {step-30} more steps after SIGTERM, {more:.1f} s at the speed in the log')
    assert told and not processes_with(str(run)) and step>=30 and more<20, ''.join(lines)
    if whom!='papermill': assert p.returncode!=0 and session(tmp_path)['outcome']=='stopped', ''.join(lines)

@slow
def test_corrupt_checkpoint_and_one_gpu_missing(python, pushed, tmp_path):
    "Damaged checkpoints end the session at once, unless a new run is asked for; processes that cannot meet become one"
    attach(tmp_path, 'new', 'A')
    old = tmp_path/'input/notebooks/alice/hifigan-ruslan-train/run/checkpoints'; old.mkdir(parents=True)
    (old/'last.pt').write_bytes(b'PK'*5000); (old/'best.pt').touch()
    no_network = dict(GLOO_SOCKET_IFNAME='none0')
    with mounted_read_only(tmp_path/'input'):
        log, code = execute(python, pushed, tmp_path)
        assert code!=0 and 'none of its checkpoints can be read' in log and 'NEW_RUN = True' in log, log
        assert not (tmp_path/'working/run').exists()
        log, code = execute(python, pushed, tmp_path, PROCS=2, TRAIN='--steps 20', NEW_RUN=True, env=no_network)
    trained(tmp_path, log, code, 20)
    assert log.count('passed over:')==2, log
    for words in ('2 processes could not work together', 'one process trains alone', 'a new run'):
        assert words in log, log

@slow
def test_go_on_from_a_read_only_mount(python, pushed, tmp_path):
    for i,name in enumerate(('first', 'second')):
        place = tmp_path/name; place.mkdir()
        attach(place, 'old', 'A')
        if i: shutil.copytree(tmp_path/'first'/'working', place/'input'/'notebooks'/'alice'/'hifigan-ruslan-train')
        steps = 20+20*i
        with mounted_read_only(place/'input'):
            trained(place, *execute(python, pushed, place, TRAIN=f'--steps {steps}'), steps)

@slow
def test_editor_shows_a_plot(python, pushed, tmp_path):
    "One picture that is drawn anew, and no stream of lines"
    attach(tmp_path, 'new', 'A')
    in_editor = dict(KAGGLE_KERNEL_RUN_TYPE='Interactive')
    trained(tmp_path, *execute(python, pushed, tmp_path, TRAIN='--steps 40', env=in_editor), 40)
    cells = json.loads((tmp_path/'elsewhere'/'out.ipynb').read_text())['cells']
    cell = next(c for c in cells if ''.join(c['source']).startswith('session.train('))
    lines = ''.join(''.join(o.get('text', '')) for o in cell['outputs'])
    assert sum('image/png' in o.get('data', {}) for o in cell['outputs'])==1
    assert '\nstep ' not in lines and 'done: step 40' in lines, lines

@slow
def test_full_disk(python, pushed, tmp_path):
    attach(tmp_path, 'new', 'A')
    (tmp_path/'working').mkdir()
    mount = ['mount', '-t', 'tmpfs', '-o', 'size=18m', 'tmpfs', tmp_path/'working']
    if subprocess.run(mount, capture_output=True).returncode: pytest.skip('this user may not mount')
    try:
        larger = CONFIG | dict(upsample_initial_channel=64)
        log, code = execute(python, pushed, tmp_path, TRAIN='--steps 60', CONFIG=larger)
        assert code!=0 and 'PROBLEM: training ended with exit code 1' in log and 'the disk is full' in log, log
        assert session(tmp_path)['outcome']=='failed'
    finally: subprocess.run(['umount', tmp_path/'working'], check=True)

@slow
def test_no_corpus(python, pushed, tmp_path):
    "The error says what to do"
    (tmp_path/'input').mkdir()
    log, code = execute(python, pushed, tmp_path)
    assert code!=0 and 'No recordings are attached' in log and 'freezerainml/ruslan' in log

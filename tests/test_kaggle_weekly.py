"""`hifigan-kaggle train` with the real `kaggle` command against the stub of Kaggle's API; only the clock is another.
The command runs inside this process, which saves starting a Python for each question"""
import ast, io, json, os, re, shutil, sys, zipfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from unittest.mock import patch
import pytest
from hifigan_ruslan.base.files import only_one
from hifigan_ruslan.cli import kaggle_cli
from hifigan_ruslan.kaggle import client, weekly
from kaggle_stub import API, KaggleStub, Refused

ROOT = Path(__file__).parent.parent
ID = 'alice/hifigan-ruslan-train'

class InThisProcess:
    "What `subprocess.Popen` would be for the `kaggle` command"
    def __init__(self, *args):
        from kaggle.cli import main
        out = io.StringIO()
        with patch.object(sys, 'argv', ['kaggle', '-W', *map(str, args)]), redirect_stdout(out):
            with redirect_stderr(out): self.returncode = _code(main)
        self.stdout = io.StringIO(out.getvalue())
    def __enter__(self): return self
    def __exit__(self, *args): pass
    def communicate(self): return self.stdout.read(), None

def _code(main):
    try: main()
    except SystemExit as e: return e.code if isinstance(e.code, int) else int(e.code is not None)
    return 0

class Timed(KaggleStub):
    """Sessions take their time: each pause of the client brings the last one nearer to its end, and stops the client
    where it is told so"""
    now, stop_in, ends = 1e9, None, {}

    def save(self, user, body):
        answer = KaggleStub.save(self, user, body)
        if 'versionNumber' in answer:
            self.statuses, self.output, self.until = ['RUNNING'], {}, self.now+3600*hours(body)
        return answer

    routes = KaggleStub.routes | {f'{API}kernels.KernelsApiService/SaveKernel': save}

    @property
    def n(self): return len(self.kernels.get(ID, ()))

    def sleep(self, s):
        self.now += s
        if self.stop_in==self.n: self.stop_in = None; raise KeyboardInterrupt
        if self.statuses==['RUNNING'] and self.now>=self.until: self.end()

    def end(self):
        state, facts = self.ends.get(self.n, ('COMPLETE', {}))
        known = dict(settings=settings(self.kernels[ID][-1]))
        self.statuses, self.output = [state], {} if facts is None else files(self.n, known | facts)
        self.gpu_hours[0] += hours(self.kernels[ID][-1])

def settings(body):
    "Of the session that was pushed, as its record has them"
    cells = [''.join(c['source']) for c in json.loads(body['text'])['cells'] if c['cell_type']=='code']
    tree = ast.parse(next(c for c in cells if re.search('^HOURS *=', c, re.M)))
    return {o.targets[0].id: ast.literal_eval(o.value) for o in tree.body if o.targets[0].id!='ROOT'}

def hours(body): return float(settings(body)['HOURS'])

def train(stub, *args):
    "The command's exit code, and what it says"
    out, root = io.StringIO(), stub.root
    words = 'train', '--root', str(root), '--out', str(root/'out'), '--from-scratch', *args
    clock = patch.multiple(weekly, _sleep=stub.sleep, _now=lambda: stub.now)
    with clock, patch.object(client, '_start', InThisProcess), redirect_stdout(out), redirect_stderr(out):
        try: kaggle_cli(*words)
        except SystemExit as e: return e.code, out.getvalue()
    return 0, out.getvalue()

def files(n, facts):
    "What session `n` leaves"
    with io.BytesIO() as b:
        with zipfile.ZipFile(b, 'w') as z: z.writestr('step', str(n))
        checkpoint = b.getvalue()
    session = dict(outcome='trained', step=1000*n, hours=11., mel=.6-.1*n, best_mel=.55-.1*n, short=False) | facts
    return {'session.json': json.dumps(session).encode(), 'run/log.csv': f'step,mel\n10,1\n{1000*n},1\n'.encode(),
            'run/checkpoints/last.pt': checkpoint, 'index.html': b'<p>'}

@pytest.fixture
def stub(tmp_path):
    root = tmp_path/'clone'
    shutil.copytree(ROOT/'hifigan_ruslan', root/'hifigan_ruslan', ignore=shutil.ignore_patterns('clips', '__pycache__'))
    (root/'nbs').mkdir(); shutil.copy(ROOT/'nbs'/'76_train_kernel.ipynb', root/'nbs')
    meta = json.loads((ROOT/'kernel-metadata.json').read_text()) | dict(id=ID)
    (root/'kernel-metadata.json').write_text(json.dumps(meta))
    with Timed() as stub, patch.dict(os.environ, stub.env(tmp_path/'home'), clear=True):
        stub.root, stub.ends = root, {}
        yield stub

def test_three_sessions_stopped_and_started_in_the_second(stub):
    stub.stop_in, stub.gpu_hours = 2, [0., 90.]
    code, said = train(stub, '--until', '3')
    assert code==130 and 'what runs on Kaggle goes on by itself' in said and stub.n==2, said
    code, said = train(stub, '--until', '3')
    assert code==0 and stub.n==3, said
    assert 'going on with session 2' in said and '3 of 3 sessions are done' in said
    for n in (2, 3): assert f'session {n}: trained, step {1000*n:,} (+1,000)' in said, said
    assert 'mel L1 on unseen utterances 0.300 (-0.100)' in said and 'out/index.html' in said
    assert [b.get('kernelDataSources', []) for b in stub.kernels[ID]]==[[], [ID], [ID]]
    assert (stub.root/'out'/'run'/'checkpoints'/'last.pt').is_file()
    kept = json.loads((stub.root/'out.sessions'/'sessions.json').read_text())['sessions']
    assert [s['step'] for s in kept]==[1000, 2000, 3000]
    code, said = train(stub, '--until', '3')
    assert code==0 and stub.n==3 and '--until 4 goes on' in said

def test_until_the_quota_is_used(stub):
    stub.gpu_hours = [14., 30.]
    code, said = train(stub, '--hours', '8', '--preset', 'V2')
    assert code==0 and 'The same command goes on when there are new hours' in said, said
    assert [hours(b) for b in stub.kernels[ID]]==[8., 7.7]
    assert all("'V2'" in b['text'] for b in stub.kernels[ID])

def test_kaggle_says_that_the_quota_is_used(stub):
    "Where the command does not tell the quota, or Kaggle counts otherwise"
    stub.gpu_hours, stub.save_answer = None, dict(error='Maximum weekly GPU quota of 30.00 hours reached.')
    code, said = train(stub)
    assert code==0 and 'The same command goes on when there are new hours' in said and stub.n==0, said

@pytest.mark.parametrize('end,words', [
    (('ERROR', dict(outcome='failed', why='the disk is full')), 'Session 1 has failed: the disk is full'),
    (('CANCEL_ACKNOWLEDGED', None), 'Session 1 was stopped, by hand or at a time limit'),
    (('COMPLETE', dict(outcome='running')), 'Session 1 was killed')], ids=['failed', 'cancelled', 'killed'])
def test_a_session_that_did_not_end_well_ends_the_chain(end, words, stub):
    stub.ends[1] = end
    code, said = train(stub, '--until', '3')
    assert code==1 and f'error: {words}' in said and stub.n==1, said
    code, said = train(stub, '--until', '3')
    assert code==1 and 'then add --anyway' in said and stub.n==1, said

def test_trouble_that_passes_is_waited_out(stub):
    "Kaggle is down for some questions: nothing ends, and nothing is pushed twice"
    whole, asked = KaggleStub.status, []
    def status(self, user, body):
        asked.append(1)
        if len(asked) in (3, 4): raise Refused(503, '503 Server Error: Service Unavailable')
        return whole(self, user, body)
    with patch.dict(stub.routes, {f'{API}kernels.KernelsApiService/GetKernelSessionStatus': status}):
        code, said = train(stub, '--until', '1')
    assert code==0 and stub.n==1 and 'Kaggle itself has trouble' in said and 'Asked again in 2 minutes' in said, said

def test_two_at_once(stub):
    with ThreadPoolExecutor(1) as other: # what another thread holds is held as by another process
        lock = only_one(stub.root/'out.sessions')
        other.submit(lock.__enter__).result()
        code, said = train(stub, '--until', '1')
        other.submit(lock.__exit__, None, None, None).result()
    assert code==1 and 'is being written by another process' in said and stub.n==0

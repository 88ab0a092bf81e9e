"""The widgets in a real browser with a real kernel: Voila, and once JupyterLab.
Skipped without Chromium, playwright or voila"""
import base64, os, re, socket, subprocess, sys, time
from contextlib import contextmanager
from pathlib import Path
import nbformat, numpy as np, pytest, soundfile as sf
from hifigan_ruslan.listening.listening_test import make_test
from hifigan_ruslan.listening.ratings import read_ratings

ROOT = Path(__file__).parent.parent
sync_api = pytest.importorskip('playwright.sync_api', reason='the package playwright is not installed')
for package in ('voila', 'anywidget'): pytest.importorskip(package, reason=f'the package {package} is not installed')
RATE = 22050
SHOTS = os.environ.get('LISTEN_SHOTS') # Folder for screenshots; none = none

HEAD = '''import sys; sys.path.insert(0, {root!r})
import torch; torch.set_num_threads(1)
from pathlib import Path
from hifigan_ruslan.config import TINY
from hifigan_ruslan.evaluation.systems import eval_clips
from hifigan_ruslan.generator import random_generator
from hifigan_ruslan.listening.browse import browse, texts_of
from hifigan_ruslan.listening.live import resynthesize_live
from hifigan_ruslan.listening.monitor import monitor
from hifigan_ruslan.listening.test_widget import blind_widget
from hifigan_ruslan.vocoder import Vocoder
vocoder = Vocoder(TINY, random_generator(TINY))
here = Path({here!r})
'''
BROWSE = '''files = [Path({root!r})/'hifigan_ruslan'/'clips'/f'ru_{{n}}.flac' for n in ('0003','0025','0040')]
clips = eval_clips(files)
half = {{n: r(22050)*.5 for n,r in clips}}
systems = {{'TINY, untrained': vocoder, 'half <b>"as"</b> loud': half}}
browse(clips, systems, texts_of(files[0].parent), lang={lang!r})'''
BLIND = '''from hifigan_ruslan.listening.listening_test import BlindTest
blind_widget(BlindTest.open(here/{folder!r}), {listener!r}, lang={lang!r})'''

# Made for JupyterLab: in Voila they only complain
NOT_FOR_VOILA = ['jupyterlab-jupytext', '@jupyter-notebook/lab-extension', 'jupyterlab_pygments']
ELSEWHERE = ('cdn.jsdelivr|fontawesome|font-awesome|ERR_INTERNET|ERR_NAME|ERR_CONNECTION|ERR_TUNNEL|ERR_PROXY|'
             'ERR_BLOCKED') # What the console says of a CDN that is not there

def free_port():
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        return s.getsockname()[1]

@contextmanager
def served(kind, folder, *cells):
    "URL of a server with a notebook of these cells; it is ended with its kernels"
    kernel = dict(name='python3', display_name='Python 3', language='python')
    nb = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in cells],
                                  metadata=dict(kernelspec=kernel))
    nbformat.write(nb, folder/'listen.ipynb')
    port, home = free_port(), folder/'home'
    home.mkdir(exist_ok=True)
    env = {k: v for k,v in os.environ.items() if not k.startswith(('JUPYTER', 'JPY'))}
    env |= dict(HOME=str(home), JUPYTER_CONFIG_DIR=str(home/'cfg'), OMP_NUM_THREADS='1', PYTHONPATH=str(ROOT),
                MPLBACKEND='Agg')
    cmd = dict(voila=['-m', 'voila', 'listen.ipynb', '--no-browser', f'--port={port}', '--Voila.ip=127.0.0.1',
                      f'--VoilaConfiguration.extension_denylist={NOT_FOR_VOILA}'],
               lab=['-m', 'jupyterlab', '--no-browser', '--allow-root', '--ip=127.0.0.1', f'--port={port}',
                    '--ServerApp.port_retries=0', '--IdentityProvider.token=tok', '--LabApp.news_url=',
                    '--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate'])[kind]
    with open(folder/f'{kind}.log', 'w') as log:
        p = subprocess.Popen([sys.executable, *cmd], cwd=folder, env=env, stdout=log,
                             stderr=subprocess.STDOUT, start_new_session=True)
    try:
        for _ in range(300):
            try: socket.create_connection(('127.0.0.1', port), .2).close(); break
            except OSError: time.sleep(.1)
            assert p.poll() is None, (folder/f'{kind}.log').read_text()
        yield f'http://127.0.0.1:{port}/' + ('lab/tree/listen.ipynb?reset&token=tok' if kind=='lab' else '')
    finally:
        p.terminate()
        try: p.wait(20)
        except subprocess.TimeoutExpired:
            p.kill()
            p.wait(10)

@pytest.fixture
def opened(browser, tmp_path):
    "Function that serves cells in Voila and opens them; the console must be clean but for fonts wanted from a CDN"
    wrong, open_now = [], []
    def f(*cells, grants=(), width=1200):
        server = served('voila', tmp_path, HEAD.format(root=str(ROOT), here=str(tmp_path)),
                        *[c.format(root=str(ROOT), lang='en') if '{' in c else c for c in cells])
        url = server.__enter__()
        context = browser.new_context(viewport=dict(width=width, height=900), permissions=list(grants))
        open_now.extend([server, context])
        tab = context.new_page()
        tab.set_default_timeout(600_000)
        def said(m):
            if m.type=='error' and not re.search(ELSEWHERE, m.text+str(m.location)):
                wrong.append(m.text)
                print(m.text, m.location)
        tab.on('console', said)
        tab.on('pageerror', lambda e: wrong.append(str(e)))
        tab.goto(url)
        return tab
    yield f
    for o in open_now[::-1]:
        o.close() if hasattr(o, 'close') and not hasattr(o, 'gen') else o.__exit__(None, None, None)
    assert wrong==[]

def shot(tab, name):
    if SHOTS:
        Path(SHOTS).mkdir(exist_ok=True)
        tab.screenshot(path=f'{SHOTS}/{name}.png', full_page=True)

def until(f, seconds=600):
    "What f() gives as soon as it is true"
    end, found = time.monotonic()+seconds, None
    while not found:
        try: found = f()
        except Exception as e: # a frame may be replaced while it is looked at
            if 'detached' not in str(e): raise
        assert found or time.monotonic()<end, 'it did not come'
        if not found: time.sleep(.1)
    return found

def player_frame(tab, n=1, nth=0):
    "The frame of the nth player, when its script runs and it has at least n tracks"
    def find():
        tab.wait_for_timeout(50) # lets playwright take notice of new frames
        frames = [f for f in tab.frames if f!=tab.main_frame and f.parent_frame==tab.main_frame]
        buttons = 'window.stepPlayers ? stepPlayers[0].buttons.length : 0'
        return len(frames)>nth and frames[nth].evaluate(buttons)>=n and frames[nth]
    def safe():
        try: return find()
        except sync_api.Error: return False # it is just being replaced
    return until(safe)

def state(frame): return frame.evaluate('stepPlayers[0].state')

def plays(frame):
    "Is time going on after play is pressed?"
    frame.evaluate('stepPlayers[0].play()')
    until(lambda: state(frame)['status']=='playing')
    first = state(frame)['time']
    until(lambda: state(frame)['time']>first+.1)
    return True

def status(tab, text): return tab.locator('[role=status], [role=alert]').filter(has_text=text).last.wait_for()

def speech(seconds=1., rate=RATE):
    "A wave with energy up to half the rate"
    return (np.random.default_rng(0).standard_normal(int(seconds*rate))*.1).astype(np.float32)

def test_browse(opened):
    tab = opened(BROWSE)
    status(tab, 'clip 1 of 3')
    frame = player_frame(tab, 3)
    names = frame.evaluate('stepPlayers[0].buttons.map(b => b.dataset.name)')
    assert names==['recording', 'TINY, untrained', 'half <b>"as"</b> loud']
    assert plays(frame)
    at = state(frame)['time']
    frame.locator('.tracks button').nth(2).click()
    now = state(frame)
    assert now['track']==2 and now['status']=='playing' and now['time']>=at # it goes on where it was
    shot(tab, 'browse')
    assert tab.locator('table').inner_text().count('half <b>"as"</b> loud')==1
    tab.get_by_role('button', name='Next', exact=True).focus()
    tab.keyboard.press('Enter')
    status(tab, 'clip 2 of 3')
    tab.get_by_label('Difference from the recording').check()
    until(lambda: 'red: louder' in player_frame(tab, 3).locator('.note').inner_text())
    shot(tab, 'browse_difference')
    tab.get_by_label('Find').fill('нет такого слова')
    tab.keyboard.press('Tab')
    status(tab, 'nothing found')
    tab.get_by_label('Utterance').select_option(label='ru_0040')
    status(tab, 'clip 3 of 3')
    assert plays(player_frame(tab, 3))
    assert tab.get_by_role('button', name='Next', exact=True).is_disabled()

def drop(tab, name, data):
    "Drop a file on the drop zone"
    tab.locator('.sound-input').evaluate('''(zone, [name, data]) => {
        const given = new DataTransfer()
        given.items.add(new File([Uint8Array.from(atob(data), c => c.charCodeAt(0))], name))
        for (const kind of ['dragenter', 'dragover', 'drop'])
            zone.dispatchEvent(new DragEvent(kind, {dataTransfer: given, bubbles: true, cancelable: true}))
        }''', [name, base64.b64encode(data).decode()])

def sound_bytes(tmp_path, name, wav, rate, **kw):
    sf.write(tmp_path/name, wav, rate, **kw)
    return (tmp_path/name).read_bytes()

def test_drop_and_record(opened, tmp_path):
    tab = opened('resynthesize_live(vocoder)')
    drop(tab, 'моя "запись" <b>.flac', (ROOT/'hifigan_ruslan'/'clips'/'ru_0003.flac').read_bytes())
    frame = player_frame(tab, 2)
    assert plays(frame) and 6<state(frame)['duration']<6.2
    facts = tab.locator('.widget-html li').all_inner_texts()
    assert facts[0].startswith('моя "запись" <b>.flac: 6.1'), facts
    for fact,words in zip(facts, ('at 16,000 Hz', 'RTF', 'Nothing above', 'resampled to 22,050'), strict=True):
        assert words in fact, facts
    shot(tab, 'live')
    for name,data,words in (('empty.wav', b'', 'empty.wav is empty'),
                            ('text.wav', 'это не звук'.encode()*9, 'text.wav cannot be read as sound')):
        drop(tab, name, data)
        status(tab, words)
    drop(tab, 'phone.wav', sound_bytes(tmp_path, 'b.wav', speech(3, 8000), 8000))
    tab.get_by_text('Nothing above 4.0 kHz').wait_for()
    # 26 MB: more than a server takes in one message
    drop(tab, 'long.wav', sound_bytes(tmp_path, 'c.wav', speech(600, RATE), RATE))
    tab.get_by_text('Only the first 180 s of 600 s are used').wait_for(timeout=600_000)
    assert 179<state(player_frame(tab, 2))['duration']<181
    sound_bytes(tmp_path, 'a.flac', np.stack([speech(), speech()*.3], 1), RATE)
    with tab.expect_file_chooser() as chosen: tab.get_by_role('button', name='Choose a file').click()
    chosen.value.set_files(tmp_path/'a.flac')
    tab.get_by_text('a.flac: 1.00 s at 22,050 Hz, 2 channel(s)').wait_for()
    tab.get_by_role('button', name='Record', exact=True).focus()
    tab.keyboard.press('Space')
    tab.get_by_text(re.compile(r'recording: [2-9] / 60 s')).wait_for()
    shot(tab, 'record')
    tab.get_by_role('button', name='Stop recording').press('Enter')
    tab.get_by_text(re.compile(r'recording.wav: \d\.\d\d s at \d+,\d+ Hz, 1 channel')).wait_for()
    assert plays(player_frame(tab, 2))

def test_refused_microphone(opened):
    tab = opened("resynthesize_live(vocoder, lang='ru')")
    tab.locator('.sound-input').wait_for()
    def refuse(name):
        refusing = "async () => { throw new DOMException('no', name) }"
        tab.evaluate('name => { navigator.mediaDevices.getUserMedia = %s }' % refusing, name)
    refuse('NotAllowedError')
    tab.get_by_role('button', name='Записать', exact=True).click()
    tab.get_by_text('Микрофон запрещён').wait_for()
    assert tab.get_by_role('button', name='Записать', exact=True).is_enabled()
    refuse('NotFoundError')
    tab.get_by_role('button', name='Записать', exact=True).click()
    tab.get_by_text('Микрофона нет').wait_for()
    shot(tab, 'refused')

COLUMNS = ('step,epoch,disc,gen,fm,mel,norm_g,norm_d,steps_per_s,audio_per_s,wait,seconds,'
           'real_p2,fake_p2,real_s1,fake_s1')
def rows(*steps):
    return ''.join(f'{s},{s//100},1.0,2,1.5,{.9*np.exp(-s/300):.4f},9,3,2.5,1.2,.01,{s/2.5},.6,.3,.6,.3\n'
                   for s in steps)

def test_monitor(opened, tmp_path):
    tab = opened("monitor(here/'run <i>', every=.3)")
    tab.get_by_text('is not there yet').wait_for()
    run = tmp_path/'run <i>'
    run.mkdir()
    tab.get_by_text('log.csv has no rows yet').wait_for()
    log = run/'log.csv'
    log.write_text(COLUMNS+'\n'+rows(10, 20, 30))
    tab.get_by_text('step 30, epoch 0: running').wait_for()
    picture = tab.locator('img[alt^="learning curves"]')
    picture.wait_for()
    before = picture.get_attribute('src')
    with open(log, 'a') as f: f.write(rows(*range(40, 410, 10))+'410,4,.0')
    tab.get_by_text('step 400, epoch 4: running').wait_for()
    tab.get_by_text('is not complete and is left out').wait_for()
    until(lambda: picture.get_attribute('src')!=before)
    for s in (200, 400):
        (run/'samples'/'clip 1').mkdir(parents=True, exist_ok=True)
        sf.write(run/'samples'/'clip 1'/f'step_{s:08d}.wav', speech(), RATE)
    sf.write(run/'samples'/'clip 1'/'real.wav', speech(), RATE)
    tab.get_by_role('button', name='Listen to step 400').click()
    assert plays(player_frame(tab, 3))
    shot(tab, 'monitor')
    tab.get_by_role('button', name='Stop following').press('Enter')
    tab.get_by_text('not following').wait_for()
    log.write_text(COLUMNS+'\n'+rows(*range(10, 510, 10)))
    time.sleep(1)
    assert tab.get_by_text('step 500').count()==0
    tab.get_by_role('button', name='Follow', exact=True).press('Space')
    tab.get_by_text('step 500, epoch 5: running').wait_for()

def a_test(folder, kind, n=2):
    waves = {f'clip {i}': speech()*(1+i)/2 for i in range(n)}
    systems = dict(secret_one={k: w*.9 for k,w in waves.items()},
                   secret_two={k: w[::-1].copy() for k,w in waves.items()})
    return make_test(folder, kind, systems, list(waves), RATE, reference=waves)

def tab_to(tab, element):
    "Press Tab until this element has the focus"
    for _ in range(20):
        if tab.evaluate(f'document.activeElement === {element}'): return
        tab.keyboard.press('Tab')
    raise AssertionError(f'Tab does not lead to {element}')

def test_abx_by_keyboard(opened, tmp_path):
    test = a_test(tmp_path/'test', 'abx', n=1)
    tab = opened(BLIND.replace('{folder!r}', "'test'").replace('{listener!r}', 'None').replace('{lang!r}', "'en'"))
    tab.get_by_label('Your name').focus()
    tab.keyboard.type('Вася "1"')
    tab.keyboard.press('Tab')
    tab.keyboard.press('Enter')
    trials = test.trials('Вася "1"')
    for i,trial in enumerate(trials):
        frame = until(lambda: (f := player_frame(tab, 3))
                      and f'{i} of {len(trials)}' in f.locator('h3').inner_text() and f)
        if i==0:
            page = tab.content()
            assert 'secret_' not in page and frame.locator('img').count()==0
            tab.get_by_label('X is A').check()
            tab.get_by_role('button', name='Send the answer').press('Enter')
            status(tab, 'not heard yet: A, B, X')
        frame.locator('.play').focus()
        tab.keyboard.press('Enter')
        until(lambda: state(frame)['status']=='playing')
        for key in '231':
            time.sleep(.1)
            tab.keyboard.press(key)
        tab.keyboard.press('Home')
        tab_to(tab, f'document.querySelectorAll(".widget-radio input")["AB".indexOf("{trial.x}")]')
        tab.keyboard.press('Space')
        if i==0: shot(tab, 'abx')
        tab_to(tab, '[...document.querySelectorAll("button")].find(b => b.textContent.includes("Send the answer"))')
        tab.keyboard.press('Enter')
    tab.get_by_text(f'All {len(trials)} are answered').wait_for()
    tab.get_by_role('button', name='Results').press('Enter')
    tab.locator('pre').wait_for()
    shot(tab, 'abx_results')
    ratings = read_ratings(test.folder)
    assert not list(ratings.problems) and [r['answer'] for r in ratings]==[t.x for t in trials]
    assert {r['listener'] for r in ratings}=={'Вася "1"'}

@pytest.mark.parametrize('kind', ['mos', 'mushra'])
def test_blind(opened, tmp_path, kind):
    test = a_test(tmp_path/'test', kind)
    tab = opened(BLIND.replace('{folder!r}', "'test'").replace('{listener!r}', "'я'").replace('{lang!r}', "'ru'"))
    frame = player_frame(tab)
    for n in range(len(test.trials('я')[0].labels)):
        frame.locator('.tracks button').nth(n).click()
        frame.evaluate('stepPlayers[0].play()')
        until(lambda: state(frame)['status']=='playing')
        time.sleep(.2)
    if kind=='mos': tab.locator('.widget-radio input').nth(1).check()
    else:
        tab.locator('.noUi-handle').first.focus()
        tab.keyboard.press('ArrowRight')
        tab.keyboard.press('ArrowRight')
    time.sleep(.3)
    shot(tab, kind)
    tab.get_by_role('button', name='Ответить').press('Enter')
    until(lambda: list(test.folder.glob('ratings/*.csv')))
    answer = read_ratings(test.folder)[0]['answer']
    assert answer==4 if kind=='mos' else sorted(answer.values())[-1]>50, answer

def test_lab(browser, tmp_path):
    "A smoke test where most people will use it"
    with served('lab', tmp_path, HEAD.format(root=str(ROOT), here=str(tmp_path)),
                BROWSE.format(root=str(ROOT), lang='ru'), 'resynthesize_live(vocoder)') as url:
        context = browser.new_context(viewport=dict(width=1400, height=1000))
        tab = context.new_page()
        tab.set_default_timeout(600_000)
        tab.goto(url)
        tab.locator('.jp-Notebook').wait_for()
        tab.locator('.jp-Notebook-ExecutionIndicator[data-status=idle]').first.wait_for()
        for _ in range(5): # an order that comes before the kernel is connected is lost
            tab.wait_for_timeout(3000)
            tab.get_by_role('menuitem', name='Run', exact=True).click()
            tab.get_by_text('Run All Cells', exact=True).click()
            tab.wait_for_timeout(3000)
            if tab.locator('.jp-InputPrompt').filter(has_text=re.compile(r'\[(\*|\d+)\]')).count(): break
        else: raise AssertionError('JupyterLab does not run the notebook')
        status(tab, 'фраза 1 из 3')
        assert plays(player_frame(tab, 3))
        tab.get_by_role('button', name='Дальше').click()
        status(tab, 'фраза 2 из 3')
        shot(tab, 'lab')
        drop(tab, 'a.wav', sound_bytes(tmp_path, 'a.wav', speech(), RATE))
        tab.get_by_text('a.wav: 1.00 s').wait_for()
        context.close()

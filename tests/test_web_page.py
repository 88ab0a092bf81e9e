"""The page of a voice in a real browser: opened from a file and from a server, with sounds, mels and what is neither.
Skipped without Chromium or playwright, and without a network where the runtime is not kept yet"""
import base64, http.server, io, json, os, re, sys, threading, time, zipfile
from functools import partial
from pathlib import Path
import numpy as np, pytest, soundfile as sf, torch
from hifigan_ruslan.base.audio import sound_at
from hifigan_ruslan.inference.browser import WASM_FILES, WEBGPU_FILES, web_runtime
from hifigan_ruslan.inference.page import export_page
from hifigan_ruslan.mel import LogMel
from hifigan_ruslan.vocoder import Vocoder

ROOT = Path(__file__).parent.parent
CLIPS = sorted((ROOT/'hifigan_ruslan'/'clips').glob('*.flac'))
VOICE = 'festvox-ru-v2'
sys.path.insert(0, str(ROOT/'tools'))
import copy_web

slow = pytest.mark.skipif('slow' not in os.environ.get('NB_FLAGS', ''), reason='NB_FLAGS=slow runs it')

# What the package carries

def test_copies_are_the_files_of_web():
    assert copy_web.stale()==[]

def test_a_stale_copy_is_seen(tmp_path, monkeypatch):
    monkeypatch.setattr(copy_web, 'APP', tmp_path)
    assert 'page/page.js' in copy_web.stale()
    copy_web.copy_all()
    assert copy_web.stale()==[]
    (tmp_path/'page'/'page.js').write_text('')
    (tmp_path/'left.js').write_text('')
    assert copy_web.stale()==['left.js', 'page/page.js']

def test_the_package_carries_all_of_it():
    "Patterns of setup.py, which setuptools does not follow into folders"
    setup = (ROOT/'setup.py').read_text(encoding='utf-8')
    patterns = re.search(r"package_data=\{'hifigan_ruslan': (\[.*?\])\}", setup)[1]
    carried = {p for pattern in json.loads(patterns.replace("'", '"')) for p in (ROOT/'hifigan_ruslan').glob(pattern)}
    assert set(copy_web.copies().values())<=carried

# The pages

@pytest.fixture(scope='module')
def runtime():
    try: return web_runtime(names=WASM_FILES+WEBGPU_FILES)
    except ValueError as e: pytest.skip(f'the runtime is not here: {str(e)[:200]}')

@pytest.fixture(scope='module')
def page_file(runtime, tmp_path_factory):
    return export_page(VOICE, tmp_path_factory.mktemp('страница')/'голос <1>.html')

class Quiet(http.server.SimpleHTTPRequestHandler):
    asked = []
    def log_message(self, *args): self.asked.append(self.path)

@pytest.fixture(scope='module')
def server(runtime, tmp_path_factory):
    "Address of a server with the folder of the page; `stop` ends it"
    folder = export_page(VOICE, tmp_path_factory.mktemp('сайт')/'voice')
    httpd = http.server.ThreadingHTTPServer(('localhost', 0), partial(Quiet, directory=folder))
    threading.Thread(target=httpd.serve_forever, daemon=True).start()
    yield httpd
    httpd.shutdown()
    httpd.server_close()

def address(server): return f'http://localhost:{server.server_port}/'

def watched(context, wrong):
    "A tab whose complaints, and requests to elsewhere, are noted"
    tab = context.new_page()
    tab.set_default_timeout(60_000)
    tab.on('console', lambda m: wrong.append(m.text) if m.type in ('error', 'warning') else None)
    tab.on('pageerror', lambda e: wrong.append(str(e)))
    ours = 'file:', 'data:', 'blob:', 'about:', 'http://localhost:'
    tab.on('request', lambda r: wrong.append(r.url[:80]) if not r.url.startswith(ours) else None)
    return tab

@pytest.fixture(scope='module')
def tab(browser, page_file):
    "The page from a file, its voice started; afterwards nothing may have been complained about"
    wrong, context = [], browser.new_context(accept_downloads=True, locale='en-US')
    tab = watched(context, wrong)
    tab.goto(page_file.as_uri())
    until(tab, 'vocoderPage.state.info')
    yield tab
    context.close()
    assert wrong==[]

def truth(tab, js):
    "Is it so? Not while the page is being loaded"
    try: return tab.evaluate(f'Boolean({js})')
    except Exception as e:
        if 'context was destroyed' not in str(e): raise
        return False

def until(tab, js, seconds=120):
    "Wait until an expression is true; playwright's own wait_for_function needs eval, which the page's policy forbids"
    end = time.monotonic()+seconds
    while not truth(tab, js):
        shows = tab.inner_text('main')[:600] if time.monotonic()>=end else ''
        assert not shows, f'{js} is not true after {seconds} s; the page shows {shows}'
        time.sleep(.02)

def after(tab, act):
    "What the page shows when the job that `act` begins has ended"
    before = tab.evaluate('vocoderPage.state.finished')
    act()
    until(tab, f'vocoderPage.state.finished > {before} && !vocoderPage.state.job')
    return shown(tab)

def shown(tab):
    ids = 'status error faults notes result speed engine'.split()
    return {i: tab.inner_text(f'#{i}') if tab.is_visible(f'#{i}') else '' for i in ids}

def give(tab, name, data):
    "What the page answers to a file"
    file = dict(name=name, mimeType='', buffer=data)
    return after(tab, lambda: tab.set_input_files('#file', files=file))

def in_language(tab, lang):
    if tab.evaluate('vocoderPage.state.lang')!=lang: tab.click('#language')

# Files

def wav_bytes(wav, rate, subtype='PCM_16', kind='WAV'):
    out = io.BytesIO()
    sf.write(out, wav, rate, format=kind, subtype=subtype)
    return out.getvalue()

def npy(x, **kw):
    out = io.BytesIO()
    np.save(out, x, **kw)
    return out.getvalue()

def npz(**arrays):
    out = io.BytesIO()
    np.savez(out, **arrays)
    return out.getvalue()

def saved(x):
    out = io.BytesIO()
    torch.save(x, out)
    return out.getvalue()

@pytest.fixture(scope='module')
def voice(): return Vocoder.load(VOICE)

@pytest.fixture(scope='module')
def speech(): return sound_at(CLIPS[0], 22050)[11000:11000+16*1024] # .74 s

@pytest.fixture(scope='module')
def mel(voice, speech): return voice.mel(speech, 22050).numpy()

def short(seconds, rate, channels=None):
    wav = .3*np.sin(np.arange(int(seconds*rate))*2*np.pi*220/rate)
    return wav.astype(np.float32) if channels is None else np.stack([wav]*channels, 1).astype(np.float32)

def silent_zip():
    out = io.BytesIO()
    with zipfile.ZipFile(out, 'w') as z: z.writestr('readme.txt', 'hello')
    return out.getvalue()

def faulty_sounds():
    "(name, bytes, where the words are, the words)"
    wav = wav_bytes(short(.3, 22050), 22050)
    nan = short(.3, 22050)
    nan[100:110] = np.nan
    return [
        ('404.wav', b'<html>404 not found</html>', 'error', 'called a sound and holds text'),
        ('empty.wav', b'', 'error', '0 bytes'), ('head.wav', wav[:30], 'error', 'is no WAV that can be read'),
        ('cut.wav', wav[:6000], 'notes', 'it was cut off'),
        ('tiny.wav', wav_bytes(short(.01, 22050), 22050), 'error', 'has 220 samples'),
        ('none.wav', wav_bytes(short(0, 22050), 22050), 'error', 'no samples'),
        ('nan.wav', wav_bytes(nan, 22050, 'FLOAT'), 'error', 'NaN or infinity in 10'),
        ('zeros.wav', wav_bytes(short(.3, 22050)*0, 22050), 'notes', 'every sample is zero'),
        ('quiet.wav', wav_bytes(short(.3, 22050)*.01, 22050), 'notes', 'Very quiet: -50 dB'),
        ('loud.wav', wav_bytes(short(.3, 22050)*9, 22050), 'notes', 'at full scale'),
        ('eight.wav', wav_bytes(short(.3, 22050, 8), 22050), 'notes', '8 channels are averaged'),
        ('96k.wav', wav_bytes(short(.3, 96000), 96000, 'PCM_24'), 'notes', '96,000 Hz and was resampled to 22,050'),
        ('telephone.wav', wav_bytes(short(.3, 8000), 8000, 'ULAW'), 'status', 'Done: telephone.wav'),
        ('a.flac', wav_bytes(short(.3, 44100), 44100, kind='FLAC'), 'notes', '44,100 Hz'),
        ('a.mp3', wav_bytes(short(.5, 44100), 44100, 'MPEG_LAYER_III', 'MP3'), 'status', 'Done: a.mp3'),
        ('a.ogg', wav_bytes(short(.5, 48000), 48000, 'VORBIS', 'OGG'), 'notes', '48,000 Hz'),
        ('a.opus', wav_bytes(short(.5, 48000), 48000, 'OPUS', 'OGG'), 'status', 'Done: a.opus'),
        ('bad.flac', b'fLaC'+bytes(5000), 'error', 'cannot be decoded'),
        ('bad.mp3', b'ID3'+bytes(5000), 'error', 'cannot be decoded'),
        ('photo.wav', b'\x89PNG\r\n\x1a\n'+bytes(99), 'error', 'is a picture'),
        ('video.avi', b'RIFF\0\0\0\0AVI LIST', 'error', 'without sound'),
        ('a.pdf', b'%PDF-1.7', 'error', 'PDF document'), ('a.zip', silent_zip(), 'error', 'is an archive'),
        ('a.dat', bytes(range(200, 256)), 'error', 'begins with the bytes c8 c9')]

def faulty_mels(mel):
    "The same; `Speak it` where a button mends it"
    db, bad = mel*20/np.log(10), mel.copy()
    bad[3,5] = np.nan
    return [
        ('mel.pt', saved(torch.from_numpy(mel)), 'error', 'numpy.save("mel.npy", mel.numpy())'),
        ('weights.safetensors', b'\x40\0\0\0\0\0\0\0{"a": 1}', 'error', 'weights of a model'),
        ('mel.pkl', b'\x80\x04\x95aaaa', 'error', 'is a pickle'),
        ('notes.txt', 'мел'.encode(), 'error', 'is a text'),
        ('objects.npy', npy(np.array([{}, mel], dtype=object), allow_pickle=True), 'error', 'Python objects'),
        ('empty.npz', npz(), 'error', 'holds no array'), ('two.npz', npz(a=mel, b=mel), 'error', 'none is called mel'),
        ('cut.npy', npy(mel)[:3000], 'error', 'it was cut off'),
        ('head.npy', npy(mel)[:20], 'error', 'cut off within its header'),
        ('nan.npy', npy(bad), 'faults', 'NaN or infinity'),
        ('int.npy', npy(mel.astype(np.int32)), 'faults', 'of type int32'),
        ('db.npy', npy(db), 'faults', 'decibels'), ('turned.npy', npy(mel.T), 'faults', 'transposed'),
        ('magnitude.npy', npy(np.exp(mel)), 'faults', 'without logarithm'),
        ('other.npy', npy(np.vstack([mel]*2)[:100]), 'faults', '100 bands instead of 80'),
        ('flat.npy', npy(mel[0]), 'faults', 'the shape'),
        ('batch.npy', npy(np.stack([mel]*3)), 'error', 'one mel is spoken'),
        ('none.npy', npy(mel[:,:0]), 'faults', 'empty'),
        ('rate.npz', npz(mel=mel, sample_rate=np.array(16000)), 'faults', '16000 Hz'),
        ('one.npy', npy(mel[:,:1]), 'status', 'Done: one.npy, 0.01 s'),
        ('f64.npy', npy(mel.astype(np.float64)), 'notes', 'Its numbers are float64'),
        ('f16.npy', npy(mel.astype(np.float16)), 'notes', 'float16'),
        ('fortran.npy', npy(np.asfortranarray(mel)), 'status', 'Done: fortran.npy'),
        ('big.npy', npy(mel.astype('>f4')), 'status', 'Done: big.npy'),
        ('batch1.npz', npz(mel=mel[None], about=np.zeros(3, np.float32)), 'notes', 'only the array mel'),
        ('mel.raw', mel.T.astype('<f4').tobytes(), 'status', 'Done: mel.raw'),
        ('mel64.raw', mel.T.tobytes()+b'1', 'error', 'no whole frames')]

def unlike(tab, name, data, where, words):
    "How the answer to a file is not as it should be, or None"
    said = give(tab, name, data)
    if words not in said[where]: return said
    done = said['status'].startswith('Done')
    if done==bool(said['error'] or said['faults']): return 'neither done nor refused, or both', said
    if done: return None
    if said['error'] and name not in said['error']: return 'does not name the file', said
    in_language(tab, 'ru')
    said = shown(tab)
    in_language(tab, 'en')
    own = re.sub(r'[\w.-]*\.\w+|[A-Za-z]+\([^)]*\)', '', said['error']+said['faults']) # without names and code
    if len(re.findall('[а-яё]', own))<len(re.findall('[a-z]', own)): return 'in Russian', own

def test_whatever_is_dropped_is_answered_in_words(tab, mel):
    "In one page, one after the other; it is alive after all of them, and says it in Russian too"
    in_language(tab, 'en')
    files = faulty_sounds() + faulty_mels(mel)
    wrong = [(name, why) for name,data,where,words in files if (why := unlike(tab, name, data, where, words))]
    assert wrong==[] and len(files)>=30
    assert give(tab, 'good.wav', wav_bytes(short(.3, 22050), 22050))['status'].startswith('Done')

def drop(tab, js):
    "A drop of what JavaScript names"
    given = f'{{dataTransfer: Object.assign({{items: [], files: [], types: []}}, {js})}}'
    return after(tab, lambda: tab.evaluate(f'() => dispatchEvent(Object.assign(new Event("drop"), {given}))'))

def test_drops_that_are_no_file(tab):
    in_language(tab, 'en')
    folder = '{items: [{webkitGetAsEntry: () => ({isDirectory: true, name: "clips"})}]}'
    assert 'clips is a folder' in drop(tab, folder)['error']
    assert 'no file (text/plain)' in drop(tab, '{types: ["text/plain"]}')['error']
    huge = 'Object.defineProperty(new File(["RIFF"], "huge.wav"), "size", {value: 5e9})'
    assert 'has 5,000 MB; at most 400' in drop(tab, '{files: [%s]}' % huge)['error']
    gone = '{name: "gone.wav", size: 9, arrayBuffer: () => Promise.reject(new DOMException("", "NotReadableError"))}'
    assert 'gone.wav cannot be read (NotReadableError)' in drop(tab, '{files: [%s]}' % gone)['error']
    two = drop(tab, '{files: [new File(["text"], "a.txt"), new File(["text"], "b.txt")]}')
    assert 'a.txt is a text' in two['error'] and '2 files were dropped; the first is taken' in two['notes']

def hour(rate=8000):
    "The head of a WAV of an hour, its samples left out: it may not be decoded"
    return wav_bytes(np.zeros(rate*3600, np.int16), rate, kind='FLAC')

def test_an_hour_is_refused_before_it_fills_the_memory(tab):
    assert 'lasts 60 minutes; at most 20' in give(tab, 'hour.flac', hour())['error']

# What is heard

def floats(tab, js):
    "A Float32Array of the page"
    text = tab.evaluate(f'''() => {{
        const x = {js}, b = new Uint8Array(x.buffer, x.byteOffset, x.byteLength), parts = []
        for (let i = 0; i < b.length; i += 32768) parts.push(String.fromCharCode(...b.subarray(i, i+32768)))
        return btoa(parts.join('')) }}''')
    return np.frombuffer(base64.b64decode(text), '<f4')

def snr(want, got): return 10*np.log10((want**2).sum()/((want-got)**2).sum())

def same_as_python(tab, voice, wav):
    "The page's mel and copy of a wave at the rate of the voice are Python's"
    said = give(tab, 'clip.wav', wav_bytes(wav, 22050, 'FLOAT'))
    assert said['status'].startswith('Done'), said
    mel = LogMel(voice.cfg).double()(torch.from_numpy(wav).double()[None])[0].numpy()
    error = np.abs(floats(tab, 'vocoderPage.state.result.mel.data').reshape(mel.shape)-mel)
    assert error[mel>-9].max()<1e-4 and error.max()<1e-3 # below, a window in fp32 is heard beside loud bands
    copy = voice.vocode(voice.mel(wav, 22050))[0].numpy()
    assert snr(copy, floats(tab, 'vocoderPage.state.result.copy'))>=50

def test_the_page_computes_what_python_computes(tab, voice, speech): same_as_python(tab, voice, speech)

@slow
@pytest.mark.parametrize('clip', CLIPS, ids=lambda p: p.stem)
def test_twelve_clips_are_as_from_python(tab, voice, clip): same_as_python(tab, voice, sound_at(clip, 22050))

def test_a_mel_is_mended_and_spoken(tab, voice, mel):
    in_language(tab, 'en')
    want = voice.vocode(torch.from_numpy(mel))[0].numpy()
    for name,data in (('db.npy', mel*20/np.log(10)), ('turned.npy', mel.T)):
        give(tab, name, npy(data.astype(np.float32)))
        after(tab, lambda: tab.click('#faults button'))
        assert snr(want, floats(tab, 'vocoderPage.state.result.copy'))>=50, name

def test_it_is_heard_while_it_is_computed(tab, mel):
    "The wave is the same, and it was played from the first piece on"
    in_language(tab, 'en')
    give(tab, 'mel.npy', npy(mel))
    want = floats(tab, 'vocoderPage.state.result.copy')
    tab.evaluate('''() => { window.started = 0
        const start = AudioBufferSourceNode.prototype.start
        AudioBufferSourceNode.prototype.start = function (...at) { started++; return start.apply(this, at) } }''')
    give(tab, 'mel.npy', npy(mel))
    assert tab.evaluate('started')==0
    tab.click('#live')
    give(tab, 'mel.npy', npy(mel))
    tab.click('#live')
    assert tab.evaluate('started')>=1 and tab.get_attribute('#live', 'aria-pressed')=='false'
    assert np.array_equal(floats(tab, 'vocoderPage.state.result.copy'), want)

def test_what_is_downloaded_is_the_copy(tab, mel, tmp_path):
    give(tab, 'моя <1>.npy', npy(mel))
    with tab.expect_download() as got: tab.click('#download')
    assert got.value.suggested_filename==f'моя _1_-{VOICE}.wav'
    got.value.save_as(tmp_path/'a.wav')
    wav, rate = sf.read(tmp_path/'a.wav', dtype='float32')
    assert rate==22050 and np.abs(wav-floats(tab, 'vocoderPage.state.result.copy')).max()<=1/32768

def test_recording_and_copy_in_step(tab, speech):
    "The player of all our pages: the same sources run on when another track is chosen; all of it by keys"
    in_language(tab, 'en')
    give(tab, 'clip.wav', wav_bytes(speech, 22050))
    tab.evaluate('stepPlayers[0].loop(true)')
    tab.focus('.player .picture')
    tab.keyboard.press('Space')
    until(tab, 'stepPlayers[0].status === "playing"')
    before = tab.evaluate('(window.voicesThen = stepPlayers[0].voices).length')
    tab.keyboard.press('2')
    assert before==2 and tab.evaluate('stepPlayers[0].track === 1 && stepPlayers[0].voices === voicesThen')
    until(tab, '(g => g[1] > .99 && g[0] < .01)(stepPlayers[0].state.gains)')
    tab.keyboard.press('Space')
    assert tab.evaluate('stepPlayers.length')==1 and tab.locator('.player canvas').count()==2
    assert tab.evaluate('[...document.querySelectorAll(".player canvas")].map(c => c.hidden)')==[True, False]

def test_nothing_is_wider_than_a_telephone(tab, mel):
    "In both languages, with a result and with a refusal"
    tab.set_viewport_size(dict(width=390, height=800))
    for data in (mel, mel*20/np.log(10)):
        give(tab, 'очень_длинное_имя_файла_без_единого_пробела_и_дефиса_в_нём.npy', npy(data.astype(np.float32)))
        for lang in ('en', 'ru'):
            in_language(tab, lang)
            assert tab.evaluate('document.documentElement.scrollWidth')==390, lang
    tab.set_viewport_size(dict(width=1280, height=900))

@pytest.mark.parametrize('spoil,words', [('delete window.WebAssembly', 'has no WebAssembly'),
                                         ('window.atob = () => "no model"', 'could not be started')])
def test_a_voice_that_cannot_be_started_is_said(browser, page_file, spoil, words):
    "And there is a button to try again"
    context = browser.new_context(locale='en-US')
    tab = watched(context, [])
    tab.add_init_script(spoil)
    tab.goto(page_file.as_uri())
    until(tab, 'window.vocoderPage && vocoderPage.state.finished && !vocoderPage.state.job')
    assert words in tab.inner_text('#error') and tab.is_visible('#load')
    context.close()

def test_by_keyboard_only(tab):
    "Every button is reached by Tab; the example begins by Enter"
    in_language(tab, 'en')
    tab.focus('#language')
    seen = []
    for _ in range(3):
        tab.keyboard.press('Tab')
        seen.append(tab.evaluate('document.activeElement.id'))
    assert seen==['choose', 'record', 'example']
    assert tab.evaluate('getComputedStyle(document.activeElement).outlineStyle')=='solid'
    tab.keyboard.press('Enter')
    until(tab, 'vocoderPage.state.job')
    after(tab, lambda: tab.click('#cancel')) # six seconds take long on a slow machine
    assert shown(tab)['status']=='Stopped.'

def test_a_recording(tab):
    "Chromium's own microphone, which beeps"
    in_language(tab, 'en')
    tab.click('#record')
    until(tab, 'vocoderPage.state.recorder && vocoderPage.state.recorder.pieces.length > 60')
    assert tab.is_visible('#meter') and tab.inner_text('#record')=='Stop recording'
    said = after(tab, lambda: tab.click('#record'))
    assert said['status'].startswith('Done: recording.wav'), said
    assert not tab.is_visible('#meter') and tab.inner_text('#record')=='Record'

def test_a_microphone_that_is_refused(tab):
    in_language(tab, 'en')
    no = 'async () => { throw new DOMException("", "NotAllowedError") }'
    tab.evaluate(f'() => {{ navigator.mediaDevices.getUserMedia = {no} }}')
    assert 'The microphone is refused' in after(tab, lambda: tab.click('#record'))['error']

def test_a_mel_that_arrives(browser, page_file, voice, mel, tmp_path):
    "From a page that holds this one in a frame; in pieces of odd lengths"
    wrong, context = [], browser.new_context(locale='en-US')
    outside = watched(context, wrong)
    (tmp_path/'tts.html').write_text(f'<iframe src="{page_file.as_uri()}" width=900 height=700></iframe>')
    outside.goto((tmp_path/'tts.html').as_uri())
    frame = outside.frames[1]
    until(frame, 'window.vocoderPage && vocoderPage.state.info')
    frames = base64.b64encode(mel.T.astype('<f4').tobytes()).decode()
    outside.evaluate('''([text, bands]) => {
        const bytes = Uint8Array.from(atob(text), c => c.charCodeAt(0))
        const all = new Float32Array(bytes.buffer), frames = all.length/bands
        for (let a = 0, n = 1; a < frames; a += n, n = n%13+3) {
            const hifiganMel = all.slice(a*bands, Math.min(frames, a+n)*bands)
            window[0].postMessage({hifiganMel, last: a+n >= frames}, '*')
        } }''', [frames, len(mel)])
    until(frame, 'vocoderPage.state.finished > 1 && !vocoderPage.state.job')
    assert 'The stream has ended' in frame.inner_text('#status')
    want = voice.vocode(torch.from_numpy(mel))[0].numpy()
    assert snr(want, floats(frame, 'vocoderPage.state.result.copy'))>=50
    context.close()
    assert wrong==[]

# From a server

def test_a_folder_works_with_the_network_cut(browser, server, mel):
    "Sizes are said before anything is loaded; after the first visit nothing is asked from the server"
    wrong, context = [], browser.new_context(locale='en-US')
    tab = watched(context, wrong)
    tab.goto(address(server))
    until(tab, 'window.crossOriginIsolated && window.vocoderPage && vocoderPage.state.kept')
    assert not any('wasm' in p or 'onnx' in p for p in Quiet.asked), Quiet.asked
    assert re.search(r'1\.9 MB of fp16 weights.*Runtime: [\d.]+ MB\. They are loaded once', tab.inner_text('#size'))
    model = Path(server.RequestHandlerClass.keywords['directory'])/'model.onnx'
    whole = model.read_bytes()
    stamp = model.stat()
    model.write_bytes(whole[:-1]+b'?') # as if it had been exported anew, or damaged on the way
    os.utime(model, ns=(stamp.st_atime_ns, stamp.st_mtime_ns+10**9))
    said = after(tab, lambda: tab.click('#load'))['error']
    assert 'model is not the file that this page was made with' in said
    model.write_bytes(whole)
    os.utime(model, ns=(stamp.st_atime_ns, stamp.st_mtime_ns+10**9)) # no newer than the wrong one, as far as is told
    after(tab, lambda: tab.click('#load'))
    until(tab, 'document.querySelector("#size").textContent.includes("works without a network")')
    threads = tab.evaluate('vocoderPage.state.info.threads')
    assert threads==tab.evaluate('Math.min(navigator.hardwareConcurrency, 16)') # it is isolated
    server.shutdown()
    server.server_close()
    tab.goto(address(server))
    until(tab, 'window.vocoderPage && vocoderPage.state.info') # kept: it starts by itself
    said = give(tab, 'mel.npy', npy(mel))
    assert said['status'].startswith('Done: mel.npy') and f'with SIMD; threads: {threads}.' in said['engine'], said
    context.close()
    assert wrong==[]

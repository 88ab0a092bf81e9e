"""The vocoder in a browser tab: web/engine in node, and in a real Chromium, from a server and from a file, against
Python. Skipped, with the reason, without node, Chromium or (the first time) a network. NB_FLAGS=slow: whole clips"""
import base64, gzip, json, os, re, shutil, subprocess, threading
from dataclasses import replace
from functools import cache, partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
import numpy as np, pytest, soundfile as sf, soxr, torch
from hifigan_ruslan.config import TINY, V1, config_dict
from hifigan_ruslan.generator import random_generator
from hifigan_ruslan.inference.browser import ORT_WEB, WEBGPU_FILES, bundle_scripts, web_runtime
from hifigan_ruslan.inference.mel_formats import MEL_FORMATS, foreign_mel, mel_faults
from hifigan_ruslan.inference.onnx import export_onnx
from hifigan_ruslan.mel import LogMel
from hifigan_ruslan.model.reading import open_checkpoint
from hifigan_ruslan.vocoder import Vocoder

ROOT = Path(__file__).parent.parent
WEB, SMALL = ROOT/'web', 'festvox-ru-v2'
NODE = shutil.which('node')
slow = pytest.mark.skipif('slow' not in os.environ.get('NB_FLAGS', ''), reason='NB_FLAGS=slow runs it')
needs_node = pytest.mark.skipif(not NODE, reason='node is not installed')
CLIPS = sorted((ROOT/'hifigan_ruslan'/'clips').glob('*.flac'))

def b64(x): return base64.b64encode(np.ascontiguousarray(x, '<f4').tobytes()).decode()
def floats(s): return np.frombuffer(base64.b64decode(s), '<f4')

def snr(wave, other):
    "dB by which `other` is like `wave`"
    wave, other = (np.asarray(o, np.float64).ravel() for o in (wave, other))
    return 10*np.log10((wave**2).sum()/((wave-other)**2).sum())

@cache
def speech(path, seconds=None):
    "A packaged clip at 22,050 Hz"
    x, rate = sf.read(path, dtype='float32')
    x = soxr.resample(x, rate, 22050, quality='HQ')
    return x[11025:11025+int(seconds*22050)] if seconds else x

def logmel(x, cfg=V1): return LogMel(cfg)(torch.from_numpy(x)[None])[0].numpy()

# In node

@needs_node
def test_tests_of_node():
    files = sorted(map(str, (WEB/'tests').glob('*.test.js')))
    p = subprocess.run([NODE, '--test', *files], capture_output=True, text=True)
    assert p.returncode==0, p.stdout[-3000:]
    assert int(re.search(r'^# pass (\d+)', p.stdout, re.M)[1])>20

def ask(tmp_path, requests):
    "What the modules answer"
    (tmp_path/'requests.json').write_text(json.dumps(requests), encoding='utf-8')
    command = [NODE, str(WEB/'tests'/'ask.mjs'), str(tmp_path/'requests.json')]
    p = subprocess.run(command, capture_output=True, text=True)
    assert p.returncode==0, p.stderr[-2000:]
    return json.loads(p.stdout)

HIFIGAN = MEL_FORMATS['hifigan']

def foreign_mels(w):
    "Mels of a wave with all kinds of faults, and right ones"
    def like(**kw): return foreign_mel(w, replace(HIFIGAN, **kw))
    m = foreign_mel(w, HIFIGAN)
    nan = m.clone()
    nan[3,7] = torch.nan
    twice = dict(hop_length=512, n_fft=2048, win_length=2048)
    return [m, m[:,:300], m[:,:100], m[:,:20], m[:,:1], m[:,:0], torch.full_like(m, -11.5), m[:,40:120], m[:,40:120].T,
            like(log='db'), like(log=None), like(log=None, power=2, floor=1e-10), like(log='log10'),
            foreign_mel(w, 'espnet'), like(power=2), like(power=2, floor=1e-10), foreign_mel(w, 'torchaudio'),
            like(mean=None), (m-m.mean())/m.std(), like(mean=-5.6, std=2.6), (m-m.min())/(m.max()-m.min()),
            foreign_mel(w, 'coqui'), 2*(m+11.513)/13.827-1, 2*(m-m.min())/(m.max()-m.min())-1, like(htk=True),
            like(norm=None), like(htk=True, norm=None), like(htk=True, log='log10'), like(hop_length=512),
            m.reshape(-1, 80).T, like(n_mels=100), m.T, m.flip(0), m.flip(1), like(**twice), m/8, nan,
            like(sample_rate=16000, **twice), like(sample_rate=48000), like(sample_rate=16000), like(log='log2'), -m,
            torch.nn.functional.pad(m, (200,0), value=-23.03), torch.nn.functional.pad(m, (0,50)), torch.zeros(80, 200),
            like(n_fft=2048, win_length=2048), torch.nn.functional.pad(torch.stack([m, m]), (0,50)),
            torch.stack([m, m.flip(1)]), m[0], m[None]]

@needs_node
def test_faults_are_those_of_python_word_by_word(tmp_path):
    "Names, figures, what to do, and how certain: for each kind of fault, and for what has none"
    mels = [m for p in CLIPS[:2] for m in foreign_mels(speech(p))]
    for i,m in enumerate(mels): np.save(tmp_path/f'{i}.npy', m.numpy())
    paths, cfg = [str(tmp_path/f'{i}.npy') for i in range(len(mels))], config_dict(V1)
    said = ask(tmp_path, [dict(ask='check', path=p, config=cfg) for p in paths])
    names = set()
    for i,(m,faults) in enumerate(zip(mels, said)):
        expected = [dict(name=f.name, certain=f.certain, evidence=f.evidence, todo=f.todo) for f in mel_faults(m, V1)]
        for f in [*faults, *expected]: f['evidence'] = f['evidence'].replace('mean -0.00', 'mean 0.00')
        assert faults==expected, i
        names |= {f['name'] for f in faults}
    assert len(names)>=18 and any(not faults for faults in said)

@needs_node
def test_arrays_of_numpy_are_read(tmp_path):
    m = logmel(speech(CLIPS[0], 1))
    arrays = {f'{k}{o}': np.array(m, dtype=k, order=o) for k in ('<f2','<f4','<f8','>f4','>f8') for o in 'CF'}
    for k,a in arrays.items(): np.save(tmp_path/f'{k}.npy', a)
    np.savez(tmp_path/'plain.npz', mel=m, sample_rate=22050, hop_length=np.array(256))
    np.savez_compressed(tmp_path/'packed.npz', mel=m, other=np.ones(3))
    np.savez(tmp_path/'one.npz', spectrum=m)
    (tmp_path/'bare.f32').write_bytes(m.T.astype('<f4').tobytes())
    names = [*(f'{k}.npy' for k in arrays), 'plain.npz', 'packed.npz', 'one.npz', 'bare.f32']
    got = dict(zip(names, ask(tmp_path, [dict(ask='read', path=str(tmp_path/n), bands=80) for n in names])))
    for name,o in got.items():
        assert o['shape']==list(m.shape), (name, o)
        assert np.abs(floats(o['data']).reshape(m.shape)-m).max()<=(.005 if '<f2' in name else 0), name
    assert got['plain.npz']['said']==dict(sample_rate=22050, hop_length=256)
    assert got['packed.npz']['note']=='only the array mel is used, not other' and got['<f8F.npy']['dtype']=='float64'

@needs_node
def test_what_is_no_mel_is_said(tmp_path):
    m = np.zeros((80,9), np.float32)
    np.savez(tmp_path/'two.npz', a=m, b=m)
    np.savez(tmp_path/'none.npz')
    np.save(tmp_path/'objects.npy', np.array([{}, 1], dtype=object))
    np.save(tmp_path/'complex.npy', m.astype(np.complex64))
    np.save(tmp_path/'records.npy', np.zeros(3, [('a','f4')]))
    torch.save(torch.zeros(80, 9), tmp_path/'torch.pt')
    np.savez_compressed(tmp_path/'bomb.npz', mel=np.zeros((80,99999), np.float32))
    raw = bytearray((tmp_path/'bomb.npz').read_bytes())
    (tmp_path/'cut.npz').write_bytes(raw[:len(raw)//2])
    at = raw.rfind(b'PK\1\2')
    raw[at+24:at+28] = (1000).to_bytes(4, 'little') # the directory says that it is small
    (tmp_path/'bomb.npz').write_bytes(raw)
    (tmp_path/'text.txt').write_text('мел', encoding='utf-8')
    shutil.copy(CLIPS[0], tmp_path/'sound.flac')
    said = {'two.npz': 'none is called mel', 'none.npz': '(none)', 'objects.npy': 'Python objects',
            'complex.npy': 'type c8', 'records.npy': 'records', 'torch.pt': 'torch.save', 'cut.npz': 'cut off',
            'text.txt': 'like text', 'sound.flac': 'a FLAC file', 'bomb.npz': 'cannot be unpacked'}
    for name,o in zip(said, ask(tmp_path, [dict(ask='read', path=str(tmp_path/n), bands=80) for n in said])):
        assert said[name] in o.get('error', ''), (name, str(o)[:300])
        assert o['error'].startswith('x cannot be read as a mel')

@needs_node
def test_wav_files_are_read_exactly(tmp_path):
    rng = np.random.default_rng(0)
    x = (rng.random((500,2))-.5).astype(np.float32)
    kinds = 'PCM_U8 PCM_16 PCM_24 PCM_32 FLOAT DOUBLE'.split()
    for k in kinds: sf.write(tmp_path/f'{k}.wav', x, 44100, subtype=k)
    sf.write(tmp_path/'WAVEX.wav', np.tile(x, 4), 96000, subtype='PCM_24', format='WAVEX') # 8 channels
    names = [*kinds, 'WAVEX']
    for k,o in zip(names, ask(tmp_path, [dict(ask='wav', path=str(tmp_path/f'{n}.wav')) for n in names])):
        want, rate = sf.read(tmp_path/f'{k}.wav', dtype='float32', always_2d=True)
        assert 'error' not in o and o['rate']==rate and o['note']=='', (k, o.get('error'))
        assert np.array_equal(np.stack([floats(c) for c in o['channels']], 1), want), k

@needs_node
def test_resampling_is_that_of_python(tmp_path):
    "The filter is not soxr's, but of the same band: speech differs by -90 dB, and its mel by nothing that matters"
    requests, want = [], []
    for i,(path,rate) in enumerate([(CLIPS[0],16000), (CLIPS[1],16000), (CLIPS[2],48000)]):
        x = sf.read(path, dtype='float32')[0]
        if rate!=16000: x = soxr.resample(x, 16000, rate, quality='VHQ')
        x.tofile(tmp_path/f'{i}.f32')
        requests.append(dict(ask='resample', path=str(tmp_path/f'{i}.f32'), **{'from': rate, 'to': 22050}))
        want.append(soxr.resample(x, rate, 22050, quality='HQ'))
    for w,o in zip(want, ask(tmp_path, requests)):
        assert abs(len(floats(o))-len(w))<=1
        n = min(len(w), len(floats(o)))
        assert snr(w[:n], floats(o)[:n])>80

@needs_node
def test_mels_are_those_of_python(tmp_path):
    """Of all packaged clips, and with other numbers, to 1e-4 of what Python computes in fp64, but for one value in
    10,000 next to silence: 34 of 1,024 values of torch's window are rounded to another side. Python's fp32 is farther
    from its fp64, up to 7e-4 in the logarithm of what is next to silence; in the magnitude it is 1e-6, as in 20_mel"""
    cfgs = [V1]*len(CLIPS) + [replace(V1, fmax=None), replace(V1, fmin=80., fmax=7600., n_mels=64), TINY,
                              replace(V1, n_fft=1280, win_length=1200)]
    waves = [speech(p) for p in [*CLIPS, *CLIPS[:4]]]
    requests = []
    for i,(x,c) in enumerate(zip(waves, cfgs)):
        x.tofile(tmp_path/f'{i}.f32')
        requests.append(dict(ask='mel', path=str(tmp_path/f'{i}.f32'), config=config_dict(c)))
    for x,c,o in zip(waves, cfgs, ask(tmp_path, requests)):
        check_mel_of_browser(floats(o), x, c)

def check_mel_of_browser(got, x, cfg):
    exact = LogMel(cfg).double()(torch.from_numpy(x).double()[None])[0].numpy()
    got, m = got.reshape(exact.shape), logmel(x, cfg)
    assert np.abs(got-exact).max()<2e-4 and (np.abs(got-exact)>1e-4).sum()<=1+m.size/1e4
    assert np.abs(np.exp(got)-np.exp(m)).max()<1e-6
    assert np.abs(got-m)[m>-8].max()<1e-4 and (np.abs(got-m)>1e-4).mean()<.01

def test_npm_and_python_mean_the_same_package():
    "The lock file has the version, the address and the hash that 46_browser has"
    lock = json.loads((WEB/'package-lock.json').read_text())['packages']
    npm = lock[f'node_modules/{ORT_WEB.name}']
    assert (npm['version'], npm['resolved'], npm['integrity'])==(ORT_WEB.version, ORT_WEB.url, ORT_WEB.integrity)
    assert lock['']['dependencies']=={ORT_WEB.name: ORT_WEB.version}
    assert json.loads((WEB/'package.json').read_text())['dependencies']=={ORT_WEB.name: ORT_WEB.version}
    assert all('webgpu' in o or 'asyncify' in o for o in WEBGPU_FILES)

def test_no_line_of_the_engine_is_long():
    files = [p for d in ('engine','tests') for p in (WEB/d).glob('*.*js') if not p.name.startswith('page_')]
    long = [f'{p.relative_to(WEB)}:{i}' for p in files
            for i,l in enumerate(p.read_text(encoding='utf-8').splitlines(), 1) if len(l)>120]
    assert len(files)>=8 and long==[]

# In a browser

class Isolated(SimpleHTTPRequestHandler):
    "A server of files, whose pages may share memory between threads"
    extensions_map = SimpleHTTPRequestHandler.extensions_map | {'.mjs': 'text/javascript', '.wasm': 'application/wasm'}

    def end_headers(self):
        if '/plain/' not in self.path:
            self.send_header('Cross-Origin-Opener-Policy', 'same-origin')
            self.send_header('Cross-Origin-Embedder-Policy', 'require-corp')
        super().end_headers()

    def log_message(self, *args): pass

EXPOSE = """import * as ours from './engine/engine.js'
import * as check from './engine/check.js'
import * as npy from './engine/npy.js'
const toFloats = (s) => new Float32Array(Uint8Array.from(atob(s), (c) => c.charCodeAt(0)).buffer)
const toBase64 = (x) => {
  const bytes = new Uint8Array(x.buffer, x.byteOffset, x.byteLength)
  let s = ''
  for (let i = 0; i < bytes.length; i += 32768) s += String.fromCharCode(...bytes.subarray(i, i + 32768))
  return btoa(s)
}
Object.assign(globalThis, ours, check, npy, { toFloats, toBase64 })
"""

@pytest.fixture(scope='module')
def runtime():
    "The files of onnxruntime-web; without them and without a network the test is skipped"
    try: return web_runtime()
    except ValueError as e: pytest.skip(str(e))

@pytest.fixture(scope='module')
def site(tmp_path_factory, runtime):
    "A folder with the engine, its runtime and models, and the URL of its server"
    folder = tmp_path_factory.mktemp('site')
    shutil.copytree(WEB/'engine', folder/'engine')
    (folder/'runtime').mkdir()
    for name,path in runtime.items(): shutil.copy(path, folder/'runtime'/name)
    (folder/'runtime'/'worker.js').write_text(bundle_scripts(WEB/'engine'/'worker.js'), encoding='utf-8')
    (folder/'expose.js').write_text(EXPOSE, encoding='utf-8')
    (folder/'page.html').write_text('<!doctype html><meta charset=utf-8><link rel=icon href=data:,>'
                                    '<script type=module src=expose.js></script>', encoding='utf-8')
    (folder/'plain').mkdir()
    shutil.copy(folder/'page.html', folder/'plain'/'page.html')
    page = (folder/'plain'/'page.html').read_text().replace('src=expose.js', 'src=../expose.js')
    (folder/'plain'/'page.html').write_text(page)
    cfg, weights = open_checkpoint(SMALL)
    for half in (False, True): export_onnx(cfg, weights, folder/f'{SMALL}-{16 if half else 32}.onnx', half)
    export_onnx(TINY, random_generator(TINY).state_dict(), folder/'tiny.onnx')
    with ThreadingHTTPServer(('127.0.0.1', 0), partial(Isolated, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield folder, f'http://127.0.0.1:{server.server_port}'
        server.shutdown()

@pytest.fixture
def page(browser):
    "A new page; what its console complains of fails the test"
    p, said = browser.new_page(), []
    p.on('console', lambda m: said.append(m.text) if m.type in ('error', 'warning') else None)
    p.on('pageerror', lambda e: said.append(str(e)))
    yield p
    p.close()
    assert said==[]

def start(page, url, model, cfg, **options):
    "An engine in the page, from a server; its info"
    page.goto(f'{url}/page.html')
    page.wait_for_function('() => Boolean(globalThis.Engine)')
    given = dict(model=f'{url}/{model}', config=config_dict(cfg), runtime=dict(url=f'{url}/runtime')) | options
    return page.evaluate('async (o) => (globalThis.engine = await Engine.start(o)).info', given)

HTML = """<!doctype html><meta charset=utf-8><link rel=icon href=data:,>
<script type=text/plain id=worker>{worker}</script><script type=text/plain id=ort>{ort}</script>
<script type=text/plain id=wasm>{wasm}</script><script type=text/plain id=model>{model}</script>
<script>{script}
const text = (id) => document.getElementById(id).textContent
const bytes = (id) => Uint8Array.from(atob(text(id)), (c) => c.charCodeAt(0))
globalThis.pieces = () => ({{ model: bytes('model'),
  runtime: {{ worker: {{ text: text('worker') }}, ort: {{ text: text('ort') }}, wasm: bytes('wasm') }} }})
</script>"""

def from_disk(page, site, model, cfg, **options):
    "The same from one file, whose program is packed by gzip"
    folder, out = site, site/'whole.html'
    def packed(path): return base64.b64encode(gzip.compress(path.read_bytes(), 6)).decode()
    names = dict(ort='ort.wasm.bundle.min.mjs', wasm='ort-wasm-simd-threaded.wasm')
    out.write_text(HTML.format(worker=(folder/'runtime'/'worker.js').read_text(), model=packed(folder/model),
                               ort=(folder/'runtime'/names['ort']).read_text(),
                               wasm=packed(folder/'runtime'/names['wasm']),
                               script=bundle_scripts(folder/'expose.js')), encoding='utf-8')
    page.goto(out.as_uri())
    return page.evaluate('async (o) => (globalThis.engine = await Engine.start({...pieces(), ...o})).info',
                         dict(config=config_dict(cfg)) | options)

VOCODE = """async ({ mel, bands, ...o }) => {
  const data = toFloats(mel), pieces = []
  const onPiece = (p, n) => pieces.push([n, p.length])
  const wave = await engine.vocode({ data, bands, frames: data.length / bands }, { onPiece })
  return [toBase64(wave), pieces]
}"""

def vocode(page, mel):
    "The wave that the page makes of a mel, and where its pieces began and how long they were"
    wave, pieces = page.evaluate(VOCODE, dict(mel=b64(mel), bands=len(mel)))
    return floats(wave), pieces

@cache
def python(name): return Vocoder.load(name, engine='onnx')

@cache
def wave_of(path, seconds, name=SMALL):
    "What Python makes of a clip's mel"
    return python(name).vocode(logmel(speech(path, seconds), python(name).cfg)).numpy()

MEL = 'async (x) => { const m = await engine.mel(toFloats(x)); return [toBase64(m.data), m.frames] }'

def same_as_python(page, seconds, least):
    "The packaged clips through the page: mel and wave"
    cfg = open_checkpoint(SMALL)[0]
    for path in CLIPS:
        x = speech(path, seconds)
        got = page.evaluate(MEL, b64(x))
        check_mel_of_browser(floats(got[0]), x, cfg)
        mel = logmel(x, cfg)
        assert got[1]==mel.shape[1]
        assert snr(wave_of(path, seconds), vocode(page, mel)[0])>=least, path

@pytest.mark.parametrize('seconds', [.5, pytest.param(None, marks=slow)])
def test_fp32_from_a_server_with_threads(site, page, seconds):
    "Python's own engines agree with each other to 93 dB, and with fp64 to 95 to 105: here by the same onnxruntime"
    info = start(page, site[1], f'{SMALL}-32.onnx', open_checkpoint(SMALL)[0], threads=2)
    assert (info['backend'], info['threads'], info['simd'])==('wasm', 2, True) and '2 threads' in info['why']
    same_as_python(page, seconds, 100)

@pytest.mark.parametrize('seconds', [.5, pytest.param(None, marks=slow)])
def test_fp16_from_a_file_without_threads(site, page, seconds):
    info = from_disk(page, site[0], f'{SMALL}-16.onnx', open_checkpoint(SMALL)[0])
    assert info['threads']==1 and 'not cross-origin isolated' in info['why']
    same_as_python(page, seconds, 50)

STREAM = """async ({ mel, bands, sizes }) => {
  const data = toFloats(mel), frames = data.length / bands, got = [], counts = []
  let next = 0
  const onPiece = (p, n) => {
    if (n !== next) throw new Error('not in order')
    next += p.length
    got.push(p)
  }
  const stream = engine.stream({ onPiece })
  for (let at = 0, i = 0; at < frames; i++) {
    const n = Math.min(sizes[i % sizes.length], frames - at), part = new Float32Array(bands * n)
    for (let k = 0; k < bands; k++) part.set(data.subarray(k * frames + at, k * frames + at + n), k * n)
    counts.push(await stream.push({ data: part, bands, frames: n }))
    at += n
  }
  counts.push(await stream.end())
  const wave = new Float32Array(next)
  let at = 0
  for (const p of got) { wave.set(p, at); at += p.length }
  return [toBase64(wave), counts]
}"""

def test_chunks_and_streams_are_the_whole(site, page):
    "Exact pieces of any size, and a mel that arrives in any pieces, equal the whole to 1e-4 (and better)"
    mel = logmel(speech(CLIPS[0], 1.5))
    waves = []
    for tile in (1000, 32):
        start(page, site[1], f'{SMALL}-16.onnx', open_checkpoint(SMALL)[0], tile=tile, first=tile, threads=1)
        wave, pieces = vocode(page, mel)
        assert pieces[0][0]==0 and [a+n for a,n in pieces]==[*(a for a,_ in pieces[1:]), len(wave)]
        assert len(pieces)==(1 if tile==1000 else -(-(mel.shape[1]-13)//32)) and len(wave)==256*mel.shape[1]
        waves.append(wave)
    assert np.abs(waves[0]-waves[1]).max()<1e-5 and waves[0].std()>.01
    for sizes in ([25], [1,0,40,13]):
        wave, counts = page.evaluate(STREAM, dict(mel=b64(mel), bands=80, sizes=sizes))
        assert np.abs(floats(wave)-waves[0]).max()<1e-5
        assert counts[-1]==len(waves[0]) and sum(counts[:-1])==(mel.shape[1]-13)*256 # the last wait for what may follow

def test_the_light_voice(site, page):
    "Its phases are whole numbers: the runtime makes the same of them, as a whole, in pieces and in a stream"
    cfg, weights = open_checkpoint('festvox-ru-light')
    export_onnx(cfg, weights, site[0]/'light.onnx', half=True)
    mel = logmel(speech(CLIPS[0], 4.), cfg)
    want = Vocoder(cfg, weights, engine='torch').vocode(mel).numpy()
    for tile in (1000, 64):
        start(page, site[1], 'light.onnx', cfg, tile=tile, first=tile, threads=1)
        wave, pieces = vocode(page, mel)
        assert snr(want, wave)>40 and (len(pieces)>1)==(tile==64), tile
    streamed, counts = page.evaluate(STREAM, dict(mel=b64(mel), bands=80, sizes=[25, 1, 40]))
    assert np.abs(floats(streamed)-wave).max()<1e-5
    assert sum(counts[:-1])==(mel.shape[1]-17)*256 # it waits for the frames behind, not for those before

@pytest.mark.parametrize('seen', ['pim', 'mel+pim'])
def test_a_generator_that_sees_the_pseudo_inverse_mel(site, page, seen):
    "Its graph has a few operators more, which the runtime knows"
    cfg = replace(TINY, mel_input=seen)
    weights, mel = random_generator(cfg).state_dict(), logmel(speech(CLIPS[0], .5))
    export_onnx(cfg, weights, site[0]/f'{seen[:3]}.onnx')
    start(page, site[1], f'{seen[:3]}.onnx', cfg, threads=1, tile=20, first=20)
    wave, pieces = vocode(page, mel)
    assert len(pieces)>1 and snr(Vocoder(cfg, weights, engine='torch').vocode(mel).numpy(), wave)>80

def test_the_tab_answers_and_a_job_can_be_stopped(site, page):
    "The page's events go on between two pieces, which they would not if it computed itself; a stop is an AbortError"
    start(page, site[1], 'tiny.onnx', TINY, tile=64)
    ticks, stopped, made = page.evaluate("""async () => {
      const frames = 4000, mel = { data: new Float32Array(80 * frames).fill(-5), bands: 80, frames }
      let ticks = 0, going = true
      const tick = () => { ticks++; if (going) setTimeout(tick) }
      tick()
      const at = []
      await engine.vocode(mel, { onPiece: () => at.push(ticks) })
      going = false
      const stop = new AbortController()
      let made = 0, stopped = ''
      try { await engine.vocode(mel, { signal: stop.signal, onPiece: (p) => { made += p.length; stop.abort() } }) }
      catch (e) { stopped = e.name }
      const again = await engine.vocode({ ...mel, data: mel.data.subarray(0, 80 * 30), frames: 30 })
      return [at.map((t, i) => t - (at[i - 1] ?? 0)), stopped, [made, again.length]]
    }""")
    assert len(ticks)==63 and sum(t>0 for t in ticks)>len(ticks)/2
    assert stopped=='AbortError' and 0<made[0]<4000*TINY.hop_length and made[1]==30*TINY.hop_length

def fails(page, js, *args):
    "What an expression of the page says that fails"
    tried = f"async (args) => {{ try {{ await ({js})(...args) }} catch (e) {{ return e.message }} return 'nothing' }}"
    return page.evaluate(tried, list(args))

def test_what_cannot_be_is_said(site, page):
    folder, url = site
    start(page, url, 'tiny.onnx', TINY)
    def opens(**o): return fails(page, '(o) => Engine.start(o)', dict(
        model=f'{url}/tiny.onnx', config=config_dict(TINY), runtime=dict(url=f'{url}/runtime')) | o)
    def vocodes(js): return fails(page, f'() => engine.vocode({js})')
    (folder/'text.onnx').write_text('no model')
    assert 'config.json of a voice' in opens(config={})
    assert 'cannot be opened' in opens(model=f'{url}/text.onnx')
    assert 'do not belong together' in opens(config=config_dict(V1)|dict(n_mels=64)) # the size of the input
    assert 'do not belong together: it makes 256 samples' in opens(config=config_dict(V1)|dict(hop_length=128))
    assert 'hears farther' in opens(model=f'{url}/{SMALL}-16.onnx') # whose layers are others, of the same hop
    assert 'receptive_field 99' in opens(config=config_dict(TINY)|dict(receptive_field=99))
    assert "There is no backend 'cuda'" in opens(prefer='cuda')
    assert 'The runtime has no worker, ort, wasm' in opens(runtime={})
    assert 'The mel has 3 bands' in vocodes('{data: new Float32Array(6), bands: 3, frames: 2}')
    assert 'found 80 bands, 2 frames and 6 numbers' in vocodes('{data: new Float32Array(6), bands: 80, frames: 2}')
    nan = 'new Float32Array(160).fill(NaN, 1, 2)'
    assert 'NaN or infinity, first in frame 1' in vocodes(f'{{data: {nan}, bands: 80, frames: 2}}')
    assert '10 samples are too few' in fails(page, '() => engine.mel(new Float32Array(10))')
    nan = 'new Float32Array(9999).fill(NaN, 3, 4)'
    assert 'NaN or infinity, first in sample 3' in fails(page, f'() => engine.mel({nan})')
    assert 'sample rate of 3 Hz' in fails(page, '() => engine.resample(new Float32Array(99), 3, 22050)')
    assert 'This stream has ended' in fails(page, """async () => {
      const s = engine.stream({})
      await s.push({ data: new Float32Array(80).fill(-5), bands: 80, frames: 1 })
      await s.end()
      await s.push({ data: new Float32Array(80).fill(-5), bands: 80, frames: 1 }) }""")
    thrower = "{ onPiece: () => { throw new Error('thrown by the page') } }"
    mel = '{ data: new Float32Array(80 * 300).fill(-5), bands: 80, frames: 300 }'
    assert fails(page, f'() => engine.vocode({mel}, {thrower})')=='thrown by the page'
    assert fails(page, f'() => engine.stream({thrower}).push({mel})')=='thrown by the page'
    assert fails(page, f'() => engine.vocode({mel})')=='nothing' # and it goes on
    assert 'The engine was stopped' in fails(page, '() => { engine.stop(); return engine.mel(new Float32Array(9999)) }')

def test_what_is_not_there_is_said(site, browser):
    "Here the console complains too"
    page, url = browser.new_page(), site[1]
    start(page, url, 'tiny.onnx', TINY)
    given = dict(config=config_dict(TINY), runtime=dict(url=f'{url}/runtime'))
    said = fails(page, '(o) => Engine.start(o)', given | dict(model=f'{url}/no.onnx'))
    assert 'the model was not loaded' in said and 'the server says 404' in said
    nowhere = dict(model=f'{url}/tiny.onnx', runtime=dict(url=f'{url}/nowhere'))
    assert 'its script could not be loaded' in fails(page, '(o) => Engine.start(o)', given | nowhere)
    page.close()

def worker_text(site): return (site[0]/'runtime'/'worker.js').read_text(encoding='utf-8')

COUNTED = """const made = [], { Memory } = WebAssembly
WebAssembly.Memory = class extends Memory { constructor(o) { super(o); made.push(this) } }
new BroadcastChannel('memory').onmessage = ({ data }) => {
  if (data === 'ask') new BroadcastChannel('memory').postMessage(made.map((m) => m.buffer.byteLength))
}
"""

GROWTH = """async () => {
  const size = () => new Promise((ok) => {
    const line = new BroadcastChannel('memory')
    line.onmessage = ({ data }) => { if (data !== 'ask') ok(data) }
    line.postMessage('ask')
  })
  const mel = (n) => ({ data: new Float32Array(80 * n).fill(-5), bands: 80, frames: n }), sizes = []
  const stream = engine.stream({})
  for (let i = 0; i < 20; i++) {
    for (const n of [64, 1, 30]) await stream.push(mel(n))
    sizes.push(await size())
  }
  await stream.end()
  await engine.vocode(mel(2000))
  return [...sizes, await size()]
}"""

def test_memory_does_not_grow(site, page):
    "The memory of WebAssembly, asked in the worker, is the same after many windows of all sizes as after the first"
    start(page, site[1], 'tiny.onnx', TINY, tile=64,
          runtime=dict(url=f'{site[1]}/runtime', worker=dict(text=COUNTED+worker_text(site))))
    sizes = page.evaluate(GROWTH)
    assert len(sizes)==21 and all(len(o)==1 and o[0]>2**20 for o in sizes)
    assert sizes[3:]==sizes[3:4]*18, sizes

FAKE = """// Stands in the place of onnxruntime-web: WebAssembly that is right, and a graphics processor that is KIND
export const env = { wasm: {} }
export class Tensor { constructor(type, data, dims) { Object.assign(this, { type, data, dims }) } }
const wait = (ms) => new Promise((go) => setTimeout(go, ms))
class Session {
  constructor(backend) { Object.assign(this, { backend, inputNames: ['mel'], outputNames: ['wav'] }) }
  async run({ mel }) {
    const gpu = this.backend === 'webgpu', kind = 'KIND'
    if (gpu && kind === 'broken') throw new Error('device lost')
    await wait(gpu === (kind === 'slow') ? 60 : 1)
    const loud = gpu && kind === 'wrong' ? .9 : 1, length = mel.dims[2] * HOP
    const data = Float32Array.from({ length }, (_, i) => Math.sin(i % HOP) * loud)
    return { wav: { location: 'cpu', getData: async () => data } }
  }
  async release() {}
}
export const InferenceSession = { create: async (model, { executionProviders }) => new Session(executionProviders[0]) }
"""

@pytest.mark.parametrize('kind,backend,why', [
    ('good', 'webgpu', 'agrees with WebAssembly to'), ('slow', 'wasm', 'WebGPU is slower here'),
    ('wrong', 'wasm', 'WebGPU agrees with WebAssembly to 20 dB only'),
    ('broken', 'wasm', 'WebGPU failed (device lost)'),
    ('absent', 'wasm', 'WebGPU was asked for and is not used: WebGPU finds no graphics processor')])
def test_webgpu_is_chosen_only_where_it_is_right_and_faster(site, page, kind, backend, why):
    "By a runtime of ours with a pretended graphics processor; what is chosen, and why, is said"
    gpu = f'{{ requestAdapter: async () => {"null" if kind=="absent" else "({})"} }}'
    worker = f"Object.defineProperty(navigator, 'gpu', {{ value: {gpu} }});\n"+worker_text(site)
    fake = dict(text=FAKE.replace('KIND', kind).replace('HOP', str(TINY.hop_length)))
    wasm = f'{site[1]}/text.bin'
    (site[0]/'text.bin').write_bytes(b'program')
    pieces = dict(worker=dict(text=worker), ort=fake, wasm=wasm, webgpu=dict(ort=fake, wasm=wasm))
    info = start(page, site[1], 'tiny.onnx', TINY, prefer='webgpu' if kind=='absent' else 'auto', runtime=pieces)
    assert info['backend']==backend and why in info['why'], info

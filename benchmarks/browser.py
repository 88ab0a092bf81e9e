"""How fast the vocoder is in a browser tab on this machine, and how much memory it takes.

    python benchmarks/browser.py                      both packaged voices, one thread and as many as there are cores
    python benchmarks/browser.py --rounds 9 --seconds 2
    python benchmarks/browser.py --memory 10          memory while ten minutes of mel are vocoded, small voice

Real Chromium, a page of a local server that may share memory between threads, fp16 weights. The settings take turns,
round after round, with Python's own engine (fast, fp32) on the same mel, so that what else the machine does hits all of
them alike: the ratio to Python's is steadier than the factor itself. RTF is seconds of work by seconds of sound, the
median of the rounds. Where others want the machine too, RTF says little, and the seconds of processor by seconds of
sound say more: with one thread they are the RTF of an idle machine. The load is printed."""
import argparse, os, shutil, sys, tempfile, threading, time
from contextlib import contextmanager
from functools import partial
from http.server import ThreadingHTTPServer
from pathlib import Path
from statistics import median
import torch
from playwright.sync_api import sync_playwright
ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT/'tests'))
from conftest import ARGS, CHROMIUM
from test_web_engine import CLIPS, EXPOSE, WEB, Isolated, b64, logmel, speech
from hifigan_ruslan.config import config_dict
from hifigan_ruslan.inference.browser import bundle_scripts, web_runtime
from hifigan_ruslan.inference.onnx import export_onnx
from hifigan_ruslan.model.reading import open_checkpoint
from hifigan_ruslan.vocoder import Vocoder

VOICES = ('festvox-ru-light', 'universal-ru')
START = """async ([name, o]) => {
  const begun = performance.now()
  engines[name] = await Engine.start(o)
  return [engines[name].info, (performance.now() - begun) / 1000]
}"""
RUN = """async ([name, mel]) => {
  const data = toFloats(mel), begun = performance.now()
  const wave = await engines[name].vocode({ data, bands: 80, frames: data.length / 80 })
  return (performance.now() - begun) / 1000
}"""
LONG = """async ([name, mel, minutes]) => {
  const data = toFloats(mel), frames = data.length / 80, { sample_rate, hop_length } = engines[name].config
  const stream = engines[name].stream({ onPiece: (p) => { globalThis.made += p.length } })
  while (globalThis.made < minutes * 60 * sample_rate) await stream.push({ data, bands: 80, frames })
  await stream.end()
  globalThis.ended = true
}"""

@contextmanager
def site():
    "Folder and URL of a server with the engine and the voices"
    with tempfile.TemporaryDirectory() as tmp:
        folder = Path(tmp)
        shutil.copytree(WEB/'engine', folder/'engine')
        (folder/'runtime').mkdir()
        for name,path in web_runtime().items(): shutil.copy(path, folder/'runtime'/name)
        (folder/'runtime'/'worker.js').write_text(bundle_scripts(WEB/'engine'/'worker.js'), encoding='utf-8')
        (folder/'expose.js').write_text(EXPOSE+'globalThis.engines = {}\n', encoding='utf-8')
        (folder/'page.html').write_text('<!doctype html><script type=module src=expose.js></script>', encoding='utf-8')
        for voice in VOICES: export_onnx(*open_checkpoint(voice), folder/f'{voice}.onnx', half=True)
        with ThreadingHTTPServer(('127.0.0.1', 0), partial(Isolated, directory=str(folder))) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            yield f'http://127.0.0.1:{server.server_port}'
            server.shutdown()

def begin(page, url, name, voice, **options):
    "Start an engine of this name in the page"
    given = dict(model=f'{url}/{voice}.onnx', config=config_dict(open_checkpoint(voice)[0]),
                 runtime=dict(url=f'{url}/runtime')) | options
    info, seconds = page.evaluate(START, [name, given])
    print(f'{name}: ready in {seconds:.1f} s; {info["why"]}')

def used(session):
    "Seconds of processor of the browser's page processes, all threads together"
    found = session.send('SystemInfo.getProcessInfo')['processInfo']
    pids = [p['id'] for p in found if p['type']=='renderer']
    stats = [Path(f'/proc/{o}/stat').read_text().rpartition(')')[2].split() for o in pids]
    return sum(int(s[11])+int(s[12]) for s in stats)/os.sysconf('SC_CLK_TCK')

def timed(f, clock):
    "Seconds that f takes, and those of a processor"
    start, cpu = time.perf_counter(), clock()
    f()
    return time.perf_counter()-start, clock()-cpu

def speed(browser, page, url, rounds, seconds):
    "RTF of each setting, and how it compares with Python's"
    threads, mel, session = os.cpu_count(), logmel(speech(CLIPS[0], seconds)), browser.new_browser_cdp_session()
    length = mel.shape[1]*256/22050
    python = {v: Vocoder.load(v) for v in VOICES}
    names = [(v, f'{v}, {n} thread{"s"*(n>1)}', n) for v in VOICES for n in (1, threads)]
    for voice,name,n in names: begin(page, url, name, voice, threads=n)
    took = {name: [] for _,name,_ in names} | {v: [] for v in VOICES}
    for _ in range(rounds+1): # the first only warms up
        for v in VOICES: took[v].append(timed(lambda: python[v].vocode(mel), time.process_time))
        for _,name,_ in names:
            took[name].append(timed(lambda: page.evaluate(RUN, [name, b64(mel)]), lambda: used(session)))
    print(f'\n{rounds} rounds of {length:.1f} s; Python has {torch.get_num_threads()} threads')
    print(f'{"":<34}{"RTF":>8}{"least":>8}{"of Python":>11}{"processor":>11}{"of Python":>11}')
    rows = [(v, v) for v in VOICES] + [(v, name) for v,name,_ in names]
    for voice,name in rows: row(name, took[name], took[voice], length)

def row(name, mine, python, length):
    "A line of the table; without the round that warmed up"
    (wall, cpu), (python_wall, python_cpu) = (zip(*t[1:]) for t in (mine, python))
    def ratio(a, b): return median(x/y for x,y in zip(a, b))
    print(f'{name+", Python"*(mine is python):<34}{median(wall)/length:>8.3f}{min(wall)/length:>8.3f}'
          f'{ratio(wall, python_wall):>11.2f}{median(cpu)/length:>11.3f}{ratio(cpu, python_cpu):>11.2f}', flush=True)

def memory_of(session):
    "MiB of memory of the browser's page processes, without what they share"
    total = 0
    for p in session.send('SystemInfo.getProcessInfo')['processInfo']:
        if p['type']!='renderer': continue
        lines = Path(f'/proc/{p["id"]}/smaps_rollup').read_text().splitlines()
        total = max(total, next(int(o.split()[1]) for o in lines if o.startswith('Pss:'))/1024)
    return total

def memory(browser, page, url, minutes):
    "Memory while minutes of mel are streamed"
    session = browser.new_browser_cdp_session()
    begin(page, url, 'small', VOICES[0], threads=1)
    page.evaluate('globalThis.made = 0, globalThis.ended = false')
    # and does not wait for it
    page.evaluate(f'([...a]) => {{ ({LONG})(a) }}', ['small', b64(logmel(speech(CLIPS[0]))), minutes])
    said, ended = 0, False
    while not ended:
        page.wait_for_timeout(500)
        made, ended = page.evaluate('[made, ended]')
        if made//(22050*60)<said and not ended: continue
        print(f'{made/22050/60:5.1f} min of sound: {memory_of(session):6.0f} MiB', flush=True)
        said = made//(22050*60)+1

def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--rounds', type=int, default=5)
    p.add_argument('--seconds', type=float, default=3., help='of sound in each run')
    p.add_argument('--memory', type=float, metavar='MINUTES', help='only look at the memory')
    a = p.parse_args()
    print(f'{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} before')
    with site() as url, sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=ARGS)
        page = browser.new_page()
        page.goto(f'{url}/page.html')
        page.wait_for_function('() => Boolean(globalThis.engines)')
        if a.memory: memory(browser, page, url, a.memory)
        else: speed(browser, page, url, a.rounds, a.seconds)
        browser.close()
    print(f'load {os.getloadavg()[0]:.1f} after')

if __name__=='__main__': main()

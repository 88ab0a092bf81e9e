"""Fetch what the browser's vocoder needs from npm's registry, each file checked by its hash, into web/vendor (ignored
by git; what is there is kept):

    python tools/vendor_web.py            the runtime, and the worker as one script
    python tools/vendor_web.py --webgpu   the runtime for graphics processors too (27 MB)

Which version and which hashes stands in nbs/46_browser.ipynb; web/package.json and its lock file say the same to npm"""
import argparse
from pathlib import Path
from hifigan_ruslan.base.files import new_file
from hifigan_ruslan.inference.browser import WASM_FILES, WEBGPU_FILES, bundle_scripts, web_runtime

WEB = Path(__file__).resolve().parent.parent/'web'

def vendor(folder, webgpu=False):
    "Fill the folder, as `Engine.start({runtime: {url: folder}})` expects it; the paths of its files"
    files = web_runtime(folder, WASM_FILES+WEBGPU_FILES if webgpu else WASM_FILES)
    with new_file(folder/'worker.js') as part:
        part.write_text(bundle_scripts(WEB/'engine'/'worker.js'), encoding='utf-8')
    return files | {'worker.js': folder/'worker.js'}

def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--out', type=Path, default=WEB/'vendor', help='folder, default web/vendor')
    p.add_argument('--webgpu', action='store_true', help='the runtime for graphics processors too')
    args = p.parse_args()
    for name,path in vendor(args.out, args.webgpu).items(): print(f'{name:40} {path.stat().st_size/1e6:6.2f} MB')

if __name__=='__main__': main()

"""Copy web/engine and web/page into the package, which writes pages of them.

    python tools/copy_web.py            copy
    python tools/copy_web.py --check    only say whether the copies are the files; exit status 1 where they are not
"""
import shutil, sys
from pathlib import Path
from fastcore.script import call_parse, store_true

ROOT = Path(__file__).parent.parent.absolute()
WEB, APP = ROOT/'web', ROOT/'hifigan_ruslan'/'web'/'app'
KINDS = '.js', '.css', '.html', '.txt' # Of the files that a page is made of

def originals():
    "Name -> path of the files that the package carries"
    found = [p for d in ('engine', 'page') for p in sorted((WEB/d).iterdir()) if p.suffix in KINDS]
    return {p.relative_to(WEB).as_posix(): p for p in found}

def copies():
    "Name -> path of the copies that are there"
    return {p.relative_to(APP).as_posix(): p for p in APP.rglob('*') if p.is_file()}

def stale():
    "Names of copies that are missing, other than their files, or left over"
    want, have = originals(), copies()
    other = [n for n in want if n in have and want[n].read_bytes()!=have[n].read_bytes()]
    return sorted({*(want.keys()^have.keys()), *other})

def copy_all():
    "Make the copies anew"
    shutil.rmtree(APP, ignore_errors=True)
    for name,path in originals().items():
        (APP/name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, APP/name)

@call_parse
def main(
    check:store_true=False # Only look
):
    "Copy the JavaScript of the page into the package"
    late = stale()
    if check and late: sys.exit(f'not as in web/: {", ".join(late)}. Run python tools/copy_web.py')
    if not check: copy_all()
    print(f'{len(originals())} files, {len(late)} were changed' if not check else 'the copies are fresh')

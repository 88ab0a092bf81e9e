"""Check the documentation site as it was built: what a reader clicks on is there, and what the package exports is
described.

    python tools/check_docs.py          the site in _docs/
    python tools/check_docs.py DIR      the site in DIR

Every link, picture, sound, script and anchor inside the site must resolve; links to elsewhere are only listed, and
nothing may be fetched from there. Every public name of the package stands on the page of its notebook, has a
docstring, and a type for each parameter.
"""
import importlib, inspect, re, sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit
from fastcore.script import call_parse

ROOT = Path(__file__).parent.parent.absolute()
# Tag -> attribute with an address
POINTS = dict(a='href', link='href', img='src', audio='src', video='src', source='src', script='src', iframe='src')
NOT_FETCHED = {'canonical', 'next', 'prev', 'search', 'index', 'author', 'help', 'license'} # What a <link> only names

# links

class Page(HTMLParser):
    "Addresses, anchors and text of a page"
    def __init__(self, html):
        super().__init__()
        self.targets, self.loads, self.ids, self.words, self.silent = [], [], set(), [], 0
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        at = dict(attrs)
        self.ids |= {at[k] for k in ('id', 'name') if at.get(k)}
        self.silent += tag in ('script', 'style')
        if at.get(POINTS.get(tag)) is None: return
        self.targets.append(at[POINTS[tag]])
        if tag!='a' and not (tag=='link' and set((at.get('rel') or '').split()) & NOT_FETCHED):
            self.loads.append(at[POINTS[tag]])

    def handle_endtag(self, tag): self.silent -= tag in ('script', 'style')

    def handle_data(self, data):
        if not self.silent: self.words.append(data)

    @property
    def text(self): return ''.join(self.words)

def dead(path, page, pages, site):
    "The addresses on a page that lead nowhere, each with the reason"
    for target in dict.fromkeys(page.targets):
        u = urlsplit(target)
        if u.scheme or u.netloc: continue
        to = (path.parent/unquote(u.path)).resolve() if u.path else path
        if to.is_dir(): to = to/'index.html'
        if not to.is_relative_to(site): yield f'{target} leads out of the site'
        elif not to.is_file(): yield f'{target}: no such file'
        elif u.fragment and to in pages and unquote(u.fragment) not in pages[to].ids:
            yield f'{target}: no such place on that page'

def dead_links(pages, site):
    return [f'{p.relative_to(site)}: {d}' for p,page in pages.items() for d in dead(p, page, pages, site)]

def fetched(pages, site):
    "What a page would fetch from elsewhere by itself: scripts, styles, pictures, sounds"
    return [f'{p.relative_to(site)}: {t} is fetched from elsewhere' for p,page in pages.items()
            for t in dict.fromkeys(page.loads) if urlsplit(t).netloc]

def outside(pages):
    "Addresses outside the site -> how many pages have them"
    found = [t for page in pages.values() for t in set(page.targets) if urlsplit(t).scheme in ('http', 'https')]
    return {t: found.count(t) for t in sorted(set(found))}

# names

def exported():
    "(module, name, page) of every public function, class, method and constant"
    from hifigan_ruslan._modidx import d
    for module,syms in d['syms'].items():
        page, made = f'{module.split(".")[-1]}.html', {k.removeprefix(module+'.') for k in syms}
        for name in sorted(made | set(importlib.import_module(module).__all__)):
            if not any(o.startswith('_') for o in name.split('.')): yield module, name, page

def definitions(module, name):
    "What a name stands for; of a method, in its class and in the base classes that are ours"
    *outer, last = name.split('.')
    owner = importlib.import_module(module)
    if not outer: return [getattr(owner, last)]
    for o in outer: owner = getattr(owner, o)
    found = [vars(c)[last] for c in owner.__mro__ if c.__module__.startswith('hifigan_ruslan') and last in vars(c)]
    return [o.fget if isinstance(o, property) else getattr(o, '__func__', o) for o in found]

def parameters(o):
    "Parameters of a function or class; none where Python knows none"
    try: return [p for k,p in inspect.signature(o).parameters.items() if k not in ('self', 'cls')]
    except (TypeError, ValueError): return []

def gaps():
    "What the names of the package lack, a line each"
    for module,name,_ in exported():
        found = [o for o in definitions(module, name) if inspect.isroutine(o) or isinstance(o, type)]
        if not found: continue # a constant, or a field
        if not any((o.__doc__ or '').strip() for o in found): yield f'{module}.{name}: no docstring'
        typed = {p.name for o in found for p in parameters(o) if p.annotation is not p.empty}
        for p in parameters(found[0]):
            if p.name not in typed: yield f'{module}.{name}({p.name}): no type'

def missing(pages, site):
    "Names that do not stand on the page of their notebook"
    words = {p.name: set(re.findall(r'\w+', page.text)) for p,page in pages.items() if p.parent==site}
    return [f'{module}.{name} does not stand on {page}' for module,name,page in exported()
            if name.split('.')[-1] not in words.get(page, ())]

def check_docs(site):
    "Exit with a list of what is wrong with a site"
    site = Path(site).resolve()
    pages = {p: Page(p.read_text(encoding='utf-8')) for p in sorted(site.rglob('*.html'))}
    if not pages: sys.exit(f'{site} holds no pages: python tools/build_docs.py makes them')
    wrong = dead_links(pages, site) + fetched(pages, site) + missing(pages, site) + sorted(gaps())
    print('\n'.join(['Addresses outside the site, not visited:', *(f'  {t} ({n})' for t,n in outside(pages).items())]))
    if wrong: sys.exit('\n'.join([f'{len(wrong)} things are not right:', *wrong]))
    addresses = sum(len(set(p.targets)) for p in pages.values())
    print(f'checked {len(pages)} pages, {addresses:,} addresses, {len(list(exported()))} names')

@call_parse
def main(site:str=str(ROOT/'_docs') # Folder of the site
        ):
    "Check the links and the names of the documentation site"
    check_docs(site)

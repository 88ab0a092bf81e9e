"""What the documentation site shows of an exported function or class: signature, what it does, its parameters as a
table, and the methods of a class in the same way.

build_docs.py hands `Entry` to nbdev's `show_doc`. Each name also becomes an object of Sphinx, by the directive
`api` of docs/conf.py, and these come first in the site's search: a query that is a name finds its definition, and
so does one that is a field of a dataclass, such as `segment_size`. """
import dataclasses, inspect, re, textwrap
from fastcore.docments import docments

EMPTY = inspect.Parameter.empty
STARS = {inspect.Parameter.VAR_POSITIONAL: '*', inspect.Parameter.VAR_KEYWORD: '**'}

def plain(text):
    "Text of a docstring or comment, so that Markdown takes nothing but `code` in it for markup"
    parts = re.split(r'(`[^`]*`)', ' '.join(str(text or '').split()))
    return ''.join(p if i%2 else re.sub(r'([\\*_\[\]<$])', r'\\\1', p) for i,p in enumerate(parts)).replace('|', r'\|')

def type_name(anno):
    "An annotation without the paths of its modules; nothing for none"
    if anno is EMPTY or anno is None: return ''
    if getattr(anno, '__name__', '')=='store_true': return 'flag' # of fastcore's call_parse
    plain_class = isinstance(anno, type) and not getattr(anno, '__args__', None)
    name = anno if isinstance(anno, str) else anno.__name__ if plain_class else str(anno)
    return re.sub(r'\b(?:\w+\.)+(\w+)', r'\1', name)

def code(text): return '`'+text.replace('|', r'\|')+'`' if text else ''

def short(value):
    "A default as it is written; long ones and those without a readable form are cut"
    text = re.sub(r'<(?:function|class) ([\w.\']+).*', r'\1', repr(value))
    return text if len(text)<=40 else text[:37]+'...'

def is_derived(o):
    "Is it a class of exceptions or texts, which has no signature of its own?"
    return isinstance(o, type) and issubclass(o, (Exception, str))

def signature(name, o):
    "`name(a, b=1)->type`, wrapped; of an exception or a kind of text, what it is derived from"
    if is_derived(o) and '__init__' not in vars(o):
        return f'{name}({o.__base__.__name__})'
    params = [p for k,p in inspect.signature(o).parameters.items() if k not in ('self', 'cls')]
    parts = [STARS.get(p.kind, '')+p.name + ('' if p.default is EMPTY else f'={short(p.default)}') for p in params]
    first = next((i for i,p in enumerate(params) if p.kind is p.KEYWORD_ONLY), None)
    if first is not None and not any(p.kind is p.VAR_POSITIONAL for p in params): parts.insert(first, '*')
    end = type_name(inspect.signature(o).return_annotation)
    text = f'{name}({", ".join(parts)})' + (f'->{end}' if end else '')
    return '\n'.join(textwrap.wrap(text, 100, subsequent_indent=' '*(len(name)+1) if len(name)<40 else '    ',
                                   break_long_words=False, break_on_hyphens=False))

def table(o):
    "Parameters and result, as a Markdown table; nothing where there are none"
    if is_derived(o): return ''
    docs, rows = {k: v for k,v in docments(o, full=True).items() if k not in ('self', 'cls')}, []
    for k,v in docs.items():
        what, anno = plain(v['docment']), code(type_name(v['anno']))
        if k!='return': rows.append((code(k), anno, '' if v['default'] is EMPTY else code(short(v['default'])), what))
        elif what: rows.append(('returns', anno, '', what))
    return '\n'.join(['| | type | default | |', '|---|---|---|---|',
                      *(f'| {" | ".join(r)} |' for r in rows)]) if rows else ''

def marks(kind, *names):
    "Invisible marks at this place, one for each name, which the search finds"
    return '\n'.join(f'```{{api}} {kind} {n}\n```' for n in names)

def methods(cls):
    "(name, function or property) of the public methods that a class itself defines and documents"
    for k,v in vars(cls).items():
        v = getattr(v, '__func__', v)
        if k.startswith('_') or not (inspect.isfunction(v) or isinstance(v, property)): continue
        if getattr(v.fget if isinstance(v, property) else v, '__module__', None)==cls.__module__ and v.__doc__:
            yield k, v

def describe(name, o):
    "Signature, docstring and table of a function or class"
    o = inspect.unwrap(o)
    kind = 'class ' if isinstance(o, type) else ''
    return [f'```python\n{kind}{signature(name, o)}\n```',
            plain(inspect.getdoc(o) if '__doc__' in vars(o) or not isinstance(o, type) else ''), table(o)]

def method(cls, k, v):
    "Entry of one method"
    name = f'{cls.__name__}.{k}'
    if isinstance(v, property):
        return [marks('property', name), f'**{name}**{property_type(v)}', plain(inspect.getdoc(v))]
    return [marks('method', name), f'**{name}**', *describe(k, v)]

def property_type(v):
    "`: type`, for the end of a name; nothing where none is said"
    anno = type_name(inspect.signature(v.fget).return_annotation)
    return f': {code(anno)}' if anno else ''

def patched(name, o):
    "Entry of a method or property that stands in a cell of its own, under fastcore's `patch`"
    method = name.rpartition('.')[2]
    parts = [marks('method', name), *describe(method, o)] if not isinstance(o, property) else [
        marks('property', name), f'**{method}**{property_type(o)}', plain(inspect.getdoc(o))]
    return '\n\n'.join(filter(None, parts))

def entry(name, o):
    "The whole entry, in Markdown"
    if '.' in name: return patched(name, o)
    fields = [f.name for f in dataclasses.fields(o)] if dataclasses.is_dataclass(o) else []
    kind = 'function' if not isinstance(o, type) else 'exception' if issubclass(o, Exception) else 'class'
    parts = [marks(kind, name), marks('attribute', *(f'{name}.{f}' for f in fields)), *describe(name, o)]
    if isinstance(o, type):
        for k,v in methods(o): parts += method(o, k, v)
    return '\n\n'.join(filter(None, parts))

class Entry:
    "For `show_doc(name, renderer=Entry)`"
    def __init__(self, o, name=None, title_level=3):
        self.o, self.title_level = o, title_level
        self.name = name or (o.fget if isinstance(o, property) else o).__qualname__

    def _repr_markdown_(self): return f'{"#"*self.title_level} {self.name}\n\n{entry(self.name, self.o)}'

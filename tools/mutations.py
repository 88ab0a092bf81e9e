"""Damage small files of every kind that is read here, by fixed seeds, and feed each to our own readers:

    python tools/mutations.py [--n 10000] [--seed 0] [--only sound,metadata] [--out mutations]

A mutation is accepted, refused in words of ours, or a fault: another library's error, a message without the file's
name, more than 20 s, more than 2 GB, the end of the process, or something accepted that a second reader refuses and of
which nothing was said. Every faulty file is kept in --out, with what was wrong. Exit code 1 if there is one (POSIX).
"""
import contextlib, csv, io, json, multiprocessing, os, random, re, resource, shutil, signal, sys, tempfile
import traceback, warnings
from dataclasses import replace
from pathlib import Path
import numpy as np, soundfile as sf, torch
from fastcore.script import call_parse
from safetensors.torch import load as load_tensors
from hifigan_ruslan.base.audio import read_wav
from hifigan_ruslan.base.files import MARKER, csv_rows, csv_text, printable, read_marker
from hifigan_ruslan.checkpoint import load_checkpoint, save_checkpoint
from hifigan_ruslan.config import TINY, config_dict, load_config, official_dict
from hifigan_ruslan.data import SpeechData
from hifigan_ruslan.dataset.corpus import find_corpus, synth_corpus, synth_wav
from hifigan_ruslan.dataset.prepare import prepare
from hifigan_ruslan.eval import COLUMNS, _sealed, file_name, read_rows, save_csv
from hifigan_ruslan.generator import random_generator
from hifigan_ruslan.inference.hub import export
from hifigan_ruslan.kaggle.attached import _record
from hifigan_ruslan.kaggle.progress import _table, comparison_of, pairs_of
from hifigan_ruslan.kaggle.weekly import _read as read_sessions
from hifigan_ruslan.inference.mel_formats import check_mel, read_mel
from hifigan_ruslan.inference.onnx import export_onnx
from hifigan_ruslan.listening.listening_test import RATING_COLUMNS, BlindTest, make_test
from hifigan_ruslan.listening.ratings import read_ratings
from hifigan_ruslan.mel import LogMel
from hifigan_ruslan.model.reading import open_checkpoint, optional_package
from hifigan_ruslan.model.weights import load_generator
from hifigan_ruslan.model.weightset import read_set_marker
from hifigan_ruslan.step import new_state
from hifigan_ruslan.training.logging import RunLog, last_health, log_columns, plot_curves, read_log, read_state

SECONDS, BYTES, ADDRESSES = 20, 2*2**30, 6*2**30 # Of one mutation: at most; the last beyond what is mapped before
SMALL = replace(TINY, upsample_initial_channel=16, resblock_kernel_sizes=(3,), resblock_dilation_sizes=((1,2),),
                disc_shrink=32, mpd_periods=(2,), segment_size=2048)

class Fault(Exception): "What must not be"
class Late(BaseException): "The alarm, which no reader may swallow"

# mutations of bytes

NUMBERS = [0, 1, -1, 127, 128, 255, 2**15-1, 2**15, 2**16-1, 2**31-1, 2**31, 2**32-1, 2**63-1, 2**64-1]
CHARS = [b'"', b"'", b'|', b',', b';', b'\t', b'\r', b'\n', b'\0', b'\xff', b'\xef\xbb\xbf', b'{', b'[', b'}', b'-',
         b'9'*40, b'1e999', b'NaN', b'..', b'/', b'\\', 'ё'.encode(), 'ё'.encode('cp1251'), b'\xed\xa0\x80', b'["'*2000]

def flip(r, raw): return put(raw, at := r.randrange(len(raw)), bytes([raw[at]^(1<<r.randrange(8))]))
def noise(r, raw): return put(raw, r.randrange(len(raw)), r.randbytes(r.choice((1, 2, 4, 16, 300))))
def zeros(r, raw): return put(raw, r.randrange(len(raw)), bytes(r.choice((1, 4, 64, 2000))))
def chars(r, raw): return insert(r, raw, r.choice(CHARS))
def chop(r, raw): return raw[:r.randrange(len(raw))]
def behead(r, raw): return raw[r.randrange(len(raw)):]
def append(r, raw): return raw+r.choice((r.randbytes(r.randrange(1, 300)), bytes(100), raw, b'TAG'+bytes(125)))
def prefix(r, raw): return r.choice((b'\xef\xbb\xbf', b'\n', b'\0', b'ID3\4\0\0\0\0\0\0', r.randbytes(9)))+raw
def insert(r, raw, what): return raw[:(i := r.randrange(len(raw)+1))]+what+raw[i:]
def put(raw, at, what): return raw[:at]+what[:len(raw)-at]+raw[at+len(what):]

def number(r, raw):
    "A boundary number, anywhere, or in the head where the sizes stand"
    size, order = r.choice((1, 2, 4, 8)), r.choice(('little', 'big'))
    at = r.randrange(min(len(raw), r.choice((64, 256, len(raw)))))
    return put(raw, at, (r.choice(NUMBERS)%2**(8*size)).to_bytes(size, order))

def span(r, raw):
    "A piece: where it begins, where it ends"
    a = r.randrange(len(raw))
    return a, min(len(raw), a+r.choice((1, 2, 4, 16, 100, 1000)))

def drop(r, raw):
    a, b = span(r, raw)
    return raw[:a]+raw[b:]

def repeat(r, raw):
    a, b = span(r, raw)
    return raw[:b]+raw[a:b]*r.choice((1, 1, 2, 50))+raw[b:]

def swap(r, raw):
    (a, b), (c, d) = sorted([span(r, raw), span(r, raw)])
    return raw[:a]+raw[c:d]+raw[b:c]+raw[a:b]+raw[d:] if b<=c else raw[:a]+raw[a:b][::-1]+raw[b:]

def recode(r, raw):
    "The same text in another encoding, with a Russian word in it; what is no text stays"
    try: text = raw.decode()
    except UnicodeDecodeError: return flip(r, raw)
    i = r.randrange(len(text)+1)
    codes = ('cp1251', 'koi8-r', 'cp866', 'mac_cyrillic', 'utf-16', 'utf-16-le', 'utf-32', 'utf-8-sig')
    return (text[:i]+'ёлка'+text[i:]).encode(r.choice(codes), 'replace')

BYTEWISE = [recode, flip, noise, zeros, chars, chop, behead, append, prefix, number, number, drop, repeat, swap]

def mutate_bytes(r, name, raw):
    "One to three mutations; now and then an empty file"
    if r.random()<.005: return b'', 'empty'
    how = [r.choice(BYTEWISE) for _ in range(r.choice((1, 1, 1, 2, 3)))]
    for m in how: raw = m(r, raw) if raw else raw
    return raw, '+'.join(m.__name__ for m in how)

# mutations of structure

def odd_values():
    deep = []
    for _ in range(3000): deep = [deep]
    return [None, True, False, -1, 0, 1, 1.5, 10**30, 10**400, 2**31, 2**63, float('nan'), float('inf'), '', 'x'*300,
            '22050', [], {}, [[]], [1, 2], {'a': 1}, [None], deep, '\0', '\ud800', [10**9]*3, 1e308, -0., '../../x']

def places(d, at=()):
    "Paths to all values in dicts and lists"
    for k,v in (d.items() if isinstance(d, dict) else enumerate(d) if isinstance(d, list) else ()):
        yield (*at, k)
        yield from places(v, (*at, k))

def changed(r, d, values):
    "The value with one place dropped, renamed, of a wrong kind, or wrapped"
    d, way = copied(d), r.choice(('drop', 'value', 'value', 'value', 'rename', 'wrap', 'add'))
    if not (where := list(places(d))): return r.choice(values), 'whole'
    at = r.choice(where)
    inner = d
    for k in at[:-1]: inner = inner[k]
    k = at[-1]
    if way=='drop': del inner[k]
    elif way=='value': inner[k] = r.choice(values)
    elif way=='wrap': inner[k] = r.choice(([inner[k]], {'x': inner[k]}, str(inner[k])[:100]))
    elif isinstance(inner, list): inner.append(r.choice(values))
    elif way=='add': inner |= {r.choice(('x', '', 'sample_rate2', 0)): r.choice(values)}
    else: inner[misspelt(r, str(k))] = inner.pop(k)
    return d, f'{way} {at}'

def misspelt(r, k): return r.choice((k+'s', k.upper(), k[1:], k.replace('_', '-'), '', 'module.'+k))

def copied(d):
    "Dicts and lists copied, the rest shared"
    if isinstance(d, dict): return {k: copied(v) for k,v in d.items()}
    return [*map(copied, d)] if isinstance(d, (list, tuple)) else d

def mutate_json(r, raw):
    "A change of one place in a JSON text, or a doubled key"
    if r.random()<.1: # a key that stands there twice
        return re.sub(rb'("\w+": [^,\[{]+)', lambda m: m[1]+b', '+m[1], raw, count=r.randrange(1, 4)), 'twice'
    d, how = changed(r, json.loads(raw), odd_values())
    try: return json.dumps(d).encode(), how
    except RecursionError: return b'['*3000+raw+b']'*3000, 'deep'

CELLS = ['', 'x', 'None', -5, 0, 1.5, '1e400', 'nan', 2**70, 'x'*200_000, '٣', '"', ' 7 ', '=1+1', '\n', '\0',
         '[]', '{}']

def mutate_table(r, raw, sep=','):
    "A column or a row of a CSV dropped, doubled or moved, or a cell that holds something else"
    rows = list(csv.reader(io.StringIO(raw.decode(), newline=''), delimiter=sep))
    i, j, way = r.randrange(len(rows)), r.randrange(len(rows[0])), r.choice('column row cell head twice move'.split())
    if way=='column': rows = [row[:j]+row[j+1:] for row in rows]
    elif way=='row': del rows[i]
    elif way=='cell': rows[i][j] = str(r.choice(CELLS))
    elif way=='head': rows[0][j] = misspelt(r, rows[0][j])
    elif way=='twice': rows.insert(i, rows[r.randrange(len(rows))])
    else: rows = [row[j:]+row[:j] for row in rows]
    f = io.StringIO(newline='')
    csv.writer(f, delimiter=sep).writerows(rows)
    return f.getvalue().encode('utf-8', 'surrogatepass'), f'table {way}'

# kinds: originals, a mutation, and what our readers make of it

class Kind:
    "A kind of file: `make` the originals in a folder, `feed` a mutated one to the reader"
    def __init__(self, work):
        self.work = work
        self.originals = self.make()

    def mutate(self, r, name, raw): return mutate_bytes(r, name, raw)

    def whole(self, name, raw):
        "An original must be taken, else nothing is tried"
        return self.feed(name, raw, raw, 'none')

    def put(self, name, raw):
        "A file of its own with these bytes"
        path = self.work/'in'/name
        shutil.rmtree(path.parent, ignore_errors=True)
        path.parent.mkdir(parents=True)
        path.write_bytes(raw)
        return path

def must(ok, what):
    if not ok: raise Fault(what)

def refused_by(read, *kinds):
    "Why a second reader refuses; '' where it does not"
    try: read()
    except (MemoryError, Late): raise
    except Exception as e: return f'{type(e).__name__}: {str(e)[:150]}'
    return ''

class SoundFiles(Kind):
    FORMATS = dict(u8='WAV PCM_U8', wav='WAV PCM_16', wav24='WAV PCM_24', float='WAV FLOAT', double='WAV DOUBLE',
        ulaw='WAV ULAW', gsm='WAV GSM610', adpcm='WAV IMA_ADPCM', wavex='WAVEX PCM_16', rf64='RF64 PCM_16',
        w64='W64 PCM_16', aiff='AIFF PCM_16', au='AU PCM_16', caf='CAF PCM_16', alac='CAF ALAC_16', sph='NIST PCM_16',
        flac='FLAC PCM_16', flac24='FLAC PCM_24', ogg='OGG VORBIS', opus='OGG OPUS', mp3='MP3 MPEG_LAYER_III')

    def make(self):
        self.frames, out = {}, {}
        for k,v in self.FORMATS.items():
            f = io.BytesIO()
            format, subtype = v.split()
            sf.write(f, synth_wav(.5, 16000, 3), 16000, format=format, subtype=subtype)
            out[f'{k}.snd'] = f.getvalue()
            self.frames[f'{k}.snd'] = read_wav(self.put('x.snd', f.getvalue()))[0].shape[1]
        return out

    def feed(self, name, raw, original, how):
        path = self.put(name, raw)
        wav, rate = read_wav(path)
        must(wav.size and np.isfinite(wav).all() and rate>0, f'accepted, though {wav.shape} at {rate}')
        if how=='chop' and raw: must(wav.shape[1]>=self.frames[name], f'cut to {len(raw)} of {len(original)} bytes, '
                                     f'accepted as {wav.shape[1]} of {self.frames[name]} samples')
        second = refused_by(lambda: self.second(raw, wav.shape[1], name))
        must(not second, f'accepted, soundfile says {second}')

    def second(self, raw, frames, name):
        "soundfile on its own, behind the tags of other programs, which it does not know before every format"
        while raw[:3]==b'ID3': raw = raw[10+sum((b&127)<<7*i for i,b in enumerate(raw[9:5:-1])):]
        if raw[:4]==b'fLaC': # it finds no end where the number is not known
            raw = raw[:18]+(int.from_bytes(raw[18:26], 'big')>>36<<36|frames).to_bytes(8, 'big')+raw[26:]
        path = self.work/('second.mp3' if name=='mp3.snd' else 'second.snd')
        path.write_bytes(raw)
        with sf.SoundFile(path) as s:
            while len(s.read(2**16)): pass

class Metadata(Kind):
    ROWS = [(f'clip_{i}', t) for i,t in enumerate(('Вечер, море и "тихо".', 'Ёлка; снег', 'Поезд идёт домой!'))]

    def make(self):
        f = io.BytesIO()
        sf.write(f, np.zeros(100), 16000, format='WAV')
        self.wav = f.getvalue()
        rows, head = self.ROWS, [('path', 'sentence')]
        def table(sep, rows): return ''.join(sep.join(r)+'\n' for r in rows)
        def excel(sep, rows):
            f = io.StringIO()
            csv.writer(f, delimiter=sep).writerows(rows)
            return f.getvalue()
        objects = [dict(audio_filepath=f'wavs/{k}.wav', text=t, duration=1.5) for k,t in rows]
        bars = table('|', rows)
        return {'metadata.csv': bars.encode(), 'metadata_win.csv': bars.encode('cp1251'),
            'metadata_16.txt': bars.encode('utf-16'), 'metadata_tab.tsv': table('\t', head+rows).encode(),
            'metadata_semi.csv': excel(';', rows).encode('utf-8-sig'),
            'metadata_comma.csv': excel(',', head+rows).encode(),
            'metadata_866.csv': bars.encode('cp866'), 'manifest.json': json.dumps(objects).encode(),
            'manifest.jsonl': '\n'.join(json.dumps(o, ensure_ascii=False) for o in objects).encode(),
            'manifest_index.json': json.dumps(dict(rows)).encode()}

    def mutate(self, r, name, raw):
        if r.random()<.5: return mutate_bytes(r, name, raw)
        if name.endswith('.json'): return mutate_json(r, raw)
        if name in ('metadata.csv', 'metadata_comma.csv'): return mutate_table(r, raw, '|,'['comma' in name])
        return mutate_bytes(r, name, raw)

    def feed(self, name, raw, original, how):
        path = self.put(name, raw)
        for k,_ in self.ROWS: (path.parent/f'{k}.wav').write_bytes(self.wav)
        c = find_corpus(path.parent)
        must(set(c.files)=={k for k,_ in self.ROWS}, f'the sounds are {list(c.files)}')
        must(set(c.texts)<=set(c.files), 'texts without a sound')
        must(all(isinstance(t, str) for t in c.texts.values()), 'a text is no text')
        rows = [[k, re.sub('[\ud800-\udfff]', '?', t)] for k,t in c.texts.items()]
        must(csv_rows(csv_text(rows), 'x')==rows, 'a text that a table cannot hold')
        must(name in c.layout, f'not a word of it in {c.layout}')
        self.second(name, raw, c)
        if said := re.search(r'of ([\d,]+) rows', c.layout): self.counted(name, raw, int(said[1].replace(',', '')), c)

    def counted(self, name, raw, rows, c):
        "No row is dropped unsaid: as many as there are lines with something in them, a head less"
        if refused_by(lambda: raw.decode('utf-8')): return
        if name=='manifest.json' and isinstance(d := json.loads(raw.decode('utf-8-sig')), list):
            must(rows==len(d), f'{rows} rows of {len(d)} are spoken of: {c.layout}')
        if name!='metadata.csv' or b'\r' in raw: return
        lines = [l for l in raw.decode('utf-8-sig').split('\n') if l.strip()]
        must(rows>=len(lines)-1 or not all('|' in l for l in lines[:2]), f'{rows} of {len(lines)} lines: {c.layout}')

    def second(self, name, raw, c):
        "What a plain reader refuses has to be said"
        if not c.texts: return
        if name.startswith('manifest'):
            said = refused_by(lambda: [json.loads(l) for l in raw.decode('utf-8-sig').split('\n') if l.strip()])
            said = said and refused_by(lambda: json.loads(raw.decode('utf-8-sig')))
        else: said = refused_by(lambda: raw.decode('utf-8'))
        must(not said or re.search('read as (utf|cp|koi|mac|iso)|could not be read', c.layout),
             f'accepted, nothing said but {c.layout!r}; python says {said}')

class Configs(Kind):
    def make(self):
        return {'config.json': json.dumps(config_dict(SMALL)).encode(),
                'official.json': json.dumps(official_dict(SMALL), indent=4).encode()}

    def mutate(self, r, name, raw): return mutate_json(r, raw) if r.random()<.7 else mutate_bytes(r, name, raw)

    def feed(self, name, raw, original, how):
        cfg = load_config(self.put(name, raw))
        d = json.loads(raw.decode('utf-8-sig'))
        theirs, own = official_dict(cfg), config_dict(cfg)
        idle = {'num_gpus', 'num_workers', 'num_freq', 'dist_config', 'disc'} # of the official code's machine
        for k,v in d.items():
            if k in idle: continue
            must(k in own or k in theirs, f'key {k!r} is taken without a word')
            mine = [o[k] for o in (own, theirs) if k in o]
            must(v in mine and all(type(v)==type(o) or {type(v), type(o)}<={int, float} for o in mine),
                 f'{k} is {v!r} in the file and {mine} in the configuration')

def tensors_from(r, v):
    "In place of a tensor: other shapes, kinds and numbers"
    x = v.detach().clone() if isinstance(v, torch.Tensor) else torch.zeros(3)
    def one(n):
        y = x.double().clone()
        y.view(-1)[:1] = n
        return y.float()
    def with_last(): return torch.cat([x, x]) if x.ndim else x[None]
    return r.choice([lambda: x.half(), lambda: x.double(), lambda: x.to(torch.int64), lambda: x[:0] if x.ndim else x,
        lambda: one(float('nan')), lambda: one(float('inf')), lambda: one(1e38), with_last, lambda: x[None],
        lambda: torch.zeros(1).expand(2**34), lambda: x.to_sparse() if x.ndim else x, lambda: x.bool(),
        lambda: torch.empty(x.shape, device='meta'), lambda: x.to(torch.complex64), lambda: None, lambda: 'x',
        lambda: x.tolist(), lambda: torch.tensor(3.), lambda: x.to(torch.bfloat16)])()

def changed_tensors(r, d):
    "A checkpoint with a value of another kind, or a tensor of another"
    if r.random()<.4: return changed(r, d, odd_values()[:22]+[torch.zeros(2), torch.tensor(float('nan'))])
    inner = d = copied(d)
    at = r.choice(list(places(d)))
    for k in at[:-1]: inner = inner[k]
    inner[at[-1]] = tensors_from(r, inner[at[-1]])
    return d, f'tensor {at}'

def saved(d, **kw):
    f = io.BytesIO()
    torch.save(d, f, **kw)
    return f.getvalue()

class Checkpoints(Kind):
    def make(self):
        torch.manual_seed(0)
        cfg, weights = SMALL, random_generator(SMALL).state_dict()
        save_checkpoint(new_state(cfg, 'cpu'), self.work/'last.pt')
        whole = (self.work/'last.pt').read_bytes()
        ours = torch.load(io.BytesIO(whole), weights_only=True)
        self.official = json.dumps(official_dict(cfg)).encode()
        short = {k: ours[k] for k in ('format', 'version', 'config', 'generator')}
        return {'last.pt': whole, 'short.pt': saved(short), 'g_00000004': saved({'generator': weights}),
                'bare.pt': saved(weights),
                'old.pth': saved({'generator': weights}, _use_new_zipfile_serialization=False)}

    def mutate(self, r, name, raw):
        if r.random()<.5: return mutate_bytes(r, name, raw)
        d, how = changed_tensors(r, torch.load(io.BytesIO(raw), weights_only=True))
        try: return saved(d, _use_new_zipfile_serialization=name!='old.pth'), how
        except (RuntimeError, NotImplementedError, RecursionError): return mutate_bytes(r, name, raw)

    def feed(self, name, raw, original, how):
        path = self.put(name, raw)
        if name not in ('last.pt', 'short.pt'): path.with_name('config.json').write_bytes(self.official)
        cfg, weights = open_checkpoint(path)
        second = refused_by(lambda: torch.load(path, map_location='cpu', weights_only=True))
        must(not second, f'accepted, torch says {second}')
        self.sound(cfg, weights)
        if name=='last.pt': load_checkpoint(path)

    def sound(self, cfg, weights):
        "What was accepted is a generator"
        must(all(torch.isfinite(v).all() for v in weights.values()), 'weights that are not finite')
        load_generator(cfg, weights)

class Safetensors(Checkpoints):
    def make(self):
        torch.manual_seed(0)
        saved_as = self.work/'start.pt'
        save_checkpoint(new_state(SMALL, 'cpu'), saved_as)
        with contextlib.redirect_stdout(io.StringIO()): export(saved_as, self.work/'out')
        self.official = json.dumps(official_dict(SMALL)).encode()
        from safetensors.torch import save
        ours = (self.work/'out'/'model.safetensors').read_bytes()
        return {'model.safetensors': ours, 'theirs.safetensors': save(dict(random_generator(SMALL).state_dict()))}

    def mutate(self, r, name, raw):
        if r.random()<.5: return mutate_bytes(r, name, raw)
        n = int.from_bytes(raw[:8], 'little')
        head, how = mutate_json(r, raw[8:8+n])
        return len(head).to_bytes(8, 'little')+head+raw[8+n:], f'head {how}'

    def feed(self, name, raw, original, how):
        path = self.put(name, raw)
        if name!='model.safetensors': path.with_name('config.json').write_bytes(self.official)
        self.sound(*open_checkpoint(path))
        second = refused_by(lambda: load_tensors(raw))
        must(not second, f'accepted, safetensors says {second}')

class Onnx(Checkpoints):
    def make(self):
        torch.manual_seed(0)
        weights, out = random_generator(SMALL).state_dict(), {}
        for k,half in (('fp32.onnx', False), ('fp16.onnx', True)):
            out[k] = export_onnx(SMALL, weights, self.work/k, half).read_bytes()
        self.onnx = optional_package('onnx')
        return out

    def mutate(self, r, name, raw):
        if r.random()<.5: return mutate_bytes(r, name, raw)
        m = self.onnx.load_from_string(raw)
        part = r.choice((m.metadata_props, m.graph.node, m.graph.initializer, m.graph.input, m.graph.output))
        i, way = r.randrange(len(part)), r.choice(('drop', 'twice', 'value', 'name'))
        if way=='drop': del part[i]
        elif way=='twice': part.append(part[i])
        elif way=='value' and part is m.metadata_props: part[i].value = mutate_json(r, b'{"a": 1}')[0].decode()
        elif part is m.metadata_props: part[i].key = misspelt(r, part[i].key)
        else: part[i].name = misspelt(r, part[i].name)
        return m.SerializeToString(deterministic=True), f'model {way}'

    def feed(self, name, raw, original, how):
        self.sound(*open_checkpoint(self.put(name, raw)))
        second = refused_by(lambda: self.onnx.checker.check_model(raw))
        must(not second, f'accepted, onnx says {second}')

class Mels(Kind):
    def make(self):
        mel = LogMel(SMALL)(torch.from_numpy(synth_wav(.5, SMALL.sample_rate, 1))[None,None])[0]
        out = {'mel.npy': io.BytesIO(), 'half.npy': io.BytesIO(), 'mel.npz': io.BytesIO(), 'packed.npz': io.BytesIO()}
        np.save(out['mel.npy'], mel.numpy())
        np.save(out['half.npy'], mel.numpy().astype('f2'))
        np.savez(out['mel.npz'], mel=mel.numpy(), sample_rate=22050, hop_length=256)
        np.savez_compressed(out['packed.npz'], mel=mel.numpy())
        self.mel = mel
        return {k: v.getvalue() for k,v in out.items()} | {'mel.pt': saved(mel)}

    def mutate(self, r, name, raw):
        if name!='mel.pt' or r.random()<.6: return mutate_bytes(r, name, raw)
        try: return saved(tensors_from(r, self.mel)), 'tensor'
        except (RuntimeError, NotImplementedError): return mutate_bytes(r, name, raw)

    def feed(self, name, raw, original, how):
        path = self.put(name, raw)
        mel = read_mel(path, SMALL)
        second = refused_by(lambda: self.second(path))
        must(not second, f'accepted, the second reader says {second}')
        check_mel(mel, SMALL)

    def second(self, path):
        if path.suffix=='.pt': return torch.load(path, weights_only=True)
        d = np.load(path, allow_pickle=False)
        return [d[k] for k in d] if path.suffix=='.npz' else d

class Names(Kind):
    def make(self):
        f = io.BytesIO()
        sf.write(f, synth_wav(.5, 16000, 3), 16000, format='WAV')
        self.wav = f.getvalue()
        return {k: k.encode() for k in ('clip_001.wav', 'голос ёлки.wav', 'a b/c.d.wav', 'й, "x"|y.WAV')}

    def mutate(self, r, name, raw):
        raw, how = mutate_bytes(r, name, raw)
        parts = [p[:120] for p in raw.replace(b'\0', b'').split(b'/') if p not in (b'', b'.', b'..')][:6]
        if parts and r.random()<.8 and not parts[-1].lower().endswith(b'.wav'): parts[-1] += b'.wav'
        return b'/'.join(parts) or b'x.wav', how

    def feed(self, name, raw, original, how):
        folder = self.put('plain_1.wav', self.wav).parent
        path = Path(os.fsdecode(os.fsencode(folder)+b'/'+raw))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(self.wav)
        name = path.relative_to(folder).as_posix()
        text = re.sub('[\ud800-\udfff]', '?', f'{Path(name).stem}|текст\n')
        (folder/'metadata.csv').write_text(text, encoding='utf-8')
        printable(path).encode()
        safe = file_name(name)
        must(not re.search('[/\\\\\0]', safe) and len(os.fsencode(safe))<256, 'no name for a file')
        self.prepared(folder, name)

    def prepared(self, folder, name):
        "What prepare writes of such a name it reads back"
        c, out = find_corpus(folder), self.work/'in data'
        must(all(p.is_file() for p in c.files.values()), 'a file that is not there')
        seen = not any(p.startswith('.') or p=='__MACOSX' for p in name.split('/'))
        sound = Path(name).suffix.lower() in ('.wav',)
        if seen and sound: must(len(c.files)==2 or 'copies' in c.layout or name=='plain_1.wav', f'lost: {c.layout}')
        shutil.rmtree(out, ignore_errors=True)
        d = prepare(c, out, workers=1, progress=False, valid=0, test=0, max_bad=1)
        must([u.path for u in SpeechData.open(out).utterances]==[u.path for u in d.utterances], 'read back otherwise')
        must(len(d.utterances)==len(c.files), 'a sound is lost')
        d.verify()

class SideFiles(Kind):
    def make(self):
        work = self.work
        synth_corpus(work/'corpus', n=3, seconds=.6, sample_rate=16000)
        self.prepare(work/'data')
        self.table = (work/'data'/'utterances.csv').read_bytes()
        self.unfinished(work/'half')
        out = {k: (work/'data'/k).read_bytes() for k in ('dataset.json', 'utterances.csv', MARKER)}
        out['journal.jsonl'] = (work/'half'/'journal.jsonl').read_bytes()
        return out | {'log.csv': self.log(), 'clips.csv': self.clips(), '.state.json':
            b'{"state": "done", "pid": 1, "host": "x", "step": 9}', 'ratings.csv': self.ratings(),
            'scores.json': self.scores(), 'test.json': self.test(),
            'session.json': b'{"step": 9, "outcome": "trained", "settings": {"HOURS": 9}}',
            'sessions.json': json.dumps(dict(hifigan_weekly=1, kernel='a/b', sessions=[dict(state='ended', began=1.5,
                step=9, reason='')])).encode(),
            'hifigan-weights.json': json.dumps(dict(hifigan_weights=1, name='a', origin='b', files={
                k: 'ab'*32 for k in ('model.safetensors', 'config.json')})).encode()}

    def prepare(self, out):
        with contextlib.redirect_stdout(io.StringIO()):
            return prepare(self.work/'corpus', out, workers=1, progress=False, valid=0, test=0, min_rate=8000)

    def unfinished(self, out):
        "A preparation that ended just before it was published"
        import hifigan_ruslan.dataset.prepare as module
        def stop(*_): raise KeyboardInterrupt
        publish, module._publish = module._publish, stop
        try: self.prepare(out)
        except KeyboardInterrupt: pass
        finally: module._publish = publish

    def log(self):
        (self.work/'run').mkdir()
        log = RunLog(self.work/'run', log_columns(SMALL))
        for i in range(1, 6): log.add(dict.fromkeys(log_columns(SMALL), .5*i) | dict(step=i, epoch=0, health='ok'))
        return (self.work/'run'/'log.csv').read_bytes()

    def clips(self):
        rows = [dict(dict.fromkeys(COLUMNS, 1.5), system=s, clip=c, error='', note='', stamp='ab', rate=1, lag=0,
                     length_diff=0) for s in ('a', 'голос, "b"') for c in ('x', 'y\nz')]
        save_csv(self.work/'clips.csv', COLUMNS, map(_sealed, rows))
        return (self.work/'clips.csv').read_bytes()

    def ratings(self):
        row = dict.fromkeys(RATING_COLUMNS, '') | dict(test='t', listener='Анна', kind='mos', trial='1', position='1',
            clip='c', order='["a"]', x='', answer='3', plays='{"a": 1}', seconds='1.5', time='2026-01-01')
        return csv_text([RATING_COLUMNS, [row[k] for k in RATING_COLUMNS]]).encode()

    def mutate(self, r, name, raw):
        if r.random()<.4 or name=='journal.jsonl': return mutate_bytes(r, name, raw)
        return mutate_json(r, raw) if name.endswith('.json') else mutate_table(r, raw)

    def feed(self, name, raw, original, how):
        path = self.put(name, raw)
        getattr(self, 'read_'+re.sub(r'\W', '_', path.stem.strip('.')), self.read_marker)(path, raw, original)

    def test(self):
        waves = {k: synth_wav(1., 16000, i) for i,k in enumerate(('a', 'ё'))}
        make_test(self.work/'test', 'mos', dict(one=waves), [*waves], 16000, reference=waves)
        return (self.work/'test'/'test.json').read_bytes()

    def read_test(self, path, raw, original):
        "A test of the same sounds, which a listener can begin"
        shutil.copytree(self.work/'test', path.parent, dirs_exist_ok=True, copy_function=os.link,
                        ignore=lambda folder, names: ['test.json'])
        must(BlindTest.open(path.parent).trials('Анна'), 'nothing to hear')

    def scores(self):
        row = dict(id='a', folder='a', start=dict(mel_l1=.3, pesq=2.), now=dict(mel_l1=.2, pesq=2.5))
        return json.dumps(dict(part='test', step=9, rows=[row, row], start=row['start'], now=row['now'])).encode()

    def read_scores(self, path, raw, original):
        "The page of a session, where it can be believed; a folder beside it in any case"
        (run := path.parent/'run'/'compare').mkdir(parents=True)
        path.rename(run/path.name)
        found = comparison_of(run.parent)
        must(isinstance(_table(found, 'ru'), str), 'no table')
        for _,sounds in pairs_of(run.parent):
            for _,p in sounds: must(run in p.resolve().parents, f'{p} lies elsewhere')

    def read_session(self, path, raw, original): must(isinstance(_record(path), dict), 'no dict')

    def read_sessions(self, path, raw, original):
        must(all(s['state'] and s['began'] is not None for s in read_sessions(path, 'a/b')), 'no session')

    def read_log(self, path, raw, original):
        "Also to go on with, and to draw"
        if not raw.decode('utf-8', 'replace').strip(): return
        log = read_log(path)
        must(len({len(v) for v in log.values()})==1, 'columns of different lengths')
        last_health(path)
        plot_curves(path)
        RunLog(path.parent, log_columns(SMALL), 3)

    def read_clips(self, path, raw, original):
        rows = read_rows(path)
        plain = list(csv.reader(io.StringIO(original.decode(), newline='')))
        texts = {tuple(map(str, r)) for r in plain[1:]}
        must(len(rows)<=len(texts), 'rows from nowhere')

    def read_ratings(self, path, raw, original): read_ratings(path)
    def read_state(self, path, raw, original): must(isinstance(read_state(path.parent), dict), 'no dict')
    def read_hifigan_weights(self, path, raw, original): read_set_marker(path)

    def read_marker(self, path, raw, original):
        path.rename(path.with_name(MARKER))
        marker, ours = read_marker(path.parent), json.loads(original) # `about` is for people
        must(not marker or (marker.kind, marker.files)==(ours['kind'], ours['files']), 'a changed marker is believed')

    def read_dataset(self, path, raw, original): self.data(path, raw, 'dataset.json')
    def read_utterances(self, path, raw, original):
        self.data(path, raw, 'utterances.csv')
        must(raw==original, 'another table is believed')

    def data(self, path, raw, name):
        for p in (self.work/'data').iterdir():
            if p.name!=name and p.is_file(): (path.parent/p.name).hardlink_to(p)
        d = SpeechData.open(path.parent)
        repr(d)
        d.verify()

    def read_journal(self, path, raw, original):
        "It ends in the same corpus, or is refused"
        for p in (self.work/'half').iterdir():
            if p.name!='journal.jsonl' and p.is_file(): shutil.copyfile(p, path.with_name(p.name))
        self.prepare(path.parent)
        must(path.with_name('utterances.csv').read_bytes()==self.table, 'another corpus')

KINDS = dict(sound=SoundFiles, metadata=Metadata, config=Configs, checkpoint=Checkpoints, safetensors=Safetensors,
             onnx=Onnx, mel=Mels, name=Names, side=SideFiles)
SHARES = dict(sound=6, metadata=4, config=3, checkpoint=2, safetensors=2, onnx=1, mel=3, name=1, side=2)

# one mutation, watched

def late(*_): raise Late()

def is_ours(e):
    "Is it an error that we raise, in words, where we raise it?"
    named = type(e) in (ValueError, FileNotFoundError) or type(e).__module__.startswith('hifigan_ruslan')
    frame = traceback.extract_tb(e.__traceback__)[-1]
    return named and 'hifigan_ruslan' in Path(frame.filename).parts and len(str(e))>15 and 'raise' in frame.line

def memory(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss*1024

def judged(kind, name, raw, original, how):
    "('accepted' | 'refused' | 'fault', words)"
    said, before = io.StringIO(), memory()
    signal.alarm(SECONDS)
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said), warnings.catch_warnings(record=True):
            kind.feed(name, raw, original, how)
        result = 'accepted', ''
    except Late: result = 'fault', f'more than {SECONDS} s'
    except Fault as e: result = 'fault', str(e)
    except Exception as e: result = ('refused' if is_ours(e) else 'fault'), words(e)
    finally: signal.alarm(0)
    if memory()-before>BYTES: return 'fault', f'{(memory()-before)/2**30:.1f} GB of memory'
    if re.search(r"can't allocate|Unable to allocate|MemoryError", result[1]): return 'fault', result[1]
    return result

def words(e):
    frame = traceback.extract_tb(e.__traceback__)[-1]
    return f'{type(e).__name__}: {str(e)[:300]} ({Path(frame.filename).name}:{frame.lineno})'

def mutation(kind, seed, i):
    "Name and bytes of a mutation, its original, and how it was made"
    r = random.Random(f'{seed}/{type(kind).__name__}/{i}')
    name = r.choice(sorted(kind.originals))
    raw = kind.originals[name]
    return name, *kind.mutate(r, name, raw), raw

def work(kind, seed, numbers, pipe):
    "In a process of its own: try these, tell of each before and after"
    signal.signal(signal.SIGALRM, late)
    mapped = int(Path('/proc/self/statm').read_text().split()[0])*os.sysconf('SC_PAGE_SIZE') \
        if Path('/proc/self/statm').exists() else 2**34
    resource.setrlimit(resource.RLIMIT_AS, (mapped+ADDRESSES,)*2)
    for i in numbers:
        pipe.send((i, 'begun', ''))
        name, raw, how, original = mutation(kind, seed, i)
        pipe.send((i, *judged(kind, name, raw, original, how)))
        if memory()>BYTES: break # the high-water mark: a fresh process sees the next

def outcomes(kind, seed, n):
    "(number, outcome, words) of n mutations, in a process that is begun again when it ends"
    fork, i = multiprocessing.get_context('fork'), 0
    while i<n:
        here, there = fork.Pipe()
        p = fork.Process(target=work, args=(kind, seed, range(i, n), there), daemon=True)
        p.start()
        there.close()
        begun = None
        try:
            while here.poll(3*SECONDS):
                at, outcome, said = here.recv()
                begun = at if outcome=='begun' else None
                if outcome=='begun': continue
                yield at, outcome, said
                i = at+1
            p.kill()
        except EOFError: pass
        p.join()
        if begun is not None:
            yield begun, 'fault', f'the process ended ({p.exitcode})'
            i = begun+1

def campaign(n=10_000, seed=0, only='', out='mutations', show=print):
    "Outcomes by kind: dict(accepted, refused, faults)"
    kinds = only.split(',') if only else list(KINDS)
    if wrong := set(kinds)-set(KINDS): raise SystemExit(f'no kind {", ".join(wrong)}; there are {", ".join(KINDS)}')
    torch.set_num_threads(1)
    found, total = {}, sum(SHARES[k] for k in kinds)
    for k in kinds:
        with tempfile.TemporaryDirectory() as d:
            found[k] = one_kind(k, Path(d), -(-n*SHARES[k]//total), seed, out, show)
    return found

def one_kind(name, folder, n, seed, out, show):
    "Try n mutations of a kind; faulty files are kept"
    count = dict(accepted=0, refused=0, faults=0)
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        kind = KINDS[name](folder)
        for k,raw in kind.originals.items(): kind.whole(k, raw)
    for i,outcome,said in outcomes(kind, seed, n):
        count['faults' if outcome=='fault' else outcome] += 1
        if outcome=='fault': keep(kind, name, seed, i, Path(out), said, show)
    show(f'{name:12} {n:6} mutations {count["accepted"]:6} accepted {count["refused"]:6} refused '
         f'{count["faults"]:6} faults')
    return count

def keep(kind, name, seed, i, out, said, show):
    "The faulty file, its original, and a line"
    file, raw, how, original = mutation(kind, seed, i)
    folder = out/f'{name}-{seed}-{i}'
    folder.mkdir(parents=True, exist_ok=True)
    (folder/Path(file).name).write_bytes(raw)
    (folder/'fault.txt').write_text(f'{file}, {how}\n{said}\n', encoding='utf-8', errors='backslashreplace')
    show(f'  {folder}: {file}, {how[:80]}: {said}'.encode('utf-8', 'backslashreplace').decode())

@call_parse
def main(
    n:int=10_000, # Mutations, of all kinds together
    seed:int=0, # The same seed, the same mutations
    only:str='', # Kinds, with commas between them; '' = all
    out:str='mutations', # Where faulty files are kept
):
    "Mutate files and feed them to our readers; exit code 1 with faults"
    found = campaign(n, seed, only, out)
    all_of = {k: sum(c[k] for c in found.values()) for k in ('accepted', 'refused', 'faults')}
    print(f'{sum(all_of.values())} mutations: {all_of}')
    sys.exit(bool(all_of['faults']))

"""A fair race: two or more configurations train on the same data with the same seed, for the same time of their own.

    python benchmarks/equal_time.py DATA OUT --minutes 60 --clips HELD_OUT \\
        official=V2 cheap=V2,discriminators=mpd+mrd,lr_d=1e-4 mine=my_config.json

A side is NAME=PRESET or NAME=CONFIG.JSON, followed by key=value pairs of the configuration: lists are written with +,
or as JSON ([[1,3,5],[1,3,5]]). The first side is the one that the others are compared with.

The sides take turns of a minute (`--turn_minutes`), forwards and then backwards through the list, so that whatever
else the machine does hits all of them. Each is a process of its own that sleeps while it is not its turn. Its clock
runs in its steps alone: loading, the first step, validation, saving and evaluation are not counted. Processor time is
counted beside it. After each turn the mel L1 of the held-out clips is measured; every `--mark_minutes` of own time
and at the end the generator is kept, and after the race all that are kept are measured as `hifigan-eval` does it.

Killed at any moment, the same command goes on from the last whole turn of each side; with more `--minutes` a finished
race is made longer. OUT receives race.md (the page), race.png, results.csv, curves.csv, and a folder for each side.
`--report_only` makes these anew from the files. What is raced on a GPU is raced in the same way there."""
import argparse, hashlib, json, math, os, re, shutil, sys
from dataclasses import fields, replace
from pathlib import Path
from typing import Annotated, NamedTuple
from fastcore.script import store_true
sys.path.insert(0, str(Path(__file__).parent))
from hifigan_ruslan.base.commands import answered, check_there, parser, spelled
from hifigan_ruslan.base.files import json_dict, only_one, printable, write_text
from hifigan_ruslan.config import Config, config_dict, config_from_dict, load_config, preset

RACE = 'race.json' # What is raced, in OUT
COMMON = dict(seed='--seed', threads='--threads', precision='--precision', device='--device')

# The sides: from words to configurations

def side(words):
    "Name and configuration of NAME=PRESET[,key=value...]"
    name, equals, rest = words.partition('=')
    if not equals or not rest or not re.fullmatch(r'[A-Za-z0-9][\w.+-]{0,39}', name, re.A):
        raise ValueError(f'a side is written NAME=PRESET or NAME=CONFIG.JSON, with ,key=value behind it; '
                         f'found {words!r}' + _name_rule(name, rest))
    try: return name, _numbers(*_split(rest))
    except (ValueError, OSError) as e: raise ValueError(f'side {name}: {e}') from e

def _name_rule(name, rest):
    return '. A name has up to 40 letters, digits and .+-_' if name and rest else ''

def _split(text):
    "What stands between the commas; those inside brackets do not count"
    parts, depth = [''], 0
    for c in text:
        depth += (c=='[')-(c==']')
        if c==',' and not depth: parts.append('')
        else: parts[-1] += c
    return parts

def _numbers(base, *pairs):
    "A preset or a file with some of its numbers replaced"
    cfg = load_config(base) if '/' in base or base.lower().endswith('.json') else preset(base)
    given = {}
    for pair in pairs:
        key, equals, text = pair.partition('=')
        if not equals: raise ValueError(f'{pair!r} has no value: write key=value')
        if key in COMMON: raise ValueError(f'{key} is the same for all sides: give {COMMON[key]} {text}')
        if key in given: raise ValueError(f'{key} is there twice')
        given[key] = _value(key, text)
    return config_from_dict(config_dict(cfg) | given)

_KINDS = {f.name: f.type.__name__ if isinstance(f.type, type) else str(f.type) for f in fields(Config)}

def _value(key, text):
    "As the field has it; what cannot be one stays a text, which is then refused by its field"
    kind = _KINDS.get(key, '')
    if text in ('None', 'none') and 'None' in kind: return None
    if text.startswith('['): return _json(key, text)
    if kind=='tuple': return [_plain(o) for o in text.split('+')]
    return text if 'str' in kind else _plain(text)

def _json(key, text):
    try: return json.loads(text)
    except ValueError as e: raise ValueError(f'{key}: {text!r} is no list in JSON ({e})') from e

def _plain(text):
    "A number where it is one; True and False"
    if text in ('True', 'False'): return text=='True'
    for kind in (int, float):
        try: return kind(text)
        except ValueError: pass
    return text

def read_sides(words, seed, batch_size):
    "Name -> configuration, checked against each other"
    found = {}
    for name,cfg in map(side, words):
        twin = next((n for n in found if n.lower()==name.lower()), None)
        if twin: raise ValueError(f'Two sides are called {name!r}: a name is a folder, give them different ones')
        found[name] = replace(cfg, seed=seed)
    if len(found)<2: raise ValueError(f'A race needs two sides or more, found {len(found)}{_only(found)}')
    return {n: _batch(n, c, batch_size, words) for n,c in found.items()}

def _only(found): return f' ({next(iter(found))}): add one to compare with, such as official=V2' if found else ''

def _batch(name, cfg, batch_size, words):
    "The configuration with the batch of all sides, unless the side asks for another one by itself"
    if batch_size is None: return cfg
    own = any(w.startswith(f'{name}=') and re.search(r',batch_size=', w) for w in words)
    if own and cfg.batch_size!=batch_size:
        raise ValueError(f'side {name} asks for batch_size={cfg.batch_size}, and --batch_size {batch_size} is the same '
                         'for all sides: leave out one of the two')
    return replace(cfg, batch_size=batch_size)

def uneven(found):
    "What the sides do not share although a fair race would: one line each, '' not among them"
    keys = dict(batch_size='a step is not the same work', grad_accum='a step is not the same work',
                segment_size='they hear other segments', random_gain_db='they hear other levels')
    lines = []
    for k,what in keys.items():
        own = {n: getattr(c, k) for n,c in found.items()}
        if len({*own.values()})>1:
            lines.append(f'the sides differ in {k} ({", ".join(f"{n} {v}" for n,v in own.items())}): {what}, '
                         'so compare them over time, not over steps')
    mels = ('n_fft', 'win_length', 'hop_length', 'n_mels', 'fmin', 'fmax')
    first = next(iter(found))
    for n,c in found.items():
        differ = [k for k in mels if getattr(c, k)!=getattr(found[first], k)]
        if differ: lines.append(f'{n} reads another mel than {first} ({", ".join(differ)}): '
                                f'all are measured by that of {first}')
    return lines

# What is raced

class Asked(NamedTuple):
    "The race that the command line asks for, checked"
    out:Path
    sides:dict # Name -> Config
    data:str
    clips:list # Of Clip: the held-out recordings
    waves:list # Some of them, of whole hops, for the mel L1 of each turn
    facts:dict # What race.json says

def checked(found, data, clips, valid_clips, say):
    "Corpus, held-out clips and waves; ValueError for what does not fit"
    from hifigan_ruslan.data import PairedMels, SpeechData
    from hifigan_ruslan.evaluation.systems import eval_clips
    corpus = SpeechData.open(data)
    if PairedMels.open(corpus):
        raise ValueError(f'{data} holds the mels of a TTS, and this race is run on recordings alone: '
                         'give a prepared folder without them')
    for n,c in found.items(): _check_side(n, c, corpus)
    heard = eval_clips(clips or data)
    if not heard: raise ValueError(f'{clips or data} has no recordings to measure on')
    _check_rates(heard, corpus, say)
    return corpus, heard, _waves(heard, found, valid_clips)

def _check_side(name, cfg, corpus):
    "ValueError for a side that this data cannot train"
    from hifigan_ruslan.train import shortest_clip
    from hifigan_ruslan.training.logging import log_columns
    if corpus.sample_rate!=cfg.sample_rate:
        raise ValueError(f'side {name} is for {cfg.sample_rate} Hz, and {corpus.path} has {corpus.sample_rate} Hz: '
                         f'prepare it again with --sample_rate {cfg.sample_rate}, or race another preset')
    if not corpus.split('train'): raise ValueError(f'{corpus.path} has no training utterances')
    if cfg.true_mels: raise ValueError(f'side {name}: true_mels needs the mels of a TTS, with which nothing is raced')
    if cfg.segment_size<shortest_clip(cfg):
        raise ValueError(f'side {name}: segment_size {cfg.segment_size} is too short for a mel of n_fft {cfg.n_fft}')
    try: log_columns(cfg)
    except ValueError as e: raise ValueError(f'side {name}: {e}') from e

def _check_rates(clips, corpus, say):
    "ValueError for recordings of a rate that the corpus does not know; a warning for those that are trained on"
    known = {corpus.sample_rate, *map(int, corpus.meta.get('source_rates', ()))}
    for c in clips:
        if (rate := c.sample_rate) not in known:
            raise ValueError(f'{printable(c.name)} has {rate:,} Hz, and {corpus.path} was made of recordings of '
                             f'{_listed(known)} Hz: numbers of other bands say nothing of this race. Give clips of '
                             'such a rate, recorded like the corpus')
    trained = {u.id for u in corpus.split('train')} & {c.name for c in clips}
    if trained: say(f'warning: {len(trained)} of {len(clips)} held-out clips are called as training utterances are '
                    f'({", ".join(sorted(trained)[:3])} ...): if they are the same, nothing is held out')

def _listed(numbers): return ' or '.join(f'{n:,}' for n in sorted(numbers))

def _waves(clips, found, n):
    "Some of the clips, spread evenly, cut to hops that are whole for all sides"
    from hifigan_ruslan.train import shortest_clip
    first = next(iter(found.values()))
    hop, least = math.lcm(*(c.hop_length for c in found.values())), max(map(shortest_clip, found.values()))
    waves = [w[:len(w)//hop*hop] for w in (c.wav(first.sample_rate) for c in clips)]
    long = [w for w in waves if len(w)>=max(least, hop)]
    if not long: raise ValueError(f'none of the {len(clips)} held-out clips has the {least} samples of a mel')
    places = {round(i*(len(long)-1)/max(1, min(n, len(long))-1)) for i in range(min(n, len(long)))}
    return [long[i] for i in sorted(places)]

def _print_of(waves):
    "By this the waves are known again"
    digest = hashlib.sha256()
    for w in waves: digest.update(w.tobytes())
    return digest.hexdigest()[:16]

_SAME = dict( # Of race.json: what makes it this race, as it is called in a message
    seed='seed', data='training data', clips='held-out clips', threads='number of threads', precision='precision',
    device='device', turn_minutes='--turn_minutes', mark_minutes='--mark_minutes', steps_per_turn='--steps_per_turn',
    log_every='--log_every')

def claim_race(out, facts):
    "Write race.json; ValueError where OUT holds another race, or something else"
    path = out/RACE
    was = json_dict(path)
    there = [p.name for p in out.iterdir() if not p.name.startswith('.')] if out.is_dir() else []
    if not was and there:
        raise ValueError(f'{out} holds {len(there)} files or folders that are of no race ({", ".join(there[:3])}): '
                         'give the race a folder of its own')
    if was and not isinstance(was.get('sides'), dict):
        raise ValueError(f'{path} says nothing of the sides of a race: it was changed. Give another folder')
    if was: _check_same(out, was, facts)
    write_text(path, json.dumps(facts, indent=1, ensure_ascii=False)+'\n')

def _check_same(out, was, now):
    other = f'{out} holds another race'
    had, has = ({n: config_from_dict(c) for n,c in o['sides'].items()} for o in (was, now))
    if [*had]!=[*has]:
        raise ValueError(f'{other}: its sides are {", ".join(had)}, and {", ".join(has)} were asked for. '
                         'Give another folder')
    for n in has:
        differ = [f'{f.name} {getattr(had[n], f.name)} there, {getattr(has[n], f.name)} here' for f in fields(Config)
                  if getattr(had[n], f.name)!=getattr(has[n], f.name)]
        if differ and not all(d.startswith('seed ') for d in differ):
            raise ValueError(f'{other}: its side {n} has other numbers ({"; ".join(differ[:3])}). Give another folder')
    for k,what in _SAME.items():
        if was.get(k)!=now[k]: raise ValueError(f'{other}: {what}: {was.get(k)} there, {now[k]} here. Give another '
                                                'folder, or what it had')
    most = max((_turns_done(out/'sides'/n) for n in has), default=0)
    if most>turns_of(now['minutes'], now['turn_minutes'], now['mark_minutes'])[0]:
        raise ValueError(f'{out} has run for {most*now["turn_minutes"]:g} minutes already, and a race is not made '
                         f'shorter: give --minutes {most*now["turn_minutes"]:g} or more')

# The race

def turns_of(minutes, turn_minutes, mark_minutes):
    "How many turns a side has, and after how many of them each mark comes"
    for k,v in dict(minutes=minutes, turn_minutes=turn_minutes, mark_minutes=mark_minutes).items():
        if not 0<v<math.inf: raise ValueError(f'--{k} must be above 0, found {v:g}')
    turns, every = round(minutes/turn_minutes), round(min(mark_minutes, minutes)/turn_minutes)
    for k,v,n in (('minutes', minutes, turns), ('mark_minutes', min(mark_minutes, minutes), every)):
        if n<1 or abs(n*turn_minutes-v)>1e-6*v:
            raise ValueError(f'--{k} {v:g} is no multiple of --turn_minutes {turn_minutes:g}: marks and the end come '
                             'after whole turns')
    return turns, every

def next_side(done, total):
    "Whose turn it is: of those with the fewest turns the next, forwards and backwards by turns; None = nobody's"
    order = list(done)
    def place(n): return done[n], order.index(n)*(-1 if done[n]%2 else 1)
    return min((n for n in done if done[n]<total), key=place, default=None)

def mark_name(turn, turn_minutes): return f'mark_{turn:06d}_{turn*turn_minutes:g}min'

class Race:
    "The referee: starts the sides one after another, gives them their turns, and keeps to the order"
    def __init__(self, plans, facts, say, start):
        self.plans, self.facts, self.say, self.start = plans, facts, say, start
        self.total, self.every = turns_of(facts['minutes'], facts['turn_minutes'], facts['mark_minutes'])
        self.running, self.done = {}, {}

    def run(self):
        "All turns that are left; the sides that have died are told and left behind"
        self.done = {n: _turns_done(p.folder) for n,p in self.plans.items() if not self._is_dead(n)}
        try:
            for n in [n for n in self.done if self.done[n]<self.total]: self._begin(n)
            while (n := next_side(self.done, self.total)) is not None: self._turn(n)
        finally:
            for p in self.running.values(): p.end()

    def _begin(self, name):
        "Start the process of a side, and wait until it is warm: nobody has a turn meanwhile"
        plan = self.plans[name]
        plan.folder.mkdir(parents=True, exist_ok=True)
        started = self._alive(name, lambda: self.start(plan))
        if started is None: return
        self.running[name], facts = started, started.facts
        self.done[name] = facts['turn']
        write_text(plan.folder/'side.json', json.dumps(facts)+'\n')
        self.say(f'{name}: ready at step {facts["step"]}, after {facts["turn"]} of {self.total} turns; generator '
                 f'{facts["g_params"]:,} weights, discriminators {facts["d_params"]:,}')

    def _turn(self, name):
        order = self._order(self.done[name]+1)
        row = self._alive(name, lambda: self.running[name].turn(order))
        if row is None: return
        self.done[name] = order.number
        self.say(_told(name, row, self.total))

    def _order(self, number):
        from race_side import Order
        minutes, steps = self.facts['turn_minutes'], self.facts['steps_per_turn']
        due = number%self.every==0 or number==self.total
        return Order(number, 60*minutes*number, steps, mark_name(number, minutes) if due else '')

    def _alive(self, name, work):
        "What a side does; None where it has died of it, which is said and written down"
        from race_side import Dead
        try: return work()
        except Dead as e: dead = e
        self.done.pop(name)
        process = self.running.pop(name, None)
        if process: process.end()
        again = ' It is tried again when the same command is given again.' if dead.again else ''
        self.say(f'{name} IS OUT: {dead.why}.{again} The race goes on without it')
        write_text(self.plans[name].folder/'dead.json', json.dumps(dict(why=dead.why, again=dead.again))+'\n')

    def _is_dead(self, name):
        "Did it die in an earlier call, for good?"
        path = self.plans[name].folder/'dead.json'
        was = json_dict(path)
        if was and was.get('again'): path.unlink()
        if was and not was.get('again'): self.say(f'{name} is out since an earlier call: {was["why"]}')
        return bool(was) and not was.get('again')

def _turns_done(folder):
    from race_side import read_table
    rows = read_table(folder/'turns.csv')
    return rows[-1]['turn'] if rows else 0

def _told(name, row, total):
    "A line about a turn"
    health = row['health'] or 'too early to judge'
    alarm = '' if health in ('ok', 'too early to judge') else '  <- ALARM, see disc_health in nbs/30_step.ipynb'
    return (f'turn {row["turn"]} of {total}  {name}: step {row["step"]}, {row["own_seconds"]/60:.2f} min of its own, '
            f'{row["cpu_seconds"]/60:.2f} of processors; held-out mel L1 {row["valid_mel"]:.4f}; D {health}{alarm}')

# The command

def equal_time(
    data:str, # Folder made by hifigan-prepare
    out:str, # Folder of the race
    sides:Annotated[str, dict(nargs='*')], # NAME=PRESET or NAME=CONFIG.JSON, with ,key=value pairs; two or more
    clips:str=None, # Folder with held-out recordings; default: the test part of DATA
    minutes:float=60., # Of its own time for each side
    turn_minutes:float=1., # Length of a turn
    mark_minutes:float=15., # Between two generators that are kept and measured with all metrics
    seed:int=1234, # Of weights, order and segments, the same for all sides
    batch_size:int=None, # The same for all sides; default: as their presets say, and differences are told
    threads:int=None, # Of each side in its turns; default: all that PyTorch takes here
    precision:str=None, # fp32, bf16 or fp16, the same for all sides; default: what suits the device
    device:str=None, # cpu or cuda; default: the GPU if there is one
    valid_clips:int=4, # Of the held-out clips, how many are measured after each turn
    log_every:int=10, # Steps between rows of a side's log.csv
    steps_per_turn:int=None, # Steps in place of minutes: what comes out is the same on every machine
    workers:int=None, # Processes of the evaluation after the race; default: one for each core
    no_eval:store_true=False, # Leave out the evaluation; the same command without it does it later
    report_only:store_true=False # Only the page, the picture and the tables, anew, from the files in OUT
):
    "Race configurations against each other in equal time"
    if report_only: return report(Path(out))
    check_there(data, 'folder')
    if clips: check_there(clips, 'folder or recording')
    counts = dict(threads=threads, batch_size=batch_size, valid_clips=valid_clips, log_every=log_every,
                  steps_per_turn=steps_per_turn, workers=workers)
    for k,v in counts.items():
        if v is not None and v<1: raise ValueError(f'--{k} must be above 0, found {v}')
    turns_of(minutes, turn_minutes, mark_minutes)
    asked = prepared(data, Path(out), read_sides(sides, seed, batch_size), clips, valid_clips, threads, device,
                     precision, dict(minutes=minutes, turn_minutes=turn_minutes, mark_minutes=mark_minutes, seed=seed,
                                     steps_per_turn=steps_per_turn, log_every=log_every, words=sides))
    with only_one(asked.out): hold(asked, workers or os.cpu_count() or 1, no_eval)

def prepared(data, out, found, clips, valid_clips, threads, device, precision, facts):
    "Everything about the race, checked and said"
    import torch
    from hifigan_ruslan.base.hardware import choose_device, choose_precision
    from race_page import machine
    if (out/'dataset.json').exists(): raise ValueError(f'{out} holds a prepared corpus: give the race another folder')
    if out.exists() and not out.is_dir(): raise ValueError(f'{out} is a file, and a race needs a folder')
    corpus, heard, waves = checked(found, data, clips, valid_clips, say)
    device, why = choose_device(device)
    precision, because = choose_precision(device, precision)
    threads = threads or torch.get_num_threads()
    say(f'device: {why}; {threads} threads; precision {precision}, {because}')
    notes = uneven(found)
    for line in notes: say(f'note: {line}')
    facts |= dict(sides={n: config_dict(c) for n,c in found.items()}, data=corpus.fingerprint,
                  clips=f'{len(heard)} of SHA-256 {_print_of(waves)} ...', notes=notes, machine=machine(device),
                  threads=threads, precision=precision, device=str(device), n_clips=len(heard), n_valid=len(waves),
                  corpus=f'{corpus.path.resolve().name}, {corpus.hours:.2f} h, '
                         f'{len(corpus.split("train"))} training utterances')
    return Asked(out, found, data, heard, waves, facts)

def say(line): print(line, flush=True)

def plans(asked):
    "Name -> what its process must know"
    from race_side import Plan
    facts, ruler = asked.facts, next(iter(asked.sides.values()))
    return {n: Plan(n, c, asked.data, asked.out/'sides'/n, asked.waves, ruler, facts['device'], facts['precision'],
                    facts['threads'], facts['log_every']) for n,c in asked.sides.items()}

def hold(asked, workers=1, no_eval=False, start=None):
    "Run the race, measure what was kept, and write the page"
    from race_side import Process
    claim_race(asked.out, asked.facts)
    _warn_if_full(asked)
    race = Race(plans(asked), asked.facts, say, start or Process)
    say(f'{len(asked.sides)} sides x {asked.facts["minutes"]:g} min of their own in {race.total} turns, that is '
        f'{len(asked.sides)*asked.facts["minutes"]/60:.2f} h and what is not counted; marks every {race.every} turns')
    race.run()
    if not no_eval: measure(asked, workers)
    report(asked.out)

def _warn_if_full(asked):
    "A checkpoint of each side, and the one that is being written"
    free = shutil.disk_usage(asked.out).free
    need = sum(12*2**20*72//c.disc_shrink**2 for c in asked.sides.values())*2
    if free<need: say(f'warning: the disk of {asked.out} has {free/2**20:,.0f} MiB free, and the checkpoints may take '
                      f'{need/2**20:,.0f} MiB')

def measure(asked, workers):
    "All generators that were kept, by all metrics of hifigan-eval"
    from dataclasses import replace
    from hifigan_ruslan.eval import evaluate
    from hifigan_ruslan.evaluation.systems import Original, TrainedGenerator
    from race_page import marks
    kept = marks(asked.out, asked.sides)
    if not kept: return say('no mark was reached: there is nothing to measure')
    systems = [TrainedGenerator(m.path, name=m.system, device=asked.facts['device']) for m in kept]
    say(f'measuring {len(systems)} generators on {len(asked.clips)} clips')
    evaluate([Original(), *systems], asked.clips, replace(next(iter(asked.sides.values())), fmax_loss=None),
             asked.out/'evaluation', workers, progress=sys.stderr.isatty())

def report(out):
    "The page, the picture and the tables of what lies in OUT"
    from race_page import write_page
    if not (out/RACE).is_file():
        raise FileNotFoundError(f'There is no race in {out}: {RACE} is missing')
    for path in write_page(out): say(str(path))

def main():
    words = spelled(sys.argv[1:], equal_time.__annotations__)
    p = parser(equal_time, 'equal_time.py')
    p.description, p.formatter_class = __doc__, argparse.RawDescriptionHelpFormatter
    answered(equal_time)(**vars(p.parse_intermixed_args(words)))

if __name__=='__main__': main()

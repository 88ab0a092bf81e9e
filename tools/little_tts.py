"""A small TTS of our own, to see what a vocoder makes of the mels of one: it learns to say the mels of a prepared
corpus from its phones, their durations, the pitch and the loudness, and writes its own mel of each recording.

    python tools/little_tts.py DATA OUT [--labels LAB] [--also HELD_OUT ...] [--minutes 10]
    hifigan-prepare CORPUS DATA --mels OUT/mels

This is how the acoustic models of real TTS are run "teacher-forced": the mel has the length and the tune of the
recording, and everything else is what the model believes. It errs in two ways. It learns the average of what it has
heard, so its mels are smoother than speech: the harmonics end early, the noise of an s is a flat plane. And it rolls
dice: dropout stays on when it speaks, as in the pre-net of Tacotron 2, so its frames flicker. --dropout 0 leaves only
the first. A vocoder that knew nothing but the mels of recordings has never met such ones.

DATA is made by hifigan-prepare. Only its training part is learnt from; a mel is written for every recording of it,
and of the other prepared folders that --also names (held-out ones: they are never learnt from). LAB holds one
ID.lab per recording, a line for each phone: the second at which it ends, a number, its name (festvox and its kin
write such). Without --labels the recordings are cut where the sound changes, and pieces that sound alike are one
"phone": that needs no text at all.

The same data and seed give the same mels after the same number of steps, but for rounding. The last lines say how
far the mels are from those of the recordings, and how much of their fine structure is left."""
import argparse, json, math, time, zlib
from dataclasses import dataclass
from pathlib import Path
import numpy as np, pyworld, torch, torch.nn.functional as F
from torch import nn
from hifigan_ruslan.base.files import new_file
from hifigan_ruslan.config import PRESETS
from hifigan_ruslan.data import SpeechData
from hifigan_ruslan.mel import LogMel

AROUND = 2 # Phones that are known on each side
FRAME_FEATURES = 6 # Of `frame_features`

# What is known of a recording

@dataclass
class Clip:
    "A recording as the model sees it"
    id:str # Of the utterance
    part:str # train, valid, ...; of another folder: also
    mel:np.ndarray # (n_mels, F) of the recording
    f0:np.ndarray # (F,) Hz, 0 where unvoiced
    ends:list # Frame at which each phone ends
    names:list # Of the phones

    @property
    def durations(self)->np.ndarray: # Frames of each phone
        return np.diff([0, *self.ends])

def pitch(wav, cfg):
    "F0 in the middle of each frame, Hz; 0 = unvoiced"
    x, n = wav[cfg.hop_length//2:].astype(np.float64), len(wav)//cfg.hop_length
    period = 1000*cfg.hop_length/cfg.sample_rate
    f0, t = pyworld.dio(x, cfg.sample_rate, f0_floor=60., f0_ceil=500., frame_period=period)
    f0 = pyworld.stonemask(x, f0, t, cfg.sample_rate)
    return np.pad(f0, (0, max(0, n-len(f0))))[:n].astype(np.float32)

def read_labels(path, frames, cfg):
    "Phones of a festvox label file: the frame at which each ends, and its name; none is shorter than a frame"
    rows = [line.split() for line in path.read_text(encoding='utf-8').splitlines()]
    rows = [(float(r[0]), r[-1]) for r in rows if len(r)>2]
    if not rows: raise ValueError(f'{path} names no phone; a line should be: SECONDS NUMBER NAME')
    ends, names = [], []
    for seconds,name in rows:
        end = min(frames, round(seconds*cfg.sample_rate/cfg.hop_length))
        if end>(ends[-1] if ends else 0): ends, names = [*ends, end], [*names, name]
    ends[-1] = frames # the silence after the last phone belongs to it
    return ends, names

def cut_by_ear(mel, least=3, most=20):
    "Frames at which the sound changes most, 3 to 20 apart: the ends of pieces about as long as phones"
    smooth = F.avg_pool1d(torch.from_numpy(mel)[None], 3, 1, 1, count_include_pad=False)[0].numpy()
    change = np.abs(smooth[:,least:]-smooth[:,:-least]).mean(0)
    ends, n = [0], mel.shape[1]
    while n-ends[-1]>most:
        lo = ends[-1]+least
        ends.append(lo+int(change[lo-least//2:lo-least//2+most-least].argmax()))
    return [*ends[1:], n]

def alike(clips, kinds=64, rounds=15, seed=1):
    "Name each piece of `clips` by the cluster (k-means) of its mean mel; the centres are learnt from the training part"
    means = [np.stack([m.mean(1) for m in np.split(c.mel, c.ends[:-1], 1)]) for c in clips]
    learn = np.concatenate([m for c,m in zip(clips, means) if c.part=='train'])
    centres = learn[np.random.default_rng(seed).choice(len(learn), min(kinds, len(learn)), replace=False)]
    for _ in range(rounds):
        near = nearest(learn, centres)
        centres = np.stack([learn[near==k].mean(0) if (near==k).any() else centres[k] for k in range(len(centres))])
    for c,m in zip(clips, means): c.names = [f'piece {k}' for k in nearest(m, centres)]

def nearest(x, centres):
    "Index of the closest centre of each row"
    return (-2*x@centres.T+(centres**2).sum(1)).argmin(1)

def read_clips(data, part, cfg, labels):
    "Every recording of a prepared folder; `part` names them all, None = its own parts"
    logmel, clips = LogMel(cfg), []
    for u in data.utterances:
        wav = data.wav(u)
        mel = logmel(torch.from_numpy(wav)[None])[0].numpy()
        ends, names = label(labels, u.id, mel, cfg)
        clips.append(Clip(u.id, part or u.split, mel, pitch(wav, cfg), ends, names))
    return clips

def label(labels, id, mel, cfg):
    "Phones of a recording, from its label file or by ear"
    if labels is None: return cut_by_ear(mel), []
    path = labels/f'{id}.lab'
    if not path.is_file():
        raise FileNotFoundError(f'{path} is not there: --labels needs one ID.lab for each recording, '
                                'or leave it out to have the recordings cut where the sound changes')
    return read_labels(path, mel.shape[1], cfg)

# What the model is given of it

class Known:
    "The names of the phones, and the mean and spread of pitch and loudness, all of the training part"
    def __init__(self, clips):
        learn = [c for c in clips if c.part=='train']
        self.names = sorted({n for c in learn for n in c.names})
        f0 = np.log(np.concatenate([c.f0[c.f0>0] for c in learn]))
        self.f0 = float(f0.mean()), float(f0.std())
        loud = np.concatenate([loudness(c.mel) for c in learn])
        self.loud = float(loud.mean()), float(loud.std())
        self.bands = np.concatenate([c.mel for c in learn], 1).mean(1)

    def phones(self, c):
        "(F, 2*AROUND+1) numbers of the phones around each frame; 0 = none, or one that training does not know"
        known = {n: i for i,n in enumerate(self.names, 1)}
        ids = np.pad([known.get(n, 0) for n in c.names], AROUND)
        rows = np.stack([ids[i:i+len(c.names)] for i in range(2*AROUND+1)], 1)
        return np.repeat(rows, c.durations, 0)

    def frame_features(self, c):
        "(F, FRAME_FEATURES): pitch, voice, loudness of the phone, place in it and its length"
        d, n = c.durations, np.arange(len(c.f0))
        begun = np.repeat(np.r_[0, c.ends[:-1]], d)
        length = np.repeat(d, d)
        loud = np.repeat([x.mean() for x in np.split(loudness(c.mel), c.ends[:-1])], d)
        columns = (self.tune(c.f0), c.f0>0, (loud-self.loud[0])/self.loud[1], (n-begun)/length,
                   np.minimum(n-begun, 10)/10, np.log(length)/3)
        return np.stack(columns, 1).astype(np.float32)

    def tune(self, f0):
        "Normalised log F0, drawn through where there is no voice"
        voiced, n = f0>0, np.arange(len(f0))
        if not voiced.any(): return np.zeros(len(f0))
        return (np.interp(n, n[voiced], np.log(f0[voiced]))-self.f0[0])/self.f0[1]

def loudness(mel):
    "Log of the energy of each frame"
    return np.log(np.square(np.exp(mel)).sum(0))

# The model

class LittleTTS(nn.Module):
    "Phones and a few curves to a mel: embeddings, then convolutions over the frames"
    def __init__(self, phones, bands, dropout, width=192, layers=5, kernel=5):
        super().__init__()
        self.dropout = dropout
        self.embed = nn.Embedding(phones+1, 48)
        self.enter = nn.Linear(48*(2*AROUND+1)+FRAME_FEATURES, width)
        self.convs = nn.ModuleList(nn.Conv1d(width, width, kernel, padding='same') for _ in range(layers))
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(layers))
        self.leave = nn.Linear(width, len(bands))
        self.leave.bias.data = torch.as_tensor(bands).float() # it begins at the average of each band

    def forward(self, phones, features): # (B, F, 2*AROUND+1) and (B, F, FRAME_FEATURES) -> (B, n_mels, F)
        x = self.enter(torch.cat((self.embed(phones).flatten(2), features), -1))
        for conv,norm in zip(self.convs, self.norms):
            x = x+F.relu(norm(conv(self.drop(x).transpose(1, 2)).transpose(1, 2)))
        return self.leave(self.drop(x)).transpose(1, 2)

    def drop(self, x): return F.dropout(x, self.dropout) # when it speaks too

def batches(items, batch_size, frames, seed):
    "Random pieces without end: phones, features and mels of `batch_size` recordings"
    random = np.random.default_rng(seed)
    while True:
        picked = [items[i] for i in random.integers(0, len(items), batch_size)]
        starts = [random.integers(0, max(1, len(f)-frames+1)) for _,f,_ in picked]
        cut = [[torch.as_tensor(x) for x in (p[s:s+frames], f[s:s+frames], m[:,s:s+frames].T)]
               for (p,f,m),s in zip(picked, starts)]
        p, f, m = (nn.utils.rnn.pad_sequence(list(x), batch_first=True) for x in zip(*cut))
        there = nn.utils.rnn.pad_sequence([torch.ones(len(c[0])) for c in cut], batch_first=True)
        yield p, f, m.transpose(1, 2), there[:,None]

def train(model, items, a):
    "Learn to say the mels of the training part: L1, a falling rate, until the steps or the minutes are over"
    opt = torch.optim.AdamW(model.parameters(), lr=2e-3, betas=(.9, .98))
    begun, losses = time.monotonic(), []
    for step,(p,f,m,there) in enumerate(batches(items, a.batch_size, 256, a.seed)):
        done = max(step/a.steps, (time.monotonic()-begun)/60/a.minutes)
        if done>=1: break
        opt.param_groups[0]['lr'] = 2e-3*min(1, (step+1)/100)*(1-done)
        loss = ((model(p, f)-m).abs()*there).sum()/(there.sum()*m.shape[1])
        opt.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.)
        opt.step()
        losses.append(loss.item())
        if step%100==99: print(f'step {step+1:,}: L1 {np.mean(losses[-100:]):.3f}, '
                               f'{(time.monotonic()-begun)/60:.1f} minutes', flush=True)
    return step

# What it says, and how far that is from the recording

@torch.no_grad()
def say(model, known, clip):
    "(n_mels, F) float32: the model's mel of a recording, whatever it said before"
    torch.manual_seed(zlib.crc32(clip.id.encode()))
    p, f = (torch.as_tensor(x)[None] for x in (known.phones(clip), known.frame_features(clip)))
    return model(p, f)[0].clamp(min=math.log(1e-5)).numpy()

def fine(mel, n=9):
    "What is left of a mel without its smooth shape, the average over 9 bands and 9 frames"
    x = torch.from_numpy(mel)[None,None]
    return (x-F.avg_pool2d(x, n, 1, n//2, count_include_pad=False))[0,0].numpy()

def distance(clips, mels):
    "How far mels are from those of the recordings: L1, and the spread of the fine structure, where there is speech"
    l1, there, left = [], [], []
    for c,m in zip(clips, mels):
        speech = loudness(c.mel)>loudness(c.mel).max()-12
        l1.append(np.abs(m-c.mel).mean())
        there.append(fine(c.mel)[:,speech].ravel())
        left.append(fine(m)[:,speech].ravel())
    return dict(clips=len(clips), mel_l1=round(float(np.mean(l1)), 4),
                fine_structure=round(float(np.concatenate(left).std()/np.concatenate(there).std()), 4))

def write(path, mel):
    "One .npy"
    with new_file(path) as temporary, open(temporary, 'wb') as f: np.save(f, mel)

def options():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('data', type=Path, help='prepared corpus; its training part is learnt from')
    p.add_argument('out', type=Path, help='folder for mels/ID.npy, the weights and distance.json')
    p.add_argument('--labels', type=Path, help='folder with ID.lab; without it pieces are found by ear')
    p.add_argument('--also', type=Path, nargs='*', default=[], help='prepared folders, never learnt from')
    p.add_argument('--minutes', type=float, default=10., help='stop learning after so long, default 10')
    p.add_argument('--steps', type=int, default=4000, help='stop learning after so many steps, default 4000')
    p.add_argument('--batch_size', type=int, default=12, help='pieces of 256 frames in a step, default 12')
    p.add_argument('--dropout', type=float, default=.25, help='share of values that a layer forgets, default .25')
    p.add_argument('--seed', type=int, default=1, help='of the weights and of the order of the pieces, default 1')
    return p

def main():
    a = options().parse_args()
    torch.manual_seed(a.seed)
    data = SpeechData.open(a.data)
    cfg = next(c for c in PRESETS.values() if c.sample_rate==data.sample_rate)
    clips = read_clips(data, None, cfg, a.labels)
    for folder in a.also: clips += read_clips(SpeechData.open(folder), 'also', cfg, a.labels)
    if a.labels is None: alike(clips)
    known = Known(clips)
    model = LittleTTS(len(known.names), known.bands, a.dropout)
    weights = sum(p.numel() for p in model.parameters())
    print(f'{len(clips):,} recordings, {len(known.names)} phones, {weights:,} weights')
    steps = train(model, [(known.phones(c), known.frame_features(c), c.mel) for c in clips if c.part=='train'], a)
    mels = [say(model.eval(), known, c) for c in clips]
    (a.out/'mels').mkdir(parents=True, exist_ok=True)
    for c,m in zip(clips, mels): write(a.out/'mels'/f'{c.id}.npy', m)
    torch.save(model.state_dict(), a.out/'little_tts.pt')
    found = {part: distance(*zip(*[(c,m) for c,m in zip(clips, mels) if c.part==part]))
             for part in dict.fromkeys(c.part for c in clips)}
    (a.out/'distance.json').write_text(json.dumps(dict(steps=steps, **found), indent=1)+'\n')
    for part,d in found.items():
        print(f'{part}: {d["clips"]} recordings, mel L1 {d["mel_l1"]:.3f}, '
              f'{d["fine_structure"]:.0%} of the fine structure of the recordings')

if __name__=='__main__': main()

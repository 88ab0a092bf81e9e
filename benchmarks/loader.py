"""How many training segments a second the loader delivers, with nothing else to do.

    python benchmarks/loader.py DATA [--preset V1] [--seconds 5]

DATA is a folder made by hifigan-prepare. First the segments alone (`SegmentDataset.batch`, one thread), then as
training gets them (`epoch_batches`: the order, the thread that works ahead, the tensors on the device), then as
bytes a second to compare with what the disk gives."""
import argparse, time
from itertools import count
import torch
from hifigan_ruslan.config import preset
from hifigan_ruslan.data import SegmentDataset, epoch_order
from hifigan_ruslan.data import SpeechData
from hifigan_ruslan.base.hardware import Ranks
from hifigan_ruslan.train import epoch_batches

class Place:
    "Where a run is, without its models"
    def __init__(self, cfg):
        self.cfg, self.ranks, self.device, self.epoch, self.seen = cfg, Ranks(), torch.device('cpu'), 0, 0

def segments(data, cfg):
    "Batches without end: an epoch after another"
    ds = SegmentDataset(data, cfg.segment_size, cfg.seed, cfg.random_gain_db)
    for epoch in count():
        ds.set_epoch(epoch)
        order = epoch_order(len(ds), cfg.seed, epoch)
        for i in range(0, len(order)-cfg.batch_size+1, cfg.batch_size): yield ds.batch(order[i:i+cfg.batch_size])

def rate(batches, seconds):
    "Segments a second of an endless iterator of batches; the first second, which fills the page cache, does not count"
    begin, n = time.perf_counter(), 0
    for batch in batches:
        now = time.perf_counter()
        if now-begin>1 and n<0: n, start = 0, now
        elif now-begin<=1: n = -1
        else: n += len(batch.wav)
        if n>0 and now-start>seconds: return n/(now-start)

def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('data')
    p.add_argument('--preset', default='V1')
    p.add_argument('--seconds', type=float, default=5.)
    a = p.parse_args()
    cfg, data = preset(a.preset), SpeechData.open(a.data)
    ds, place = SegmentDataset(data, cfg.segment_size, cfg.seed, cfg.random_gain_db), Place(cfg)
    def training():
        while True:
            place.epoch += 1
            for batches in epoch_batches(place, ds): yield from batches
    for name,batches in (('segments alone', segments(data, cfg)), ('as training gets them', training())):
        r = rate(batches, a.seconds)
        print(f'{name}: {r:,.0f} segments of {cfg.segment_size} samples a second, '
              f'{2*r*cfg.segment_size/2**20:,.0f} MiB/s of int16', flush=True)

if __name__=='__main__': main()

"""A thousand damaged files of every kind, as tools/mutations.py makes them: accepted or refused in words, and nothing
else. With another seed and more of them: python tools/mutations.py --n 20000 --seed 1"""
import json, os, sys
from pathlib import Path
import pytest

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT/'tools'))
pytestmark = pytest.mark.skipif(sys.platform!='linux', reason='alarms, limits of memory and fork are those of Linux')

def test_a_thousand_mutations_have_no_fault(tmp_path):
    from mutations import KINDS, campaign
    lines = []
    found = campaign(1000, seed=23, out=tmp_path, show=lines.append)
    assert sum(c['faults'] for c in found.values())==0, '\n'.join(lines)
    assert set(found)==set(KINDS) and sum(sum(c.values()) for c in found.values())>=1000
    assert all(c['accepted'] for c in found.values()) # what is not, is tried in vain
    assert sum(c['refused'] for c in found.values())>300

class Broken:
    "A reader with every sort of fault, by the number of the mutation"
    def __init__(self, work): self.originals = {'a.json': b'{"a": 1}'}
    def whole(self, name, raw): pass
    def mutate(self, r, name, raw): return raw, str(r.randrange(9**9))
    def feed(self, name, raw, original, how): self.faults[int(how)%len(self.faults)]()

def as_broken(*faults): return type('Broken', (Broken,), dict(faults=faults))

def fails(e):
    raise e

@pytest.mark.parametrize('fault, words', [
    (lambda: {}['x'], 'KeyError'), (lambda: json.loads('{'), 'JSONDecodeError'), (lambda: int('x'), 'ValueError'),
    (lambda: fails(RuntimeError('of a library')), 'of a library'), (lambda: os._exit(3), 'ended (3)'),
    (lambda: sum(iter(int, 1)), 'ended (-9)'),
    (lambda: any(x for x in iter(int, 1)), 'more than 1 s'),
    (lambda: bytearray(2**20)*100, '.1 GB of memory'), (lambda: bytes(2**45), 'MemoryError')],
    ids='key json value runtime exit deaf loop memory address'.split())
def test_a_fault_is_seen_and_kept(tmp_path, monkeypatch, fault, words):
    import mutations
    for k,v in dict(SECONDS=1, BYTES=2**25).items(): monkeypatch.setattr(mutations, k, v)
    monkeypatch.setattr(mutations, 'KINDS', dict(broken=as_broken(fault)))
    monkeypatch.setattr(mutations, 'SHARES', dict(broken=1))
    found = mutations.campaign(2, out=tmp_path, show=lambda text: None)
    assert found=={'broken': dict(accepted=0, refused=0, faults=2)}
    for i in range(2):
        assert words in (tmp_path/f'broken-0-{i}'/'fault.txt').read_text()
        assert (tmp_path/f'broken-0-{i}'/'a.json').read_bytes()==b'{"a": 1}'

def test_the_same_seed_makes_the_same_mutations(tmp_path):
    import mutations
    kinds = [mutations.Configs(tmp_path) for _ in range(2)]
    made = [[mutations.mutation(k, 5, i)[:3] for i in range(50)] for k in kinds]
    assert made[0]==made[1] and len({m[1] for m in made[0]})>40

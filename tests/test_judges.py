"""Cheaper judges: the Wave-U-Net discriminator, discriminators that learn at each second step, and that what stays
learns and teaches as before"""
import copy, json, os, subprocess, sys
from dataclasses import replace
import pytest, torch
from hifigan_ruslan.checkpoint import load_checkpoint, why_other
from hifigan_ruslan.config import TINY, config_dict
from hifigan_ruslan.dataset.corpus import synth_corpus
from hifigan_ruslan.dataset.prepare import prepare
from hifigan_ruslan.generator import weights_once
from hifigan_ruslan.losses import GeneratorTurn, disc_loss, turn_losses, weighted_sum
from hifigan_ruslan.step import disc_health, new_state, set_lr, train_step, update_ema
from hifigan_ruslan.train import fit
from hifigan_ruslan.training.logging import plot_curves, read_log

TOY = replace(TINY, upsample_initial_channel=16, disc_shrink=32, segment_size=1024, batch_size=2, valid_every=2,
              valid_clips=1, save_every_epochs=100, mpd_periods=(2,3), msd_scales=2)

@pytest.fixture(autouse=True, scope='module')
def one_thread():
    was = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(was)

@pytest.fixture(scope='module')
def data(tmp_path_factory):
    work = tmp_path_factory.mktemp('data')
    corpus = synth_corpus(work/'corpus', n=8, seconds=.6, sample_rate=22050)
    return prepare(corpus, work/'data', valid=.2, test=.2, workers=0, progress=False)

def batches(cfg, seed=0, dtype=torch.float32):
    rng = torch.Generator().manual_seed(seed)
    return list(.1*torch.randn(cfg.grad_accum, cfg.batch_size, 1, cfg.segment_size, generator=rng).to(dtype))

def weights(s): return [p.detach().clone() for net in s.networks().values() for p in net.parameters()]
def alike(a, b): return all(map(torch.equal, weights(a), weights(b)))

# At each second step

def by_hand(wav, s, learn):
    "The step written out, for one batch in fp32"
    set_lr(s)
    with weights_once(s.generator): fake = s.generator(s.logmel(wav))
    if learn:
        s.opt_d.zero_grad()
        with weights_once(s.discriminators):
            disc_loss(s.discriminate(wav)[0], s.discriminate(fake.detach())[0]).backward()
        s.opt_d.step()
    s.discriminators.requires_grad_(False)
    s.opt_g.zero_grad()
    turn = GeneratorTurn(wav, fake, s.logmel_loss)
    with weights_once(s.discriminators):
        total = weighted_sum(turn_losses(turn, s.cfg, needs_d=False), s.cfg)
        with torch.no_grad(): turn.scores_real, turn.fmaps_real = s.discriminate(wav)
        turn.scores_fake, turn.fmaps_fake = s.discriminate(fake)
        (total + weighted_sum(turn_losses(turn, s.cfg, needs_d=True), s.cfg)).backward()
    s.discriminators.requires_grad_(True)
    s.opt_g.step()
    update_ema(s)
    s.step += 1

@pytest.mark.parametrize('names,every', [(('mpd','msd'), 1), (('mpd','msd'), 2), (('mpd','unet'), 3)])
def test_the_step_is_the_one_written_out(names, every):
    "To the bit; with d_every=1 the official order, as before there was such a number"
    cfg = replace(TOY, discriminators=names, d_every=every)
    s, hand = new_state(cfg), new_state(cfg)
    for i in range(5):
        logs = train_step(batches(cfg, i), s)
        by_hand(*batches(cfg, i), hand, learn=i%every==0)
        assert alike(s, hand) and ('norm_d' in logs)==(i%every==0)

def test_between_nothing_of_d_learns_and_the_log_is_whole():
    cfg = replace(TOY, discriminators=('mpd','msd','unet'), d_every=2)
    s, backward = new_state(cfg), []
    for p in s.disc_params(): p.register_hook(lambda grad: backward.append(s.step))
    first = train_step(batches(cfg, 0), s)
    assert set(backward)=={0}
    before, each = [p.detach().clone() for p in s.disc_params()], copy.deepcopy(s)
    each.cfg = replace(cfg, d_every=1)
    between = train_step(batches(cfg, 1), s)
    assert set(backward)=={0} and all(map(torch.equal, before, s.disc_params()))
    want = train_step(batches(cfg, 1), each) # what D's own turn says of the same waves, before it learns from them
    told = [k for k in first if k!='norm_d']
    assert {*told}=={*between} and {*want}=={*first}
    for k in told:
        if k=='disc' or k.startswith(('real_','fake_')): assert between[k]==want[k], k
    assert not all(map(torch.equal, before, each.disc_params()))

def test_batches_that_are_accumulated_are_one():
    cfg = replace(TOY, discriminators=('mpd','mrd','unet'), d_every=2)
    halves, whole = new_state(replace(cfg, grad_accum=2), precision='fp64'), new_state(cfg, precision='fp64')
    whole.cfg = replace(cfg, batch_size=4)
    for i in range(4):
        parts = batches(halves.cfg, i, torch.float64)
        a, b = train_step(parts, halves), train_step([torch.cat(parts)], whole)
        assert {*a}=={*b}
        for k in a: assert a[k].item()==pytest.approx(b[k].item(), abs=1e-6), k # scores are logged in fp32
    assert max((a-b).abs().max().item() for a,b in zip(weights(halves), weights(whole)))<1e-9

def test_it_goes_on_in_the_middle_to_the_bit(data, tmp_path):
    cfg = replace(TOY, discriminators=('mpd','unet'), d_every=3, ema_decay=.9)
    def go(out, steps): return fit(data, out, cfg, steps=steps, device='cpu', view='lines', log_every=1)
    whole = go(tmp_path/'whole', 5)
    for steps in (2, 5): cut = go(tmp_path/'cut', steps)
    assert alike(whole, cut)
    logs = [read_log(tmp_path/o/'log.csv') for o in ('whole', 'cut')]
    assert [bool(v==v) for v in logs[0]['norm_d']]==[True, False, False, True, False]
    for k in ('disc', 'fm', 'real_unet', 'fake_p2'): assert (logs[0][k]==logs[1][k]).all(), k
    rest = load_checkpoint(tmp_path/'cut'/'checkpoints'/'last.pt')[1]
    assert 'd_every: 3 there, 1 asked for' in why_other(rest, replace(cfg, d_every=1), rest['data_sha256'])

RANK = '''
import sys, torch
torch.set_num_threads(1)
from hifigan_ruslan.base.hardware import Ranks
from hifigan_ruslan.config import config_from_json
from hifigan_ruslan.step import new_state, train_step
cfg, steps, out = config_from_json(sys.argv[1]), torch.load(sys.argv[2], weights_only=True), sys.argv[3]
s = new_state(cfg, precision='fp64', ranks=Ranks.join())
for wavs in steps: train_step([wavs[s.ranks.rank]], s)
torch.save(s.discriminators.state_dict() | s.generator.state_dict(), f'{out}.{s.ranks.rank}')
'''

def test_two_processes_are_one_with_twice_the_batch(tmp_path):
    cfg = replace(TOY, discriminators=('mpd','unet'), d_every=2)
    steps = [torch.cat(batches(replace(cfg, batch_size=4), i, torch.float64)).split(2) for i in range(3)]
    torch.save([torch.stack(w) for w in steps], tmp_path/'waves.pt')
    (tmp_path/'rank.py').write_text(RANK)
    launch = [sys.executable, '-m', 'torch.distributed.run', '--standalone', '--nproc_per_node', '2']
    args = [tmp_path/'rank.py', json.dumps(config_dict(cfg)), tmp_path/'waves.pt', tmp_path/'out']
    done = subprocess.run([*launch, *map(str, args)], capture_output=True, text=True, env=dict(os.environ))
    assert done.returncode==0, done.stderr
    one = new_state(cfg, precision='fp64')
    for w in steps: train_step([torch.cat(w)], one)
    want = one.discriminators.state_dict() | one.generator.state_dict()
    a, b = (torch.load(tmp_path/f'out.{r}', weights_only=True) for r in (0, 1))
    assert all(torch.equal(a[k], b[k]) for k in want)
    assert max((a[k]-v).abs().max().item() for k,v in want.items())<1e-9

# What stays

def with_weights_of(names, all):
    "A state with some of the discriminators of another"
    s = new_state(replace(all.cfg, discriminators=names), precision='fp64')
    for k in ('generator', 'ema', *names): s.networks()[k].load_state_dict(all.networks()[k].state_dict())
    return s

def updates(s, wavs):
    "Gradients with which both optimisers are about to make their updates, in order, and the log"
    seen, real = {}, dict(d=s.opt_d.step, g=s.opt_g.step)
    params = dict(d=dict(s.discriminators.named_parameters()), g=dict(s.generator.named_parameters()))
    def spy(k): return lambda: (seen.update({k: {n: p.grad.clone() for n,p in params[k].items()}}), real[k]())
    s.opt_d.step, s.opt_g.step = spy('d'), spy('g')
    logs = train_step(wavs, s)
    return seen, logs

def flat(grads): return torch.cat([g.flatten() for g in grads.values()])

def test_what_a_discriminator_learns_does_not_depend_on_the_others():
    all = new_state(replace(TOY, discriminators=('mpd','msd','mrd','unet')), precision='fp64')
    wavs = batches(TOY, 3, torch.float64)
    sets = ('mpd','msd'), ('mpd','mrd'), ('mpd',), ('unet','mpd')
    own = [updates(with_weights_of(names, all), wavs)[0]['d'] for names in sets]
    for k in [k for k in own[0] if k.startswith('mpd.')]:
        for other in own[1:]: assert torch.equal(own[0][k], other[k]), k

def test_what_the_generator_learns_from_each_does_not_depend_on_the_others():
    "What MPD adds to its gradient beside MRD, beside MSD, beside the U-Net and alone"
    all = new_state(replace(TOY, discriminators=('mpd','msd','mrd','unet'), d_every=2), precision='fp64')
    def gradient(*names):
        s = with_weights_of(names, all)
        s.step = 1 # D does not move
        return flat(updates(s, batches(TOY, 3, torch.float64))[0]['g'])
    added = [gradient('mpd', k)-gradient(k) for k in ('mrd', 'msd', 'unet')]
    assert added[0].norm()>0
    for other in added[1:]: assert ((added[0]-other).norm()/added[0].norm()).item()<1e-9

def test_the_official_step_has_its_columns():
    assert [*train_step(batches(TOY), new_state(TOY))]==(
        'disc real_p2 real_p3 real_s1 real_s2 fake_p2 fake_p3 fake_s1 fake_s2 norm_d gen fm mel total norm_g'.split())
    assert 'd_every' not in config_dict(TOY) # as older versions read it

# One network

@pytest.mark.parametrize('disc,gap,health', [
    (.25, .4, 'ok'), (1., 0., 'ok'), (.5, .001, 'dead'), (.52, .001, 'dead'), (.5556, .001, 'leak'),
    (.03, .9, 'crushing'), (.04, .9, 'ok'), (.45, .03, 'ok')])
def test_health_of_one(disc, gap, health):
    found, words = disc_health(dict(disc=disc, fm=.1, real_unet=.5+gap/2, fake_unet=.5-gap/2))
    assert found==health and ('(unet)' in words)
    if health=='leak': assert '0.56 = 1 x 5/9' in words

def test_a_run_with_the_unet_alone(data, tmp_path, capsys):
    cfg = replace(TOY, discriminators=('unet',))
    s = fit(data, tmp_path/'run', cfg, steps=4, device='cpu', view='lines', log_every=1)
    log, said = read_log(tmp_path/'run'/'log.csv'), capsys.readouterr().out
    assert [k for k in log if k.startswith(('real_','fake_'))]==['real_unet', 'fake_unet']
    assert [w for w in said.splitlines() if 'D hears unet ' in w]
    assert [t.get_text() for t in plot_curves(log).axes[1].texts]==['undecided 0.50', 'broken 0.56']
    again, rest = load_checkpoint(tmp_path/'run'/'checkpoints'/'last.pt')
    assert alike(s, again) and rest['config']['discriminators']==['unet']

@pytest.mark.parametrize('precision', ['bf16', 'fp16'])
def test_the_unet_in_half_precision(precision):
    cfg = replace(TOY, discriminators=('unet',), batch_size=1)
    s = new_state(cfg, precision=precision)
    logs = train_step(batches(cfg), s)
    want = train_step(batches(cfg), new_state(cfg))
    for k in ('disc', 'gen', 'fm'): assert logs[k].item()==pytest.approx(want[k].item(), rel=.1), k

def voices(i):
    "Two voices of eight harmonics"
    rng, t = torch.Generator().manual_seed(i), torch.arange(1024)/22050
    def each(k): return torch.sin(2*torch.pi*(k*f*t + torch.rand(2, 1, 1, generator=rng)))/k
    f = 120 + 40*torch.rand(2, 1, 1, generator=rng)
    return .1*sum(map(each, range(1, 9)))

def test_the_unet_learns_to_hear_and_teaches():
    "First it learns alone; then the generator, from what it says alone, while it hardly moves"
    cfg = replace(TOY, discriminators=('unet',), disc_shrink=8, lambda_mel=0., lambda_fm=0., lr_d=1e-3, lr_g=1e-3)
    s = new_state(cfg)
    s.hold_g = 50
    for i in range(50): heard = train_step([voices(i)], s)
    assert heard['real_unet']-heard['fake_unet']>.5 and heard['disc']<.2, heard
    s.cfg = replace(cfg, lr_d=1e-9)
    gen = [train_step([voices(i)], s)['gen'].item() for i in range(30)]
    assert gen[0]>.6 and gen[-1]<.3 and s.skipped==0, gen

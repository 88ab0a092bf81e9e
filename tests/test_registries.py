"""A new loss is one function and one weight, a new discriminator one class and one name: entered here for a moment,
each shows itself in log.csv, in the progress line, in the curves and in TensorBoard, and trains"""
import re
from dataclasses import make_dataclass, replace
import pytest, torch
import torch.nn.functional as F
from hifigan_ruslan.checkpoint import load_checkpoint
from hifigan_ruslan.config import Config, TINY, config_dict, config_from_dict
from hifigan_ruslan.dataset.corpus import synth_corpus
from hifigan_ruslan.dataset.prepare import prepare
from hifigan_ruslan.discriminators import DISCRIMINATORS, discriminator
from hifigan_ruslan.losses import LOSSES, generator_loss
from hifigan_ruslan.step import disc_health, new_state, train_step
from hifigan_ruslan.train import fit
from hifigan_ruslan.training.logging import log_columns, plot_curves, read_log

# as if the field stood in Config
Own = make_dataclass('Own', [('lambda_own', float, 10.)], bases=(Config,), frozen=True)
TOY = dict(vars(TINY), upsample_initial_channel=16, disc_shrink=32, segment_size=1024, batch_size=2,
           valid_every=2, valid_clips=1, save_every_epochs=100, mpd_periods=(3,), msd_scales=1)
BEFORE = 'step epoch lr_g disc gen fm mel total norm_g norm_d skipped real_p3 fake_p3 real_s1 fake_s1'.split()

@pytest.fixture(scope='module')
def data(tmp_path_factory):
    work = tmp_path_factory.mktemp('data')
    corpus = synth_corpus(work/'corpus', n=6, seconds=.6, sample_rate=22050)
    return prepare(corpus, work/'data', valid=.2, test=.2, workers=0, progress=False)

@pytest.fixture
def scratch():
    "Both registers, as they were when the test is over"
    losses, classes = dict(LOSSES), dict(DISCRIMINATORS)
    yield
    for register,was in ((LOSSES, losses), (DISCRIMINATORS, classes)): register.clear(); register.update(was)

@pytest.fixture
def own_loss(scratch):
    @generator_loss('own')
    def wave_loss(turn): return F.l1_loss(turn.fake, turn.real)

@pytest.fixture
def level(scratch):
    @discriminator('level')
    class Level(torch.nn.Module):
        "Hears how loud it is"
        def __init__(self, cfg):
            super().__init__()
            self.listen = torch.nn.Linear(1, 1)
        def forward(self, wav):
            heard = self.listen(wav.square().mean(-1))
            return [heard], [[heard]]
        @staticmethod
        def parts(cfg): return ['level']

def batch(cfg, seed=0):
    torch.manual_seed(seed)
    return [.1*torch.randn(cfg.batch_size, 1, cfg.segment_size) for _ in range(cfg.grad_accum)]

def logged(cfg, **kw):
    "Numbers of the first step"
    return {k: v.item() for k,v in train_step(batch(cfg), new_state(cfg, **kw)).items()}

def tags(run):
    "What TensorBoard shows of a run"
    accumulator = pytest.importorskip('tensorboard.backend.event_processing.event_accumulator')
    events = accumulator.EventAccumulator(str(run/'tensorboard'))
    return set(events.Reload().Tags()['scalars'])

def labels(ax): return [o.get_label() for o in ax.lines]

def test_new_loss_shows_itself(own_loss, data, tmp_path, capsys):
    cfg = Own(**TOY)
    s = fit(data, tmp_path/'run', cfg, steps=4, device='cpu', view='lines', log_every=1)
    log, said = read_log(tmp_path/'run'/'log.csv'), capsys.readouterr().out
    assert s.step==4 and list(log)[:8]=='step epoch lr_g disc gen fm mel own'.split() and (log['own']>0).all()
    shown = [float(v) for v in re.findall(r'^step .* mel \d+\.\d{3} own (\S+) \| ', said, re.M)]
    assert shown==pytest.approx(log['own'], rel=.01), said
    assert {'train/own','train/mel','train/gen','norm/g','real/p3','valid/mel'} <= tags(tmp_path/'run')
    mel, contest = plot_curves(log).axes[:2]
    assert 'own' in labels(mel) and 'own' not in labels(contest) and mel.get_title()=='mel L1, own'

def test_new_loss_that_needs_the_discriminators(scratch, data, tmp_path, capsys):
    @generator_loss('own', needs_d=True)
    def last_maps(turn): return sum(F.l1_loss(f[-1], r[-1]) for f,r in zip(turn.fmaps_fake, turn.fmaps_real))
    fit(data, tmp_path/'run', Own(**TOY|dict(mel_warmup=2)), steps=3, device='cpu', view='lines', log_every=1)
    log = read_log(tmp_path/'run'/'log.csv')
    assert [bool(v==v) for v in log['own']]==[False, False, True] # silent in mel_warmup
    assert ' fm - mel ' in (said := capsys.readouterr().out) and ' own - | ' in said
    mel, contest = plot_curves(log).axes[:2]
    assert 'own' in labels(contest) and 'own' not in labels(mel) and mel.get_title()=='mel L1'

def test_new_loss_is_in_the_sum(scratch):
    calls = []
    @generator_loss('own')
    def wave_loss(turn):
        calls.append(turn.real.shape)
        return F.l1_loss(turn.fake, turn.real)
    with_it, without = (logged(Own(**TOY|dict(adv_ramp=4, lambda_own=w))) for w in (10., 0.))
    assert calls==[(2, 1, 1024)] and 'own' not in without # of weight 0: not computed
    want = .25*(with_it['gen'] + TINY.lambda_fm*with_it['fm']) + TINY.lambda_mel*with_it['mel'] + 10*with_it['own']
    assert abs(with_it['total']-want)<1e-5*want and abs(with_it['mel']-without['mel'])<1e-6
    assert log_columns(Own(**TOY|dict(lambda_own=0.)))[:7]==BEFORE[:7]

def test_a_configuration_from_before_a_loss_has_it_at_weight_0(monkeypatch):
    "A run that was begun before it goes on without it, or is asked about it; and it stays readable there"
    before = config_dict(TINY)
    monkeypatch.setattr('hifigan_ruslan.config.Config', Own)
    model = {k: v for k,v in before.items() if not k.startswith('lambda_')} # losses left to the defaults
    assert config_from_dict(before).lambda_own==0 and config_from_dict(model).lambda_own==10
    assert config_dict(config_from_dict(before))==before and config_dict(Own())['lambda_own']==10

def test_todays_losses_are_logged_at_weight_0():
    logs = logged(replace(Config(**TOY), lambda_gen=0., lambda_fm=0., lambda_mel=0.))
    assert logs['total']==0 and all(logs[k]>0 for k in ('gen','fm','mel'))

def test_a_weight_and_a_loss_belong_together(scratch, data, tmp_path):
    def refused(cfg, words):
        for begin in (lambda: new_state(cfg), lambda: fit(data, tmp_path/'run', cfg, steps=1, device='cpu')):
            with pytest.raises(ValueError, match=words): begin()
        assert not (tmp_path/'run').exists()
    refused(Own(**TOY), r"Config has lambda_own, but there is no loss 'own' .*@generator_loss\('own'\)")
    generator_loss('own')(lambda turn: turn.fake.abs().mean())
    new_state(Own(**TOY))
    refused(Config(**TOY), "The loss 'own' has no weight: add a field lambda_own to Config")
    with pytest.raises(ValueError, match='lambda_own must not be negative'): Own(lambda_own=-1.)

def test_new_discriminator_shows_itself(level, data, tmp_path, capsys):
    cfg = Config(**TOY|dict(discriminators=('mpd','level','msd')))
    fit(data, tmp_path/'run', cfg, steps=4, device='cpu', view='lines', log_every=1)
    log, said = read_log(tmp_path/'run'/'log.csv'), capsys.readouterr().out
    assert [k for k in log if k.startswith('real_')]==['real_p3','real_level','real_s1']
    assert (log['fake_level']==log['fake_level']).all() # none is NaN
    heard = [l.partition('D hears')[2] for l in said.splitlines() if 'unseen mel' in l]
    assert heard and all(' level ' in l for l in heard)
    assert {'real/level','fake/level'} <= tags(tmp_path/'run')
    contest, scores = plot_curves(log).axes[1:3]
    assert len(labels(scores))==2*3+2 and [t.get_text() for t in contest.texts]==['undecided 1.50', 'broken 1.67']
    means = {k: log[k][-1] for k in log if k in ('disc','fm') or k.startswith(('real_','fake_'))}
    assert disc_health(means|dict(real_level=.9, fake_level=.1))[1].endswith('(level)')

def test_new_discriminator_goes_on_from_its_checkpoint(level, data, tmp_path):
    cfg, halves = Config(**TOY|dict(discriminators=('level','mpd'))), tmp_path/'halves'
    def go(out, steps): return fit(data, out, cfg, steps=steps, device='cpu', view='lines')
    whole = go(tmp_path/'whole', 4)
    go(halves, 2)
    s, rest = load_checkpoint(halves/'checkpoints'/'last.pt')
    assert list(s.discriminators)==['level','mpd'] and rest['config']['discriminators']==['level','mpd']
    assert all(torch.equal(a, b) for a,b in zip(whole.disc_params(), go(halves, 4).disc_params()))
    del DISCRIMINATORS['level']
    for again in (lambda: go(halves, 6), lambda: load_checkpoint(halves/'checkpoints'/'last.pt')):
        with pytest.raises(ValueError, match="no discriminator 'level'; the known ones are mpd, msd,"): again()

def test_unknown_discriminator_before_anything_is_written(data, tmp_path):
    with pytest.raises(ValueError, match="no discriminator 'abc'; the known ones are mpd, msd,"):
        fit(data, tmp_path/'run', Config(**TOY|dict(discriminators=('mpd','abc'))), steps=1, device='cpu')
    assert not (tmp_path/'run').exists()

def test_todays_columns():
    assert log_columns(Config(**TOY))[:len(BEFORE)]==BEFORE
    assert list(new_state(Config(**TOY)).networks())==['generator','ema','mpd','msd']

def test_any_set_of_discriminators_trains():
    for names in (('mrd',), ('msd','mrd','mpd')):
        logs = logged(Config(**TOY|dict(discriminators=names)))
        assert sum(k.startswith('real_') for k in logs)==sum(dict(mpd=1, msd=1, mrd=3)[k] for k in names)

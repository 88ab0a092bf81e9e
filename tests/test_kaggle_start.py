"""What a session on Kaggle starts from, found in its first minute: weights without a marker in both layouts, what is
wrong with them, and what cannot stand in TRAIN"""
import json, shutil
from dataclasses import replace
import pytest, torch
from safetensors.torch import save_file
from hifigan_ruslan.checkpoint import save_checkpoint, save_official
from hifigan_ruslan.config import TINY, save_config
from hifigan_ruslan.dataset.corpus import synth_corpus
from hifigan_ruslan.kaggle.session import Session, SessionFailed, check_device
from hifigan_ruslan.model.weights import load_generator, read_checkpoint
from hifigan_ruslan.model.weightset import find_set
from hifigan_ruslan.step import new_state

NUMBERS = dict(upsample_initial_channel=32, disc_shrink=32, segment_size=2048, batch_size=2, valid_every=20)
CFG = replace(TINY, **NUMBERS)
no_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason='there is a GPU')
LAYOUTS = dict(new='datasets/alice/base', old='base')

def state(seed=3, cfg=CFG):
    torch.manual_seed(seed)
    return new_state(replace(cfg, seed=seed))

def official(folder): save_official(state(), folder)
def of_a_run(folder): save_checkpoint(state(), folder/'my run'/'checkpoints'/'best.pt', 'others')
def best_alone(folder, seed=3): save_checkpoint(state(seed), folder/'best.pt', 'others')

def exported(folder):
    folder.mkdir(parents=True)
    save_file(load_generator(CFG, state().generator.state_dict()).state_dict(), folder/'model.safetensors')
    save_config(CFG, folder/'config.json')

KINDS = dict(official=official, run=of_a_run, best=best_alone, exported=exported)
FILES = dict(official='g_00000000', run='my run/checkpoints/best.pt', best='best.pt', exported='model.safetensors')

@pytest.fixture
def root(tmp_path):
    (tmp_path/'input').mkdir()
    return tmp_path

def begin(root, init=None, **kw):
    "A session at its first minute's end"
    return Session('TINY', minutes=1., config=NUMBERS | kw.pop('config', {}), root=root, init=init, cpu=True, **kw)

@pytest.mark.parametrize('layout', LAYOUTS)
@pytest.mark.parametrize('kind', KINDS)
def test_weights_without_a_marker_are_found(kind, layout, root, capsys):
    folder = root/'input'/LAYOUTS[layout]
    KINDS[kind](folder)
    for init in ('alice/base', 'base', 'https://www.kaggle.com/datasets/alice/base', f'alice/base/{FILES[kind]}',
                 str(folder), str(folder/FILES[kind])):
        assert find_set(root/'input', init).init==folder/FILES[kind], init
    s = begin(root, 'alice/base')
    assert s.init.init==folder/FILES[kind] and s.cfg.lr_g==1e-4 and s.init.is_whole==(kind!='exported')
    said = capsys.readouterr().out
    assert f'{FILES[kind]}, which have no marker' in said and 'a new run starts from the weights' in said

@pytest.mark.parametrize('kind', ['official', 'best', 'exported'])
def test_attached_weights_are_taken_without_being_asked_for(kind, root):
    KINDS[kind](root/'input'/LAYOUTS['new'])
    assert begin(root).init.init.name==FILES[kind]
    assert begin(root, 'scratch').init is None

def test_a_run_that_is_attached_is_no_start_unless_asked_for(root):
    of_a_run(root/'input'/LAYOUTS['new'])
    assert begin(root, new_run=True).init is None
    assert begin(root, 'alice/base', new_run=True).init.name=='best'

def refused(root, *words, **kw):
    "The session ends in its first minute, with words that tell how to do without"
    with pytest.raises(SessionFailed) as e: begin(root, **kw)
    for w in (*words, "INIT = 'scratch'"): assert w in str(e.value), e.value

def test_several_candidates_are_named(root):
    for seed,name in enumerate('ab'): best_alone(root/'input'/'datasets'/'alice'/name, seed)
    both = '/datasets/alice/a/best.pt', '/datasets/alice/b/best.pt', 'Say which one, such as INIT = '
    refused(root, 'More than one set of weights is attached', *both)
    save_checkpoint(state(4), root/'input/datasets/alice/a/old/best.pt', 'others')
    refused(root, "INIT = 'alice/a' may mean more than one", 'a/old/best.pt', init='alice/a')
    assert begin(root, 'alice/b').init.init.parent.name=='b'

def test_two_numbers_of_an_official_run_are_named(root):
    folder = root/'input'/'base'
    official(folder)
    shutil.copy(folder/'g_00000000', folder/'g_00000005')
    with open(folder/'g_00000005', 'ab') as f: f.write(b'x')
    refused(root, 'g_00000000', 'g_00000005', init='base')

def damage(path):
    raw = bytearray(path.read_bytes()); raw[len(raw)//2] ^= 255
    path.write_bytes(raw)

@pytest.mark.parametrize('change,words', [
    (lambda f: damage(f/'g_00000000'), 'is damaged'),
    (lambda f: damage(f/'do_00000000'), 'do_00000000 is damaged'),
    (lambda f: (f/'config.json').unlink(), 'beside it lies no config.json'),
    (lambda f: (f/'config.json').write_text('{"hop'), 'config.json'),
    (lambda f: (f/'g_00000000').unlink(), 'expected best.pt, model.safetensors or g_*')],
    ids=['generator', 'discriminators', 'no config', 'config', 'no generator'])
def test_what_is_wrong_with_an_official_pair_is_said_at_once(change, words, root):
    folder = root/'input'/'base'
    official(folder); change(folder)
    refused(root, words, init='alice/base')

@pytest.mark.parametrize('config,words', [
    (dict(upsample_initial_channel=16), 'upsample_initial_channel: 32 there, 16 asked for'),
    (dict(disc_shrink=16), 'disc_shrink: 32 there, 16 asked for')])
def test_another_model_is_said_at_once(config, words, root):
    best_alone(root/'input'/'base')
    refused(root, words, init='base', config=config)

def test_what_is_attached_is_named_where_the_name_is_wrong(root):
    exported(root/'input'/LAYOUTS['new'])
    refused(root, 'all that is attached: alice/base', 'Add Input', init='alice/bass')
    refused(root, 'there is no last.pt in', 'model.safetensors', init='alice/base/last.pt')

@pytest.mark.parametrize('train,words', [
    ('--lr 1e-4', "CONFIG = {'lr_g': 1e-4, 'lr_d': 1e-4}"),
    ('--disc_shrink 8', "CONFIG = {'disc_shrink': 8}"),
    ('--hour 20', '--hours may be meant'),
    ('--steps 9 --tensorboard logs', '--tensorboard is no option'),
    ('--config /home/me/config.json', 'CONFIG in the first cell'),
    ('--no_resume', 'NEW_RUN = True'),
    ('--precision half', 'choose one of fp32'),
    ('--device gpu', 'TRAIN: '),
    pytest.param('--device cuda', 'torch sees no CUDA GPU', marks=no_gpu),
    ('--steps 1e5', 'invalid int value'),
    ('/home/me/data', 'unrecognized arguments: /home/me/data')])
def test_what_cannot_stand_in_train_ends_the_session_at_once(train, words, root):
    with pytest.raises(SessionFailed) as e: begin(root, train=train)
    assert words in str(e.value), e.value

def test_a_cpu_must_be_asked_for_by_its_setting():
    assert check_device(['--device', 'cpu'], cpu=True) is None
    with pytest.raises(ValueError, match='CPU = True'): check_device(['--device', 'cpu'])

def test_a_run_starts_from_an_official_pair_and_goes_on_without_it(root, capsys):
    base = root/'input'/'base'
    official(base)
    synth_corpus(root/'input'/'ruslan', n=10, seconds=1., sample_rate=22050)
    first = begin(root, 'base', train='--steps 10 --disc_warmup 2 --precision fp32')
    first.train(first.prepare(first.find()))
    assert first.outcome=='trained' and first.problems==[]
    start, first_log = json.loads((first.run/'start.json').read_text()), (first.run/'log.csv').read_text()
    assert start['sha256']==first.init.digest and len(start['sha256'])==64
    assert 'starting from the weights' in capsys.readouterr().out
    shutil.move(root/'working', root/'input'/'train')
    shutil.rmtree(base)
    second = begin(root, 'base')
    second.resume(second.prepare(second.find()))
    said = capsys.readouterr().out
    assert "INIT = 'base' is not used, as it is for a new run" in said and 'going on from' in said
    assert second.cfg.lr_g==1e-4 and second.facts()['step']==10
    assert (second.run/'log.csv').read_text()==first_log

def test_the_checkpoint_of_the_start_is_the_official_one(root):
    "What was tried is what hifigan-train takes"
    official(root/'input'/'base')
    s = begin(root, 'base')
    assert s.init.init==root/'input'/'base'/'g_00000000' and (s.init.init.parent/'do_00000000').is_file()
    assert read_checkpoint(s.init.init).keys()=={'generator'}

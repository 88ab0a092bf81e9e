"""Weights of other programs: taken where it is a renaming, else named for what they are; --init asks what they mean;
files that unpack to more than they are; ONNX files that others run; names and cards that tell checkpoints apart"""
import argparse, importlib.util, io, json, math, os, pathlib, re, subprocess, sys, tarfile, zipfile
from dataclasses import replace
import numpy as np, pytest, soundfile as sf, torch
from safetensors.torch import save_file
from hifigan_ruslan.base.commands import answered
from hifigan_ruslan.checkpoint import find_checkpoint, init_weights, save_checkpoint
from hifigan_ruslan.config import TINY, V2, config_dict, official_dict, save_config
from hifigan_ruslan.dataset.corpus import synth_wav
from hifigan_ruslan.dataset.prepare import prepare
from hifigan_ruslan.evaluation.systems import open_systems
from hifigan_ruslan.generator import random_generator
from hifigan_ruslan.inference.hub import export
from hifigan_ruslan.inference.onnx import export_onnx
from hifigan_ruslan.model.reading import open_checkpoint, start_weights
from hifigan_ruslan.model.weights import FORMAT, VERSION, load_generator, old_names, read_checkpoint
from hifigan_ruslan.step import new_state
from hifigan_ruslan.train import fit

TOY = replace(TINY, upsample_initial_channel=32, disc_shrink=32, segment_size=2048, batch_size=2)
NEW = random_generator(TOY).state_dict()
OLD = old_names(NEW)
FOLDED = {k: v.contiguous() for k,v in load_generator(TOY, NEW).state_dict().items()}
DISC = {'discriminators.0.convs.0.bias': torch.zeros(1)}
MEL = torch.randn(1, 80, 20, generator=torch.manual_seed(1))*2-5

def behind(prefix, state=OLD): return {prefix+k: v for k,v in state.items()}
def renamed(*pairs, state=OLD):
    for a,b in pairs: state = {re.sub(a, b, k): v for k,v in state.items()}
    return state
def stages(n): return (r'resblocks\.(\d+)', lambda m: f'resblocks.{int(m[1])//n}.{int(m[1])%n}')
WAVEGAN = (('conv_pre', 'input_conv'), ('conv_post', 'output_conv.1'), (r'ups\.(\d+)', r'upsamples.\1.1'),
           (r'resblocks\.(\d+)\.convs([12]?)\.(\d+)', lambda m: f'blocks.{m[1]}.convs{m[2] or 1}.{m[3]}.1'))
class AttrDict(dict): "As the official code and its forks keep their numbers"

LAYOUTS = {
    'official': dict(generator=OLD), 'new norm': dict(generator=NEW), 'folded': dict(generator=FOLDED),
    'bare': OLD, 'bare folded': FOLDED,
    'DataParallel': dict(generator=behind('module.')), 'bare DataParallel': behind('module.'),
    'compiled': dict(generator=behind('_orig_mod.', NEW)), 'model_g': dict(model_g=OLD, model_d=DISC),
    'model': dict(model=OLD, optimizer={}, epoch=1), 'state_dict': dict(state_dict=OLD),
    'Coqui': dict(model=behind('model_g.')|behind('model_d.', DISC), config={'audio': {}}, step=5, optimizer=[{}, {}]),
    'Lightning': dict(state_dict=behind('generator.')|behind('mpd.', DISC), hyper_parameters=AttrDict(a=1), loops={}),
    'Lightning, deeper': dict(state_dict=behind('model.net.generator.')|{'mel.window': torch.ones(9)}, epoch=1),
    'NVIDIA': dict(generator=renamed(stages(2)), gen_ema=None, config=dict(a=1), train_state={}),
    'NVIDIA, average': dict(generator={k: v*0 for k,v in OLD.items()}, gen_ema=renamed(stages(2))),
    'NeMo': behind('generator.', renamed(stages(2)))|behind('discriminator.', DISC),
    'ParallelWaveGAN': dict(model=dict(generator=renamed(*WAVEGAN), discriminator=DISC), optimizer={}, steps=1),
    'transformers': renamed((r'^ups\.', 'upsampler.'))|dict(mean=torch.zeros(80), scale=torch.ones(80)),
    'half': dict(generator={k: v.half() for k,v in OLD.items()}),
    'bfloat16': dict(generator={k: v.bfloat16() for k,v in OLD.items()}),
    'double': dict(generator={k: v.double() for k,v in OLD.items()}),
    'numpy beside': dict(generator=OLD, best=np.float64(.2), lr=np.float32(1), history=np.zeros(3)),
    'options beside': dict(generator=OLD, h=AttrDict(a=1), args=argparse.Namespace(x=1), at=pathlib.PurePosixPath('a'))}
QUIET = ['official', 'new norm', 'folded', 'half', 'bfloat16', 'double', 'numpy beside', 'options beside'] # as expected

def saved(tmp_path, ck, name='x.pt', **kw):
    torch.save(ck, tmp_path/name, **kw)
    return tmp_path/name

def wave(cfg, weights):
    with torch.no_grad(): return load_generator(cfg, weights)(MEL)

@pytest.mark.parametrize('name', LAYOUTS)
def test_taken_where_it_is_a_renaming(name, tmp_path, capsys):
    path, eps = saved(tmp_path, LAYOUTS[name]), .1 if name in ('half','bfloat16') else 1e-4
    cfg, weights = open_checkpoint(path, TOY)
    assert (wave(cfg, weights)-wave(TOY, NEW)).abs().max()<eps and {v.dtype for v in weights.values()}=={torch.float32}
    out, err = capsys.readouterr()
    assert not out and ('is taken from' in err)==(name not in QUIET)
    s = new_state(replace(TOY, seed=7))
    assert init_weights(s, path)==['generator', 'ema']
    for g in (s.generator, s.ema): assert (wave(TOY, g.state_dict())-wave(TOY, NEW)).abs().max()<eps

ONE = torch.ones(1)
OTHERS = {
    'BigVGAN': dict(generator=OLD|{'resblocks.0.activations.0.act.alpha': ONE}),
    'NSF-HiFi-GAN': dict(generator=OLD|{'noise_convs.0.bias': ONE}),
    'VITS': dict(model=behind('dec.')|{'enc_p.emb.weight': ONE}),
    'VITS,': dict(weight=behind('dec.')|{'enc_p.emb.weight': ONE}, config=[1]),
    'SpeechBrain': renamed((r'\.(weight_[gv]|bias)$', r'.conv.\1')),
    'speaker': dict(model=behind('model_g.', OLD|{'cond.weight': ONE})),
    'iSTFTNet': dict(generator=OLD|{'conv_post.weight_v': torch.ones(18, 8, 7)}),
    'Vocos': {'backbone.embed.weight': ONE},
    'normalised': dict(model=dict(generator=renamed(*WAVEGAN)|dict(mean=ONE, scale=ONE))),
    'discriminators': dict(mpd=DISC, msd=DISC), 'makes mels': dict(state_dict={'encoder.w': ONE, 'decoder.w': ONE}),
    'more than one generator': dict(a=OLD, b=FOLDED), 'those of V2': dict(generator=random_generator(V2).state_dict()),
    'int64': dict(generator=OLD|{'conv_pre.bias': torch.zeros(32).long()})}
TORCH = 'torch.load', 'weights_only', 'Weights only', '\x1b', 'size mismatch', 'Missing key' # words of another library

@pytest.mark.parametrize('name', OTHERS)
def test_others_are_named_for_what_they_are(name, tmp_path):
    path = saved(tmp_path, OTHERS[name])
    for f in (lambda: open_checkpoint(path, TOY), lambda: init_weights(new_state(TOY), path)):
        with pytest.raises(ValueError) as e: f()
        assert name.strip(',') in str(e.value) and str(path) in str(e.value), e.value
        assert not any(w in str(e.value) for w in TORCH), e.value

def test_each_container_is_named(tmp_path):
    inner = saved(tmp_path, OLD).read_bytes()
    def said(data, words):
        (tmp_path/'f').write_bytes(data)
        with pytest.raises(ValueError, match=words): read_checkpoint(tmp_path/'f')
    for mode in ('w', 'w:gz', 'w:xz'):
        with tarfile.open(tmp_path/'t', mode) as t:
            info = tarfile.TarInfo('model_weights.ckpt')
            info.size = len(inner)
            t.addfile(info, io.BytesIO(inner))
        other = 'is a packed file, and no .nemo' if mode=='w:xz' else 'has no model_config.yaml in it'
        said((tmp_path/'t').read_bytes(), f'{other}.*tar xf')
    with zipfile.ZipFile(tmp_path/'z', 'w') as z: z.writestr('g_1', inner)
    said((tmp_path/'z').read_bytes(), 'is a zip archive .*unpack it')
    said(b'version https://git-lfs.github.com/spec/v1\n', 'git lfs pull')
    said(b'<!DOCTYPE html><html>', 'is a web page')
    torch.save(dict(model=torch.nn.Linear(1, 1)), tmp_path/'f')
    said((tmp_path/'f').read_bytes(), r'\(torch.nn.modules.linear.Linear\)')

def test_compressed_members_are_refused_unread(tmp_path):
    p = tmp_path/'x.pt'
    for method in (zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        for member in ('data.pkl', 'data/0', 'version'):
            with zipfile.ZipFile(saved(tmp_path, OLD)) as z: content = {o: z.read(o) for o in z.namelist()}
            with zipfile.ZipFile(p, 'w') as z:
                for k,v in content.items(): z.writestr(k, v, method if k.endswith(member) else zipfile.ZIP_STORED)
            for whole in (True, False):
                with pytest.raises(ValueError, match='is compressed'): read_checkpoint(p, whole)

@pytest.fixture(scope='module')
def data(tmp_path_factory):
    d = tmp_path_factory.mktemp('corpus')
    for i in range(4): sf.write(d/f'{i}.wav', synth_wav(1., 24_000, i), 24_000)
    return prepare(d, tmp_path_factory.mktemp('data')/'p', sample_rate=24_000, workers=1, progress=False)

def begun(data, out, init, capsys, **kw):
    "What a run of one step says"
    cfg = replace(TOY, sample_rate=24_000, fmax=12_000., batch_size=1, **kw)
    fit(data, out, cfg, steps=1, init=init, device='cpu', disc_warmup=0, view='lines')
    return capsys.readouterr().out

def test_init_asks_what_the_weights_mean(data, tmp_path, capsys):
    g = saved(tmp_path, dict(generator=OLD), 'g_00000001')
    assert 'g_00000001 says nothing of its mel' in begun(data, tmp_path/'a', g, capsys)
    (tmp_path/'config.json').write_text(json.dumps(official_dict(TOY)))
    said = begun(data, tmp_path/'b', g, capsys)
    other = 'sample_rate: 22050 there, 24000 asked for; fmax: 8000.0 there, 12000.0 asked for'
    assert f'was trained on another mel ({other})' in said
    save_config(replace(TOY, sample_rate=24_000, fmax=12_000.), tmp_path/'config.json')
    assert 'warning' not in begun(data, tmp_path/'c', g, capsys)
    with pytest.raises(ValueError, match='resblock_dilation_sizes: .* asked for'): # same shapes, another network
        begun(data, tmp_path/'d', g, capsys, resblock_dilation_sizes=((1,3),(2,6)))
    (tmp_path/'config.json').write_text('{"activation": 1}')
    with pytest.raises(ValueError, match='config.json: Config: unknown key'): begun(data, tmp_path/'e', g, capsys)

def test_a_wrong_preset_is_two_names(tmp_path):
    ck = dict(format=FORMAT, version=VERSION, config=config_dict(TINY), generator=random_generator(TINY).state_dict())
    for f in (lambda: init_weights(new_state(V2), ck), lambda: open_checkpoint(ck, V2)):
        with pytest.raises(ValueError, match='V2 asked for, TINY there: ') as e: f()
        assert str(e.value).count(' there, ')<=4
    with pytest.raises(ValueError, match=r'Use --preset V1$'): init_weights(new_state(V2), start_weights('universal'))

def test_continuing_with_a_wrong_preset_is_two_names(data, tmp_path):
    cfg = replace(TINY, sample_rate=24_000, disc_shrink=32, batch_size=1)
    fit(data, tmp_path/'run', cfg, steps=1, device='cpu', view='lines')
    with pytest.raises(ValueError, match='trained with other numbers') as e:
        fit(data, tmp_path/'run', replace(V2, sample_rate=24_000), steps=2, device='cpu')
    assert str(e.value).count(' asked for')<=4 and re.search(r'and \d+ more', str(e.value))

def test_a_damaged_last_checkpoint_is_passed_over(tmp_path):
    s, said = new_state(TOY), []
    for name,s.step in (('epoch_00001.pt', 1), ('last.pt', 2)): save_checkpoint(s, tmp_path/name)
    good = torch.load(tmp_path/'last.pt')
    nan = {k: v*math.nan for k,v in good['ema'].items()}
    for part,value in (('opt_g', dict(state=5, param_groups=5)), ('opt_d', [1]), ('opt_g', None), ('step', '2'),
                       ('best', None), ('rng', 3), ('rng', [{}]), ('generator', {}), ('mpd', 5), ('ema', nan),
                       ('config', 5), ('config', good['config']|dict(seed=True)), ('precision', 1), ('version', ONE),
                       ('seen', -1)):
        torch.save(good|{part: value}, tmp_path/'last.pt')
        said.clear()
        assert find_checkpoint(tmp_path, said.append)[0].step==1, part
        assert len(said)==1 and said[0].startswith(f'passed over: {tmp_path/"last.pt"}'), said

def test_fp16_everywhere(tmp_path):
    half = {k: v.half() for k,v in FOLDED.items()}
    save_file(half, tmp_path/'h.safetensors')
    for path in (tmp_path/'h.safetensors', saved(tmp_path, dict(generator=half))):
        cfg, weights = open_checkpoint(path, TOY)
        assert {v.dtype for v in weights.values()}=={torch.float32}
        assert (wave(cfg, weights)-wave(TOY, NEW)).abs().max()<.1

def test_messages_speak_in_options(tmp_path, capsys):
    g = saved(tmp_path, dict(generator=OLD), 'g_1')
    with pytest.raises(SystemExit): answered(export)(g, tmp_path/'out')
    assert '--config FILE' in capsys.readouterr().err

def test_two_checkpoints_of_one_name(tmp_path):
    for d in ('one', 'two'):
        (tmp_path/d).mkdir()
        saved(tmp_path/d, dict(generator=OLD), 'g_02500000')
        (tmp_path/d/'config.json').write_text(json.dumps(official_dict(TOY)))
    systems, failed = open_systems([tmp_path/'one'/'g_02500000', tmp_path/'two'/'g_02500000'])
    assert not failed and [s.name for s in systems[1:]]==['one/g_02500000', 'two/g_02500000']

def test_the_card_knows_its_checkpoint(tmp_path, capsys):
    s = new_state(TOY)
    s.step, s.best = 12_000, .3125
    save_checkpoint(s, tmp_path/'best.pt')
    export(tmp_path/'best.pt', tmp_path/'voice', card='On my voice.')
    card = (tmp_path/'voice'/'README.md').read_text(encoding='utf-8')
    assert 'Trained for 12,000 steps; mel L1 on unseen utterances 0.3125, the best of its run.' in card
    assert 'On my voice.' in card
    assert '12,000 steps' in capsys.readouterr().out
    export(tmp_path/'voice', tmp_path/'again')
    assert '12,000 steps' in (tmp_path/'again'/'README.md').read_text(encoding='utf-8')

def test_onnx_says_what_others_read(tmp_path):
    onnx = pytest.importorskip('onnx')
    for half in (False, True):
        model = onnx.load(export_onnx(TOY, NEW, tmp_path/'v.onnx', half=half))
        notes = {o.key: o.value for o in model.metadata_props}
        assert notes['model_type']=='hifigan' and notes['sample_rate']=='22050' and notes['version']=='1'
        assert [len(o) for o in (model.graph.input, model.graph.output)]==[1, 1]
        assert open_checkpoint(tmp_path/'v.onnx')[0]==TOY

SHERPA = os.environ.get('SHERPA_PYTHON') or (sys.executable if importlib.util.find_spec('sherpa_onnx') else None)

@pytest.mark.skipif(not SHERPA, reason='sherpa-onnx is not installed (pip install sherpa-onnx, or SHERPA_PYTHON=...)')
@pytest.mark.parametrize('half', [False, True])
def test_sherpa_onnx_takes_it_as_a_vocoder(half, tmp_path):
    "Behind an acoustic model that answers any text with one mel"
    onnx = pytest.importorskip('onnx')
    export_onnx(TOY, NEW, tmp_path/'v.onnx', half=half)
    h, kinds, mel = onnx.helper, onnx.TensorProto, np.full((1,80,60), -6, '<f4')
    inputs = [('x', kinds.INT64, ['N','L']), ('x_length', kinds.INT64, ['N']), ('noise_scale', kinds.FLOAT, [1]),
              ('length_scale', kinds.FLOAT, [1])]
    node, entries = h.make_node('Identity', ['c'], ['mel']), [h.make_tensor_value_info(*o) for o in inputs]
    graph = h.make_graph([node], 'am', entries,
                         [h.make_tensor_value_info('mel', kinds.FLOAT, ['N',80,'L'])],
                         [h.make_tensor('c', kinds.FLOAT, mel.shape, mel.tobytes(), raw=True)])
    model = h.make_model(graph, ir_version=8, opset_imports=[h.make_opsetid('', 17)])
    h.set_model_props(model, dict(model_type='matcha-tts', language='English', voice='en-us', has_espeak='0', jieba='1',
                                  n_speakers='1', sample_rate='22050', version='1', pad_id='0', use_eos_bos='0'))
    onnx.save(model, tmp_path/'am.onnx')
    (tmp_path/'tokens.txt').write_text('_ 0\na 1\n')
    (tmp_path/'lexicon.txt').write_text('a a\n')
    program = ('import sys, numpy as np, sherpa_onnx as s\nd = sys.argv[1]\n'
               "m = s.OfflineTtsMatchaModelConfig(acoustic_model=d+'/am.onnx', vocoder=d+'/v.onnx',\n"
               "                                  lexicon=d+'/lexicon.txt', tokens=d+'/tokens.txt')\n"
               'tts = s.OfflineTts(s.OfflineTtsConfig(model=s.OfflineTtsModelConfig(matcha=m)))\n'
               "np.save(d+'/out.npy', tts.generate('a').samples)")
    env = {k: v for k,v in os.environ.items() if k!='PYTHONPATH'}
    done = subprocess.run([SHERPA, '-c', program, tmp_path], capture_output=True, text=True, env=env)
    assert done.returncode==0, done.stderr
    with torch.no_grad(): want = load_generator(TOY, NEW)(torch.from_numpy(mel))[0,0].numpy()
    got = np.load(tmp_path/'out.npy')
    assert len(got)==60*256 and np.abs(got-want).max()<.05

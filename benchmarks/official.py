"""The official HiFi-GAN code (github.com/jik876/hifi-gan) from a checkout on disk, made to run with today's librosa
and torch.

Nothing of it is part of this repository. Three calls that newer libraries refuse are mended in memory as the files
are read: `librosa.filters.mel` with positional arguments, `torch.stft` without `return_complex`, and the import of
matplotlib, which the step does not need."""
import sys, types
from pathlib import Path
from types import SimpleNamespace
import torch, torch.nn.functional as F
from hifigan_ruslan.config import official_dict
from hifigan_ruslan.model.weights import old_names

_MENDS = {
    'meldataset.py': (('mel_spectrogram', 'librosa_mel_fn(sampling_rate, n_fft, num_mels, fmin, fmax)',
                       'librosa_mel_fn(sr=sampling_rate, n_fft=n_fft, n_mels=num_mels, fmin=fmin, fmax=fmax)'),
                      ('mel_spectrogram', 'normalized=False, onesided=True)',
                       'normalized=False, onesided=True, return_complex=True)\n    spec = torch.view_as_real(spec)')),
    'utils.py': (('utils', 'import matplotlib\n', ''),
                 ('utils', 'matplotlib.use("Agg")\n', ''),
                 ('utils', 'import matplotlib.pylab as plt\n', ''))}

def _module(root, name):
    "One file of the checkout as a module of its own name, which the others then import"
    path = root/f'{name}.py'
    if not path.is_file():
        raise SystemExit(f'{root} is not a checkout of jik876/hifi-gan: it has no {path.name}. '
                         'Get it with: git clone https://github.com/jik876/hifi-gan')
    text = path.read_text(encoding='utf-8')
    for what,old,new in _MENDS.get(path.name, ()):
        if old not in text:
            raise SystemExit(f'{path}: the text that needs mending for newer libraries ({what}: {old!r}) '
                             'is not there; is it another version?')
        text = text.replace(old, new)
    module = types.ModuleType(name)
    sys.modules[name] = module
    exec(compile(text, str(path), 'exec'), module.__dict__)
    return module

def load(checkout # Folder of the official repository
        ): # Its modules: models, mel (meldataset), AttrDict
    "The official modules"
    root = Path(checkout)
    utils, env, models, mel = (_module(root, o) for o in ('utils', 'env', 'models', 'meldataset'))
    return SimpleNamespace(utils=utils, models=models, mel=mel, AttrDict=env.AttrDict)

def _shrunk(module, shrink):
    "A discriminator family with every layer's channels divided; the official classes have fixed sizes"
    from torch import nn
    norms = torch.nn.utils
    for d in module.discriminators:
        spectral = hasattr(d.convs[0], 'weight_u')
        def small(c, first, last):
            i, o = (1 if first else c.in_channels//shrink), (1 if last else c.out_channels//shrink)
            kw = dict(stride=c.stride, padding=c.padding, groups=min(c.groups, i))
            new = (nn.Conv2d if isinstance(c, nn.Conv2d) else nn.Conv1d)(i, o, c.kernel_size, **kw)
            return (norms.spectral_norm if spectral else norms.weight_norm)(new)
        d.convs = nn.ModuleList(small(c, i==0, False) for i,c in enumerate(d.convs))
        d.conv_post = small(d.conv_post, False, True)
    return module

def ready(code, h, state # What `load` returned, the official configuration as a dict, official weights
         ):
    "The official generator, made ready the way the official inference.py does"
    g = code.models.Generator(code.AttrDict(h))
    g.load_state_dict(state)
    g.eval()
    g.remove_weight_norm()
    return g

class Official:
    "Models, optimisers and the step of the official train.py, on any device"
    def __init__(self, code, cfg, device='cpu'):
        self.code, self.device, self.h = code, torch.device(device), code.AttrDict(official_dict(cfg))
        m = code.models
        torch.manual_seed(cfg.seed)
        self.generator = m.Generator(self.h).to(device)
        self.mpd, self.msd = (_shrunk(o, cfg.disc_shrink).to(device) if cfg.disc_shrink>1 else o.to(device)
                              for o in (m.MultiPeriodDiscriminator(), m.MultiScaleDiscriminator()))
        betas = [self.h.adam_b1, self.h.adam_b2]
        self.optim_g = torch.optim.AdamW(self.generator.parameters(), self.h.learning_rate, betas=betas)
        self.optim_d = torch.optim.AdamW([*self.msd.parameters(), *self.mpd.parameters()],
                                         self.h.learning_rate, betas=betas)

    def mel(self, wav, fmax):
        h = self.h
        return self.code.mel.mel_spectrogram(wav.squeeze(1), h.n_fft, h.num_mels, h.sampling_rate, h.hop_size,
                                             h.win_size, h.fmin, fmax)

    def start_from(self, s # A TrainState of ours
                  ):
        "Take over our weights, so that both do the same step"
        for name in ('generator', 'mpd', 'msd'):
            getattr(self, name).load_state_dict(old_names(s.networks()[name].state_dict()))
        return self

    def step(self, wav, marks=None, autocast=None):
        "One step in the order of the official train.py; `marks(name)` is called after each part. Returns the losses"
        h, m = self.h, self.code.models
        mark = marks or (lambda name: None)
        amp = torch.autocast(self.device.type, autocast, enabled=autocast is not None)
        x = self.mel(wav, h.fmax)
        y_mel = self.mel(wav, h.fmax_for_loss) # the official code makes both in its data loader
        mark('mel')
        with amp: y_hat = self.generator(x)
        mark('G forward')
        y_hat_mel = self.mel(y_hat.float(), h.fmax_for_loss)
        mark('mel')
        self.optim_d.zero_grad()
        with amp:
            r_f, g_f, _, _ = self.mpd(wav, y_hat.detach())
            mark('D turn: MPD forward')
            r_s, g_s, _, _ = self.msd(wav, y_hat.detach())
            mark('D turn: MSD forward')
            disc = m.discriminator_loss(r_f, g_f)[0] + m.discriminator_loss(r_s, g_s)[0]
        disc.backward()
        mark('D turn: backward')
        self.optim_d.step()
        mark('optimisers')
        self.optim_g.zero_grad()
        mel = F.l1_loss(y_mel, y_hat_mel)
        with amp:
            _, g_f, fr_f, fg_f = self.mpd(wav, y_hat)
            mark('G turn: MPD forward')
            _, g_s, fr_s, fg_s = self.msd(wav, y_hat)
            mark('G turn: MSD forward')
            gen = m.generator_loss(g_f)[0] + m.generator_loss(g_s)[0]
            fm = m.feature_loss(fr_f, fg_f) + m.feature_loss(fr_s, fg_s)
        (gen + fm + 45*mel).backward()
        mark('G turn: backward')
        self.optim_g.step()
        mark('optimisers')
        return dict(disc=disc, gen=gen, fm=fm/2, mel=mel)

"What is beside the notebooks: README, metadata of the Kaggle kernel, bundled clips, versions, commands"
import csv, importlib, json, re, runpy, shlex, subprocess, sys
from configparser import ConfigParser
from importlib.metadata import version
from pathlib import Path
import pytest, soundfile as sf
import hifigan_ruslan

ROOT = Path(__file__).parent.parent
CLIPS = ROOT/'hifigan_ruslan'/'clips'
config = ConfigParser(delimiters=['='])
config.read(ROOT/'settings.ini', encoding='utf-8')
settings = config['DEFAULT']
commands = dict(o.split('=') for o in settings['console_scripts'].split())

# Names: a notebook's own test does not see that an exported cell uses what only a hidden one imports

def python(*args):
    "What the Python of these tests says to such arguments"
    return subprocess.run([sys.executable, *map(str, args)], capture_output=True, text=True, encoding='utf-8')

@pytest.mark.parametrize('folder', ['hifigan_ruslan', 'benchmarks', 'tests', 'tools'])
def test_no_name_is_missing_or_idle(folder):
    done = python('-m', 'pyflakes', ROOT/folder)
    # the texts in fastcore's Param are no annotations
    found = [o for o in (done.stdout+done.stderr).splitlines() if 'forward annotation' not in o]
    assert found==[]

# README

def run_readme(*args): return python(ROOT/'tools'/'readme.py', *args)

def test_readme_is_fresh():
    done = run_readme('--check')
    assert done.returncode==0, done.stdout+done.stderr

def test_readme_check_sees_a_change(tmp_path):
    readme = tmp_path/'README.md'
    assert run_readme('--readme', readme).returncode==0
    assert run_readme('--readme', readme, '--check').returncode==0
    readme.write_text(readme.read_text(encoding='utf-8').replace('## Licences', '## Licenses'), encoding='utf-8')
    done = run_readme('--readme', readme, '--check')
    assert done.returncode==1 and '-## Licenses' in done.stdout and 'run python tools/readme.py' in done.stderr

def test_readme_cells():
    cell_md = runpy.run_path(str(ROOT/'tools'/'readme.py'))['cell_md']
    def code(src): return cell_md(dict(cell_type='code', source=src))
    assert code('#| hide\nx = 1')==code('#| export\ndef f(): pass')==code('')==''
    assert code(['#| echo: false\n', 'x = 1'])=='```python\nx = 1\n```'
    def prose(src): return cell_md(dict(cell_type='markdown', source=src))
    assert prose('see [mel](20_mel.ipynb)')=='see [mel](nbs/20_mel.ipynb)'
    assert prose('[a](index_ru.ipynb) [b](../docs/pages/tts.md)')=='[a](README.ru.md) [b](docs/pages/tts.md)'

READMES = pytest.mark.parametrize('name', ['README.md', 'README.ru.md'])

@READMES
def test_readme_starts_with_the_two_commands(name):
    top = (ROOT/name).read_text(encoding='utf-8').splitlines()[:25]
    assert 'python3 -m venv .venv && .venv/bin/pip install -e . && .venv/bin/hifigan-demo' in top
    assert "python3 -m venv .venv && .venv/bin/pip install -e '.[dev]' && .venv/bin/python -m pytest" in top

@READMES
def test_readme_links_and_commands(name):
    text = (ROOT/name).read_text(encoding='utf-8')
    local = [l for l in re.findall(r'\]\(([^)#]+)', text) if '://' not in l]
    assert local and [l for l in local if not (ROOT/l).exists()]==[]
    assert set(re.findall(r'hifigan-[a-z]+', text))==set(commands)

# Kaggle

def test_kernel_metadata():
    meta = json.loads((ROOT/'kernel-metadata.json').read_text(encoding='utf-8'))
    owner, slug = meta['id'].split('/')
    # else Kaggle makes a second kernel from the title
    assert owner and slug==re.sub(r'[^a-z0-9]+', '-', meta['title'].lower()).strip('-')
    assert 5<=len(meta['title'])<=50
    assert (meta['language'], meta['kernel_type']) == ('python', 'notebook') and meta['code_file'].endswith('.ipynb')
    assert meta['enable_gpu'] is True and meta['machine_shape']=='NvidiaTeslaT4'
    assert meta['enable_internet'] is False and meta['is_private'] is True
    assert (ROOT/meta['code_file']).is_file() and meta['dataset_sources']==['freezerainml/ruslan']
    for k in ('dataset_sources', 'competition_sources', 'kernel_sources', 'model_sources', 'keywords'):
        assert isinstance(meta[k], list), k
    assert all(re.fullmatch(r'[\w-]+/[\w-]+', s) for s in meta['dataset_sources'])

# bundled clips

def test_clips_are_small_and_carry_their_notice():
    assert sum(p.stat().st_size for p in CLIPS.iterdir())<=2_000_000
    notice = (CLIPS/'README.txt').read_text(encoding='utf-8')
    for words in ('Nickolay V. Shmyrev  Copyright (c) 2005', 'Permission is hereby granted',
                  'Any modifications must be clearly marked', 'DISCLAIM ALL WARRANTIES', 'What we changed'):
        assert words in notice, words

def test_clips_and_texts_agree():
    lines = (CLIPS/'metadata.csv').read_text(encoding='utf-8').splitlines()
    texts = dict(csv.reader(lines, delimiter='|', quoting=csv.QUOTE_NONE))
    assert sorted(texts)==sorted(p.stem for p in CLIPS.glob('*.flac')) and len(texts)==12
    assert all(re.search('[а-яё]{3}', t) for t in texts.values())
    for i in texts:
        info = sf.info(CLIPS/f'{i}.flac')
        assert (info.samplerate, info.channels, info.subtype)==(16000, 1, 'PCM_16') and 3<info.duration<7.5, i

# package

def test_versions_agree():
    assert settings['version']==hifigan_ruslan.__version__==version('hifigan_ruslan')

def test_python_is_supported():
    assert sys.version_info>=tuple(map(int, settings['min_python'].split('.')))

def test_torch_and_torchaudio_are_a_pair():
    release = lambda name: version(name).split('+')[0].split('.')[:2]
    assert release('torch')==release('torchaudio')
    importlib.import_module('torchaudio') # its library is looked up in torch's here: a mixed pair ends with OSError

def test_pins_that_only_work_together():
    "execnb 0.2 and fastcore 2 break nbdev 2; torchaudio 2.11.1 was built for torch 2.12"
    asked = [o for k in ('requirements', 'dev_requirements') for o in shlex.split(settings[k])]
    bounds = dict(re.match(r'([\w-]+)(.*)', o).groups() for o in asked)
    assert (bounds['torch'], bounds['torchaudio'])==('>=2.6,<2.12', '>=2.6,<2.11.1')
    assert '<3' in bounds['nbdev'] and '<0.2' in bounds['execnb']
    assert '<2' in bounds['fastcore'] and '<2' in bounds['ghapi']

@pytest.mark.parametrize('name', commands)
def test_command_exists(name):
    module, function = commands[name].split(':')
    assert callable(getattr(importlib.import_module(module), function))

def test_the_package_is_found_beside_a_folder_of_its_name(tmp_path):
    "As in the folder above a clone, whose own folder of that name must not be taken for the package"
    (tmp_path/'hifigan_ruslan').mkdir()
    code = 'import hifigan_ruslan; print(hifigan_ruslan.__version__)'
    p = subprocess.run([sys.executable, '-c', code], cwd=tmp_path, capture_output=True, text=True)
    assert p.stdout.strip(), p.stderr

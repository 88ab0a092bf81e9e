"Every notebook, run as nbdev_test runs it. NB_FLAGS='slow gpu data' runs the cells under these flags too"
import os
import pytest
from nbdev.config import get_config
from nbdev.test import test_nb as run_nb

run_nb.__test__ = False # nbdev's function, not a test of ours
cfg = get_config()
notebooks = sorted(cfg.nbs_path.glob('[!_.]*.ipynb'))

def test_found():
    assert len(notebooks)>5, f'{cfg.nbs_path} holds only {notebooks}'

@pytest.mark.parametrize('path', notebooks, ids=lambda p: p.stem)
def test_notebook(path, capsys):
    passed, _ = run_nb(path.absolute(), skip_flags=cfg.tst_flags.split(),
                       force_flags=os.environ.get('NB_FLAGS', '').split(), basepath=cfg.config_path)
    if not passed: pytest.fail(capsys.readouterr().err or f'{path.name} failed', pytrace=False)

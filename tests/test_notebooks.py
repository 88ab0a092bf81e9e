"""Every notebook, run as nbdev_test runs it, with a limit for each cell: one that hangs fails and is named,
instead of stopping everything.
NB_FLAGS='slow gpu data' runs the cells under these flags too; NB_CELL_SECONDS is the limit"""
import json, os
from functools import partial
import nbdev.test, pytest
from nbdev.config import get_config
from nbdev.test import test_nb as run_nb

run_nb.__test__ = False # nbdev's function, not a test of ours
# The longest cell takes some 40 s alone, and the longest slow one some minutes
CELL_SECONDS = int(os.environ.get('NB_CELL_SECONDS', 1800))
cfg = get_config()
notebooks = sorted(cfg.nbs_path.glob('[!_.]*.ipynb'))

def run(path, seconds, **kwargs):
    "Did the notebook pass, with so much time for each cell?"
    with pytest.MonkeyPatch.context() as m:
        m.setattr(nbdev.test, 'CaptureShell', partial(nbdev.test.CaptureShell, timeout=seconds))
        return run_nb(path.absolute(), basepath=cfg.config_path, **kwargs)[0]

def test_found():
    assert len(notebooks)>5, f'{cfg.nbs_path} holds only {notebooks}'

@pytest.mark.parametrize('path', notebooks, ids=lambda p: p.stem)
def test_notebook(path, capsys):
    flags = os.environ.get('NB_FLAGS', '').split()
    if run(path, CELL_SECONDS, skip_flags=cfg.tst_flags.split(), force_flags=flags): return
    said = capsys.readouterr().err or f'{path.name} failed'
    if 'TimeoutError' in said:
        said += f'\nIf a cell took more than {CELL_SECONDS} s: NB_CELL_SECONDS=N gives it more time'
    pytest.fail(said, pytrace=False)

def test_a_cell_that_hangs_is_stopped_and_named(tmp_path, capsys):
    cells = [dict(cell_type='code', id=f'c{i}', metadata={}, outputs=[], execution_count=None, source=s)
             for i,s in enumerate(['import time', 'while True: time.sleep(.01) # for ever'])]
    path = tmp_path/'hangs.ipynb'
    path.write_text(json.dumps(dict(cells=cells, metadata={}, nbformat=4, nbformat_minor=5)))
    assert not run(path, 1)
    said = capsys.readouterr().err
    assert 'TimeoutError' in said and 'Cell #2' in said and 'for ever' in said

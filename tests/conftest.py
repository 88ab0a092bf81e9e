"What several test files share"
import importlib, os, shutil
import pytest

if workers := os.environ.get('PYTEST_XDIST_WORKER_COUNT'): # before torch: more threads only get into each other's way
    os.environ.setdefault('OMP_NUM_THREADS', str(max(1, os.cpu_count()//int(workers))))
    importlib.import_module('torchaudio') # now: where it does not go with torch, that is said at once

CHROMIUM = next(filter(None, map(shutil.which, ('chromium', 'chromium-browser', 'google-chrome'))), None)
ARGS = ('--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking '
        '--disable-component-update --disable-sync --autoplay-policy=no-user-gesture-required '
        '--use-fake-device-for-media-stream --use-fake-ui-for-media-stream').split()

@pytest.fixture(scope='module') # not longer: playwright keeps an event loop, which the notebooks' tests would meet
def browser():
    "A real Chromium; without it, or without playwright, the test is skipped"
    if not CHROMIUM: pytest.skip('no Chromium is installed')
    sync_api = pytest.importorskip('playwright.sync_api', reason='the package playwright is not installed')
    with sync_api.sync_playwright() as p:
        b = p.chromium.launch(executable_path=CHROMIUM, args=ARGS)
        yield b
        b.close()

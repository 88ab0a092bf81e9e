"""The blind test in a real browser: opened from a file, taken to the end with the keyboard only, its CSV read back.
Skipped without Chromium or playwright"""
import json, time
import numpy as np, pytest
from hifigan_ruslan.listening.ratings import ListeningSession, ratings_name, read_ratings, results
from hifigan_ruslan.listening.listening_test import blind_page, make_test

RATE, WHO = 16000, 'Вася "../<b>'
CLIPS = ['речь <i>1</i>', 'ru_0002']

def waves(k):
    rng = np.random.default_rng(k)
    return {c: (rng.standard_normal(RATE//2)*.1).clip(-1, 1).astype(np.float32) for c in CLIPS}

@pytest.fixture(scope='module')
def tests(tmp_path_factory):
    folder = tmp_path_factory.mktemp('тесты')
    def make(kind, **kw):
        return make_test(folder/kind, kind, {'ГАН "1/2"': waves(1), '<script>': waves(2)}, CLIPS, RATE,
                         reference=waves(0), **kw)
    return dict(abx=make('abx', repeats=2), mos=make('mos'), mushra=make('mushra', anchor=True))

@pytest.fixture
def opened(browser, tmp_path):
    "Function that opens the page of a test; afterwards nothing may have been complained about or asked from outside"
    wrong, contexts = [], []
    def f(test, lang='en', init='', width=1200, **kw):
        contexts.append(browser.new_context(viewport=dict(width=width, height=900), accept_downloads=True))
        tab = contexts[-1].new_page()
        tab.set_default_timeout(10_000)
        tab.on('console', lambda m: wrong.append(m.text) if m.type in ('error', 'warning') else None)
        tab.on('pageerror', lambda e: wrong.append(str(e)))
        tab.on('request', lambda r: wrong.append(r.url[:80])
               if not r.url.startswith(('file:', 'data:', 'blob:', 'about:')) else None)
        if init: tab.add_init_script(init)
        tab.goto(blind_page(test, tmp_path/'тест.html', lang, **kw).as_uri())
        return tab
    yield f
    for c in contexts: c.close()
    assert wrong==[]

def until(tab, js, seconds=600):
    "Wait until an expression is true; playwright's own wait_for_function needs eval, which the page's policy forbids"
    end = time.monotonic()+seconds
    while not tab.evaluate(js):
        shown = 'the page shows ' + tab.inner_text("main")[:300] if time.monotonic()>=end else ''
        assert not shown, f'{js} is not true after {seconds} s; {shown}'
        time.sleep(.01)

def begin(tab, who=WHO):
    tab.keyboard.insert_text(who) # the field has the focus
    tab.keyboard.press('Enter')
    until(tab, '!document.querySelector("form")')

def listen(tab):
    "Hear every version; gives their labels"
    names = tab.locator('.tracks button').all_inner_texts()
    for i,l in enumerate(names):
        tab.keyboard.press(l.lower())
        until(tab, f'document.querySelectorAll(".tracks button")[{i}].classList.contains("heard")')
    return names

def answer(tab, kind, k):
    "Answer the trial on the screen by keys; gives what was answered"
    assert not tab.locator('button.main').is_enabled()
    tab.keyboard.press('Enter') # does nothing yet
    names = listen(tab)
    assert not tab.locator('button.main').is_enabled()
    if kind=='mushra':
        out = {}
        for i,l in enumerate(n for n in names if n!='R'):
            tab.keyboard.press(l.lower())
            for key in ['End'] + ['ArrowLeft']*(i+k): tab.keyboard.press(key)
            out[l] = 100-i-k
    else:
        digit = k%(2 if kind=='abx' else 5)+1
        tab.keyboard.press(f'Digit{digit}')
        out = 'AB'[digit-1] if kind=='abx' else digit
    before = tab.inner_text('h1, h2')
    tab.keyboard.press('Enter')
    until(tab, f'document.querySelector("h1, h2").innerText !== {json.dumps(before)}')
    return out

@pytest.mark.parametrize('kind', ['abx', 'mos', 'mushra'])
def test_taken_to_the_end_with_the_keyboard(tests, opened, tmp_path, kind):
    test = tests[kind]
    plan = test.trials(WHO)
    tab = opened(test, 'ru' if kind=='mos' else 'en')
    begin(tab)
    given = [answer(tab, kind, k) for k in range(len(plan)-1)]
    with tab.expect_download() as got: given.append(answer(tab, kind, len(plan)-1))
    assert got.value.suggested_filename==ratings_name(WHO)
    got.value.save_as(tmp_path/'ratings'/ratings_name(WHO))
    rows = read_ratings(tmp_path/'ratings')
    assert rows.problems==[] and [r['answer'] for r in rows]==given
    assert [(r['trial'], r['clip'], r['order'], r['x']) for r in rows]==[(t.number, t.clip, t.order, t.x) for t in plan]
    assert {(r['test'], r['listener'], r['kind']) for r in rows}=={(test.id, WHO, kind)}
    assert [r['position'] for r in rows]==list(range(1, len(plan)+1))
    assert all(set(r['plays'])==set(t.labels) and min(r['plays'].values())>=1 and r['seconds']>=0
               for r,t in zip(rows, plan))
    assert results(rows)['n']==len(plan)
    session = ListeningSession(test, WHO, tmp_path/'ratings')
    assert session.done # a session goes on where the page ended, since it is the same order
    shown = tab.inner_text('main')
    assert '%' not in shown and not any(s in shown for s in test.systems)
    assert tab.evaluate('blindTest.done')

def test_same_chance_as_python(tests, opened):
    tab = opened(tests['abx'], trials=7)
    for who in ['', 'Аня', '😀 x', WHO, 'a'*80]:
        if not who: continue
        theirs = [(t['number'], t['clip'], tuple(t['order']), t['x'])
                  for t in tab.evaluate('w => blindTest.plan(w)', who)]
        assert theirs==[(t.number, t.clip, t.order, t.x) for t in tests['abx'].trials(who, 7)]

def test_reload_loses_nothing(tests, opened, tmp_path):
    tab = opened(tests['mushra'])
    asked = []
    tab.on('dialog', lambda d: (asked.append(d.type), d.accept()))
    begin(tab, 'Аня')
    first = answer(tab, 'mushra', 0)
    tab.reload()
    assert asked==['beforeunload']
    begin(tab, 'Оля') # somebody else begins at the beginning
    assert '1 of 2' in tab.inner_text('h2')
    tab.reload()
    assert asked==['beforeunload'] # nothing was answered under this name
    begin(tab, '  Аня ')
    assert '2 of 2' in tab.inner_text('h2')
    with tab.expect_download() as got: tab.get_by_role('button', name='Save what I have').press('Enter')
    got.value.save_as(tmp_path/'a.csv')
    tab.locator('h2').focus() # where Enter means next, and not save
    rows = read_ratings(tmp_path/'a.csv')
    assert [r['answer'] for r in rows]==[first] and rows.problems==[]
    with tab.expect_download() as got: second = answer(tab, 'mushra', 3)
    got.value.save_as(tmp_path/'b.csv')
    rows = read_ratings([tmp_path/'a.csv', tmp_path/'b.csv'])
    assert [r['answer'] for r in rows]==[first, second] and rows.problems==[] # what is in both counts once

def test_without_a_store(tests, opened):
    refusing = "{get() { throw new DOMException('no', 'SecurityError') }}"
    tab = opened(tests['mos'], init=f"Object.defineProperty(window, 'localStorage', {refusing})")
    begin(tab)
    assert 'cannot keep answers' in tab.inner_text('[role=alert]')
    answer(tab, 'mos', 2)
    assert tab.evaluate('blindTest.rows.length')==1

def test_damaged_store_and_no_name(tests, opened):
    tab = opened(tests['mos'])
    tab.on('dialog', lambda d: d.accept())
    tab.keyboard.press('Enter')
    assert tab.locator('form').count()==1 # the field is required
    for who,damaged in (('a', '{"rows": [{"trial": 0, "order": ["x"]}]}'), ('b', '{"rows": [nu'),
                        ('c', '{"rows": [null]}'), ('d', '7')):
        tab.evaluate('([id, who, text]) => localStorage.setItem(`hifigan-blind ${id} ${who}`, text)',
                     [tests['mos'].id, who, damaged])
        begin(tab, who)
        assert '1 of 6' in tab.inner_text('h2')
        answer(tab, 'mos', 1)
        tab.reload()
        begin(tab, who)
        assert '2 of 6' in tab.inner_text('h2')
        tab.reload()

def test_two_tabs_of_one_listener(tests, opened):
    a = opened(tests['mos'])
    b = a.context.new_page()
    b.goto(a.url)
    for tab in (a, b): begin(tab)
    answer(a, 'mos', 0)
    answer(a, 'mos', 1)
    answer(b, 'mos', 2) # of the first trial, once more
    assert '3 of 6' in b.inner_text('h2') and b.evaluate('blindTest.rows.length')==2

def test_switch_changes_gains_only(tests, opened):
    tab = opened(tests['abx'])
    begin(tab)
    tab.evaluate('stepPlayers[0].loop(true)')
    tab.keyboard.press('a')
    until(tab, 'stepPlayers[0].status === "playing"')
    assert tab.evaluate("""() => {
        const p = stepPlayers[0], voices = p.voices
        document.body.dispatchEvent(new KeyboardEvent('keydown', {key: 'ч', code: 'KeyX', bubbles: true}))
        // the X key of a Russian keyboard; the same sources run on
        return p.track === 2 && voices.length === 3 && voices === p.voices }""")
    until(tab, '(g => g[2] > .99 && g[0] < .01)(stepPlayers[0].state.gains)')
    assert tab.evaluate('stepPlayers.length')==1

def test_nothing_tells_which_is_which(tests, opened):
    for kind in ('abx', 'mos', 'mushra'):
        tab = opened(tests[kind])
        begin(tab)
        seen = tab.evaluate('document.querySelector("main").cloneNode(true).outerHTML')
        for tell in ('ГАН', 'anchor', 'ru_0002', 'речь', 'audio/', '&lt;script'): assert tell not in seen, seen[:500]
        assert tab.locator('a[href], audio, img').count()==0

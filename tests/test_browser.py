"The pages in a real browser, from a file: sound, keyboard, no network. Skipped without Chromium or playwright"
import math, re, time
from dataclasses import dataclass
import numpy as np, pytest
from hifigan_ruslan.listening.player import Track, frame, page, player, spectrogram_png
from hifigan_ruslan.listening.report import report
from hifigan_ruslan.evaluation.systems import System

RATE = 16000
rng = np.random.default_rng(0)
NOISES = [(rng.standard_normal(RATE*4)*.1).clip(-1, 1).astype(np.float32) for _ in range(3)]
EVIL = '<b>x</b> "Вася" / \'&amp; </script><script>boom()</script>'

# What goes to the loudspeaker is recorded block by block, without gaps, before the page's own script runs
TAPE = '''window.tape = []
const connect = AudioNode.prototype.connect
AudioNode.prototype.connect = function(to, ...rest) {
  if (to instanceof AudioDestinationNode && !(this instanceof ScriptProcessorNode)) {
    const c = this.context
    if (!c.ear) {
      c.ear = c.createScriptProcessor(4096, 1, 1)
      c.ear.onaudioprocess = e => tape.push(...e.inputBuffer.getChannelData(0))
      connect.call(c.ear, to)
    }
    connect.call(this, c.ear)
  }
  return connect.call(this, to, ...rest)
}'''

@pytest.fixture
def opened(browser, tmp_path):
    "Function that opens HTML from a file; afterwards nothing may have been complained about or asked from outside"
    wrong, contexts = [], []
    def f(html, width=1200, height=900, **kw):
        path = tmp_path/'страница 1.html'
        path.write_text(html, encoding='utf-8')
        contexts.append(browser.new_context(viewport=dict(width=width, height=height), **kw))
        tab = contexts[-1].new_page()
        tab.set_default_timeout(600_000)
        tab.on('console', lambda m: wrong.append(m.text) if m.type in ('error', 'warning')
               and 'ScriptProcessor' not in m.text else None)
        tab.on('pageerror', lambda e: wrong.append(str(e)))
        tab.on('request',
               lambda r: wrong.append(r.url[:80]) if not r.url.startswith(('file:', 'data:', 'about:')) else None)
        tab.add_init_script(TAPE)
        tab.goto(path.as_uri())
        return tab
    yield f
    for c in contexts: c.close()
    assert wrong==[]

def tracks(n=3, **kw): return [Track(f'система {i}', x, **kw) for i,x in enumerate(NOISES[:n])]
def state(tab, i=0): return tab.evaluate(f'stepPlayers[{i}].state')
def until(tab, js, seconds=600):
    "Wait until an expression is true; playwright's own wait_for_function needs eval, which the page's policy forbids"
    end = time.monotonic()+seconds
    while not tab.evaluate(js):
        late = time.monotonic()>=end
        assert not late, f'{js} is not true after {seconds} s: {tab.evaluate("stepPlayers.map(p => p.state)")}'
        time.sleep(.02)
def wait_status(tab, status, i=0): until(tab, f'stepPlayers[{i}].status === {status!r}')
def tape(tab): return np.array(tab.evaluate('tape'), np.float32)
def parts(tab): return tab.locator('.player').first

def where(heard, noise, block=512):
    "For each block of the tape that lies wholly in `noise` at its own level: (place on the tape, place in the noise)"
    out = []
    size = 2**int(np.ceil(np.log2(len(noise)+block)))
    spectrum = np.fft.rfft(noise, size)
    for s in range(0, len(heard)-block, block):
        x = heard[s:s+block]
        if not x.any(): continue
        c = np.fft.irfft(spectrum*np.fft.rfft(x, size).conj(), size)[:len(noise)-block]
        k = int(c.argmax())
        if np.abs(x-noise[k:k+block]).max()<1e-3: out.append((s, k))
    return out

def test_switch_keeps_the_sample(opened):
    "What is heard of the second track lies exactly where the first one would have gone on"
    tab = opened(page('t', player(tracks(), RATE)))
    parts(tab).locator('.play').click()
    wait_status(tab, 'playing')
    until(tab, 'stepPlayers[0].time > 1')
    parts(tab).locator('.tracks button').nth(1).click()
    until(tab, 'stepPlayers[0].time > 2')
    tab.evaluate('stepPlayers[0].choose(2)')
    wait_status(tab, 'ended')
    tab.wait_for_timeout(600)
    heard = tape(tab)
    found = [where(heard, x) for x in NOISES]
    print('blocks heard', [len(f) for f in found], 'first and last of each track on the tape',
          [(f[0][0], f[-1][0]) for f in found])
    assert all(len(f)>10 for f in found)
    assert len({s-k for f in found for s,k in f})==1 # one offset between tape and noise, for all three tracks
    gap = found[1][0][0]-found[0][-1][0]
    assert gap<=RATE*.15 # the fade, in blocks

def test_play_pause_seek_and_end(opened):
    tab = opened(page('t', player([Track('a', NOISES[0]), Track('b', NOISES[1][:RATE])], RATE)))
    assert state(tab)==dict(status='ready', time=0, track=0, duration=4, gains=[])
    place = lambda: [parts(tab).locator(s).bounding_box() for s in ('.play', '.loop', '.tracks', '.picture')]
    before = place()
    tab.evaluate('stepPlayers[0].play()')
    wait_status(tab, 'playing')
    assert place()==before # what one wants to press next does not move
    until(tab, 'stepPlayers[0].time > .3')
    assert state(tab)['gains']==[1, 0]
    tab.evaluate('stepPlayers[0].choose(1)')
    tab.wait_for_timeout(200)
    np.testing.assert_allclose(state(tab)['gains'], [0, 1], atol=1e-3)
    tab.evaluate('stepPlayers[0].pause()')
    t = state(tab)['time']
    tab.wait_for_timeout(200)
    assert state(tab)['status']=='paused' and state(tab)['time']==t and state(tab)['track']==1
    tab.evaluate('stepPlayers[0].seek(3)')
    assert state(tab)['time']==3
    tab.evaluate('stepPlayers[0].play()')
    until(tab, 'stepPlayers[0].time > 3.2') # the short track is silent there
    tab.evaluate('stepPlayers[0].seek(3.8)')
    assert state(tab)['status']=='playing'
    wait_status(tab, 'ended')
    assert state(tab)['time']==4
    tab.evaluate('stepPlayers[0].play()')
    until(tab, 'stepPlayers[0].time > 0 && stepPlayers[0].time < 1') # from the beginning
    for _ in range(20):
        tab.evaluate('stepPlayers[0].seek(Math.random()*4); stepPlayers[0].choose(0); stepPlayers[0].pause(); '
                     'stepPlayers[0].play(); stepPlayers[0].choose(1)')
    wait_status(tab, 'playing')
    tab.evaluate('stepPlayers[0].choose(7)')
    assert state(tab)['track']==1
    tab.evaluate('stepPlayers[0].pause(); stepPlayers[0].play(); stepPlayers[0].pause()')
    tab.wait_for_timeout(200)
    assert state(tab)['status']=='paused' # what was ordered last counts, also while it loads
    parts(tab).locator('.loop').click()
    tab.evaluate('stepPlayers[0].seek(3.7); stepPlayers[0].play()')
    until(tab, 'stepPlayers[0].time < 1')
    assert state(tab)['status']=='playing'

def test_keyboard_only(opened):
    tab = opened(page('t', player([Track(f't{i}', NOISES[0]) for i in range(12)], RATE)))
    press = tab.keyboard.press
    def focus(): return tab.evaluate('(e => e.className || e.dataset.name || e.tagName)(document.activeElement)')
    press('Tab')
    assert focus()=='play'
    assert tab.evaluate("getComputedStyle(document.activeElement).outlineStyle")=='solid'
    press('Enter')
    wait_status(tab, 'playing')
    press('3')
    assert state(tab)['track']==2
    press('Space')
    assert state(tab)['status']=='paused'
    press('Tab')
    assert focus()=='loop'
    seen = []
    for _ in range(12):
        press('Tab')
        seen.append(focus())
    assert seen==[f't{i}' for i in range(12)]
    press('Enter')
    assert state(tab)['track']==11
    press('Tab')
    assert focus()=='picture'
    press('Home')
    assert state(tab)['time']==0
    press('ArrowRight')
    press('ArrowRight')
    assert state(tab)['time']==2
    press('ArrowLeft')
    assert state(tab)['time']==1
    press('End')
    assert state(tab)['time']==4
    assert parts(tab).locator('.picture').get_attribute('aria-valuenow')=='4.0'
    press('Home')
    press('Space')
    wait_status(tab, 'playing')
    press('Space')
    assert state(tab)['status']=='paused'
    press('Control+2')
    press('0')
    assert state(tab)['track']==11
    press('Numpad2')
    assert state(tab)['track']==1

def test_screen_reader_texts(opened):
    tab = opened(page('t', player(tracks(), RATE, lang='ru'), 'ru'))
    live, play = parts(tab).locator('.state'), parts(tab).locator('.play')
    assert live.inner_text()=='готово: система 0' and live.get_attribute('aria-live')=='polite'
    assert play.get_attribute('aria-label')=='Слушать'
    play.click()
    wait_status(tab, 'playing')
    assert live.inner_text()=='звучит: система 0' and play.get_attribute('aria-label')=='Пауза'
    tab.keyboard.press('2')
    assert live.inner_text()=='звучит: система 1'
    pressed = parts(tab).locator('.tracks button').evaluate_all('bs => bs.map(b => b.ariaPressed)')
    assert pressed==['false', 'true', 'false']
    assert re.fullmatch(r'\d,\d / 4,0 с', parts(tab).locator('.time').inner_text())

def test_pictures(opened):
    shown = [Track('a', NOISES[0], spectrogram_png(NOISES[0], RATE)),
             Track('b', NOISES[1][:RATE], spectrogram_png(NOISES[1][:RATE], RATE)), Track('c', NOISES[2])]
    tab = opened(page('t', player(shown, RATE)))
    visible = lambda: parts(tab).locator('.picture [data-track]').evaluate_all('ps => ps.map(p => p.offsetWidth)')
    wide = parts(tab).locator('.sheet').evaluate('p => p.offsetWidth')
    assert visible()==[wide, 0, 0]
    tab.evaluate('stepPlayers[0].choose(1)')
    assert abs(visible()[1]-wide/4)<=1 and visible()[0]==0 # a quarter of the time, a quarter of the width
    tab.evaluate('stepPlayers[0].choose(2)')
    assert visible()[:2]==[0, 0] and visible()[2]>0
    box = parts(tab).locator('.picture').bounding_box()
    tab.mouse.click(box['x']+box['width']*.75, box['y']+box['height']/2)
    assert abs(state(tab)['time']-3)<.02
    assert parts(tab).locator('.cursor').evaluate('c => c.style.left').startswith('7')

def test_one_at_a_time(opened):
    "Also across the frames of a notebook"
    body = player(tracks(1), RATE, 'one') + player(tracks(2), RATE, 'two')
    body += frame(player(tracks(1), RATE, 'three')) + frame(player(tracks(1), RATE, 'four'))
    tab = opened(re.sub('<meta http-equiv[^\n]*', '', page('t', body))) # a notebook has no such policy
    inner = [f for f in tab.frames if f.parent_frame]
    assert len(inner)==2
    tab.evaluate('stepPlayers[0].play()')
    wait_status(tab, 'playing')
    tab.evaluate('stepPlayers[1].play()')
    wait_status(tab, 'playing', 1)
    assert state(tab)['status']=='paused'
    inner[0].evaluate('stepPlayers[0].play()')
    wait_status(tab, 'paused', 1)
    until(inner[0], 'stepPlayers[0].status === "playing"')
    inner[1].evaluate('stepPlayers[0].play()')
    until(inner[0], 'stepPlayers[0].status === "paused"')
    tab.evaluate('stepPlayers[0].play()')
    until(inner[1], 'stepPlayers[0].status === "paused"')

def test_names_are_text_and_foreign_scripts_do_not_run(opened):
    tab = opened(page(EVIL, player([Track(EVIL, NOISES[0])], RATE, EVIL, EVIL)))
    assert tab.title()==EVIL and tab.locator('h1').inner_text()==EVIL and tab.locator('h3').inner_text()==EVIL
    assert parts(tab).locator('.tracks button').inner_text().endswith(EVIL)
    assert parts(tab).locator('.state').inner_text()=='ready: '+EVIL

def test_damaged_sound_is_said(browser, tmp_path):
    (tmp_path/'a.html').write_text(page('t', re.sub(r'\["[^"]+"\]', '["AAAA"]', player(tracks(1), RATE))))
    tab = browser.new_page()
    tab.goto((tmp_path/'a.html').as_uri())
    tab.evaluate('stepPlayers[0].play()')
    wait_status(tab, 'failed')
    assert parts(tab).locator('.state').inner_text()=='this sound could not be played: система 0'
    tab.close()

@pytest.mark.parametrize('width', [320, 400, 1200])
def test_nothing_is_wider_than_the_page(opened, width):
    long = [Track('длинноеимясистемыбезпробелов'*4+str(i), NOISES[0],
                  spectrogram_png(NOISES[0], RATE)) for i in range(3)]
    tab = opened(page('t'*200, player(long, RATE, 'x'*300, 'y'*300)), width)
    assert tab.evaluate('document.documentElement.scrollWidth')<=width

# The report

@dataclass(frozen=True)
class Metric:
    title:str
    unit:str
    better:str
    perfect:float
    digits:int
    what:str
METRICS = dict(mel_l1=Metric('mel L1', '', 'lower', 0., 3, 'Difference of the log mels.'),
               pesq=Metric('PESQ', '', 'higher', 4.64, 2, 'A model of the ear.'),
               level_db=Metric('level', 'dB', 'zero', 0., 1, 'Loudness.'))

def a_report(n_systems=3, n_clips=5, **kw):
    "A report of foreseen numbers: system i has mel L1 .1(i+1), clip j adds .01 j; the second system's last clip failed"
    systems = [System(f'{EVIL} {i}' if i==0 else f'система {i}', 'checkpoint', {'steps': str(i)})
               for i in range(n_systems)]
    rows = [dict(system=s.name, clip=f'clip{j}', text=f'Слово {j} «ёж»', error='', note='', seconds=1.+j,
                 mel_l1=.1*(i+1)+.01*j, pesq=4-.1*i-.01*j, level_db=-2.+i)
            for i,s in enumerate(systems) for j in range(n_clips)]
    rows[2*n_clips-1] |= dict(mel_l1=math.nan, pesq=math.nan, level_db=math.nan, error='it is <i>damaged</i>')
    summary = {s.name: dict(mel_l1=(.1*(i+1), .05, .5, n_clips), level_db=(-2.+i, -3., 3., n_clips))
               for i,s in enumerate(systems)}
    paired = [dict(metric='mel_l1', a=systems[0].name, b=systems[1].name, difference=-.1, low=-.2, high=-.05,
                   p=.001, n=n_clips)]
    audio = lambda s,c: NOISES[(hash(s)+int(c[4:]))%3][:RATE*2]
    given = dict(rows=rows, systems=systems, metrics=METRICS, summary=summary, paired=paired, audio=audio,
                 sample_rate=RATE, title='Report '+EVIL, licence='CC0', missing={'UTMOS': 'no weights'})
    return report(**given|kw)

def column(tab, table, n):
    rows = tab.locator(f'#table-{table} tbody tr:not([hidden])')
    return rows.evaluate_all(f'rows => rows.map(r => r.cells[{n}].innerText)')
def head(tab, table, n): return tab.locator(f'#table-{table} thead th').nth(n)

def test_report_sorts(opened):
    tab = opened(a_report())
    head(tab, 'all', 3).locator('button').click()
    values = column(tab, 'all', 3)
    assert values[:2]==['0.100', '0.110'] and values[-1]=='—' and values[:-1]==sorted(values[:-1])
    assert head(tab, 'all', 3).get_attribute('aria-sort')=='ascending'
    head(tab, 'all', 3).locator('button').focus()
    tab.keyboard.press('Enter')
    # nothing measured stays last
    assert column(tab, 'all', 3)[0]=='0.340' and column(tab, 'all', 3)[-1]=='—'
    assert head(tab, 'all', 3).get_attribute('aria-sort')=='descending'
    head(tab, 'all', 0).locator('button').focus()
    tab.keyboard.press('Space')
    assert column(tab, 'all', 0)==[f'clip{j}' for j in range(5) for _ in range(3)]
    assert head(tab, 'all', 3).get_attribute('aria-sort')=='none'
    head(tab, 'means', 2).locator('button').click()
    assert [o.split()[0] for o in column(tab, 'means', 2)]==['—']*3 # PESQ has no mean
    head(tab, 'means', 3).locator('button').click()
    head(tab, 'means', 3).locator('button').click()
    assert [o.split('\n')[0] for o in column(tab, 'means', 3)]==['★ 0.0', '−1.0', '−2.0']

def test_report_filters(opened):
    tab = opened(a_report(lang='ru'))
    field, count = tab.get_by_label('Строки с этим текстом'), tab.locator('.filter output')
    field.focus()
    tab.keyboard.insert_text('СЛОВО 2')
    assert column(tab, 'all', 0)==['clip2']*3 and count.inner_text()=='3 / 15'
    field.fill('damaged')
    assert column(tab, 'all', 1)==['система 1']
    field.fill('<B>x')
    assert len(column(tab, 'all', 1))==5
    field.fill('нет такого')
    assert column(tab, 'all', 1)==[] and count.inner_text()=='0 / 15'
    field.fill('')
    assert len(column(tab, 'all', 1))==15

def test_report_players_and_names(opened):
    tab = opened(a_report())
    assert tab.locator('h1').inner_text()=='Report '+EVIL and tab.locator('main b', has_text='alert').count()==0
    assert tab.locator('.player h3').all_inner_texts()[0]=='clip4 · 1 of 5 from the worst'
    tab.locator('.player .play').nth(1).click()
    wait_status(tab, 'playing', 1)
    tab.keyboard.press('4')
    assert state(tab, 1)['track']==3
    tab.locator('.player .play').nth(0).click()
    wait_status(tab, 'playing', 0)
    assert state(tab, 1)['status']=='paused'
    assert len(tab.evaluate('stepPlayers'))==5
    assert 'it is <i>damaged</i>' in tab.locator('#errors + ul').inner_text()

def test_report_links_open_cards(opened):
    tab = opened(a_report(20, 2, clips=1))
    card = tab.locator('#system-7')
    assert not card.evaluate('c => c.open')
    tab.locator('#table-means').get_by_role('link', name='система 7', exact=True).click()
    tab.wait_for_timeout(200)
    assert card.evaluate('c => c.open')

def test_report_of_200_systems(opened):
    tab = opened(a_report(200, 5, clips=2), 1200)
    region = tab.get_by_role('region', name='Means')
    assert region.evaluate('r => r.scrollHeight > r.clientHeight && r.clientHeight < innerHeight')
    region.focus()
    tab.keyboard.press('End')
    tab.wait_for_timeout(500)
    box, top = region.bounding_box(), head(tab, 'means', 0).bounding_box()
    assert region.evaluate('r => r.scrollTop')>500 and abs(top['y']-box['y'])<=2 # the head stays
    assert tab.locator('.player').first.locator('.tracks button').count()==12
    start = time.monotonic()
    head(tab, 'all', 3).locator('button').click()
    print(f'1,000 rows sorted in {time.monotonic()-start:.2f} s')
    assert column(tab, 'all', 3)[0]=='0.100'

@pytest.mark.parametrize('width', [320, 1200])
def test_report_is_not_wider_than_the_page(opened, width):
    long = 'длинноеимябезпробелов'*6
    tab = opened(a_report(3, 2, facts={long: long}, missing={long: long}, licence=long, title=long), width)
    assert tab.evaluate('document.documentElement.scrollWidth')<=width
    region = tab.get_by_role('region', name='All clips')
    region.evaluate('r => r.scrollLeft = 150')
    tab.wait_for_timeout(100)
    # the first column stays
    if width==320: assert abs(region.locator('tbody th').first.bounding_box()['x']-region.bounding_box()['x'])<=2

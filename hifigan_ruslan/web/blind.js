// A blind listening test in one page. The sounds are played by player.js; here is what is asked, in which order, and where the answers go.
;(() => { // It follows another script, which may end without a semicolon
'use strict'
const host = document.querySelector('.blind')
const {test, words, columns} = JSON.parse(host.querySelector('script').textContent)

// The same chance as _hash and _Random in blind.py
function hash(text) {
  return new TextEncoder().encode(text).reduce((h, b) => Math.imul(h^b, 16777619)>>>0, 2166136261)
}

class Chance {
  constructor(text) { this.state = hash(text) }
  word() {
    this.state = this.state+0x6d2b79f5>>>0
    let t = Math.imul(this.state^this.state>>>15, this.state|1)>>>0
    t = (t^(t+Math.imul(t^t>>>7, t|61)))>>>0
    return (t^t>>>14)>>>0
  }
  below(n) { return Math.floor(this.word()/2**32*n) }
  shuffled(xs) {
    xs = [...xs]
    for (let i = xs.length-1; i > 0; i--) {
      const j = this.below(i+1);
      [xs[i], xs[j]] = [xs[j], xs[i]]
    }
    return xs
  }
  balanced(groups) {
    const out = []
    let turn = this.below(2)
    for (const g of new Set(groups)) {
      const at = [...groups.keys()].filter(i => groups[i] === g), letters = this.shuffled(at.map((_, j) => 'AB'[(turn+j)%2]))
      at.forEach((i, k) => { out[i] = letters[k] })
      turn = (turn+at.length)%2
    }
    return out
  }
}

function plan(listener) { // As BlindTest.trials
  const chance = new Chance(`${test.seed} ${listener}`), picked = chance.shuffled(test.base.keys()).slice(0, test.trials ?? undefined)
  const xs = test.kind === 'abx' ? chance.balanced(picked.map(i => JSON.stringify(test.base[i][1]))) : []
  return picked.map((number, k) => {
    const [clip, systems] = test.base[number]
    if (test.kind === 'abx') return {number, clip, order: chance.below(2) ? [...systems].reverse() : systems, x: xs[k]}
    return {number, clip, order: chance.shuffled(systems), x: ''}
  })
}

function labels(t) {
  const letters = t.order.map((_, i) => String.fromCharCode(65+i))
  return t.x ? [...letters, 'X'] : letters.length > 1 ? ['R', ...letters] : letters
}

function system(t, label) { return label === 'R' ? 'reference' : t.order[label === 'X' ? 'AB'.indexOf(t.x) : label.charCodeAt(0)-65] }

// Ratings: in memory, in the browser's own store where it has one, and as a file
let listener = '', trials = [], rows = [], saved = 0, kept = true, current = null, done = false

function key() { return `hifigan-blind ${test.id} ${listener}` }

function stored() { // What the store holds for this listener, if it fits the test; it throws where there is no store
  const old = JSON.parse(localStorage.getItem(key()) ?? 'null'), planned = new Map(trials.map(t => [t.number, JSON.stringify([t.order, t.x])]))
  return Array.isArray(old?.rows) && old.rows.every(r => planned.get(r?.trial) === JSON.stringify([r?.order, r?.x])) ? old : {rows: [], saved: 0}
}

function keep() {
  try {
    for (const r of stored().rows) if (!rows.some(o => o.trial === r.trial)) rows.push(r) // answered in another tab
    localStorage.setItem(key(), JSON.stringify({rows, saved}))
    kept = true
  } catch { kept = false }
}

function restore() {
  rows = []; saved = 0
  try { ({rows, saved} = stored()) } catch { /* damaged, or no store */ }
  try { localStorage.setItem(key(), JSON.stringify({rows, saved})); kept = true } catch { kept = false }
}

function cell(v) {
  const text = v === null || v === undefined ? '' : typeof v === 'object' ? JSON.stringify(v) : String(v)
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text
}

function table() { return '\ufeff'+[columns, ...rows.map(r => columns.map(c => r[c]))].map(r => r.map(cell).join(',')+'\r\n').join('') }

function fileName() {
  const slug = [...listener.replace(/[^\p{L}\p{N}_]+/gu, '-').replace(/^-+|-+$/g, '')].slice(0, 40).join('')
  return `${slug ? slug+'-' : ''}${hash(listener).toString(16).padStart(8, '0')}.csv`
}

function save() {
  const url = URL.createObjectURL(new Blob([table()], {type: 'text/csv;charset=utf-8'}))
  const a = make('a', {href: url, download: fileName()})
  document.body.append(a); a.click(); a.remove()
  setTimeout(() => URL.revokeObjectURL(url), 60_000)
  saved = rows.length
  keep()
}

addEventListener('beforeunload', e => { if (rows.length > saved) { e.preventDefault(); e.returnValue = true } })

// Building blocks: text goes in as text only
function make(tag, props = {}, ...children) {
  const node = document.createElement(tag)
  for (const [k, v] of Object.entries(props)) k === 'on' ? Object.entries(v).forEach(([name, f]) => node.addEventListener(name, f)) : k in node ? node[k] = v : node.setAttribute(k, v)
  node.append(...children)
  return node
}

function keysLine(text) { // [Enter] becomes a key
  return text.split(/(\[[^\]]+\])/).map(s => s.startsWith('[') ? make('kbd', {}, s.slice(1, -1)) : s)
}

function playerOf(names, sounds, seconds) {
  const button = (name, i) => make('button', {type: 'button', 'aria-pressed': String(!i), 'data-name': name}, name)
  const root = make('section', {className: 'player', lang: test.lang, 'aria-label': words.player.tracks, 'data-rate': test.sample_rate, 'data-seconds': seconds, 'data-words': JSON.stringify(words.player)},
    make('div', {className: 'bar'}, make('button', {type: 'button', className: 'play'}), make('span', {className: 'time'}), make('button', {type: 'button', className: 'loop', 'aria-pressed': 'false'}, words.player.loop)),
    make('div', {className: 'tracks', role: 'group', 'aria-label': words.player.tracks}, ...names.map(button)),
    make('div', {className: 'picture', role: 'slider', tabIndex: 0, 'aria-label': words.player.position, 'aria-valuemin': 0, 'aria-valuemax': seconds, 'aria-valuenow': 0}, make('div', {className: 'sheet'}), make('i', {className: 'cursor'})),
    make('p', {className: 'state', role: 'status', 'aria-live': 'polite'}),
    make('script', {type: 'application/json'}, JSON.stringify(sounds)))
  return root
}

function attach() { return stepPlayers.attach(host)[0] } // The one player of the screen

function screen(...nodes) {
  stepPlayers.forEach(p => p.pause())
  stepPlayers.length = 0
  current = null
  host.replaceChildren(...nodes)
  scrollTo(0, 0)
  host.querySelector('[data-focus]')?.focus()
}

function storeWarning() { return kept ? [] : [make('p', {className: 'warn', role: 'alert'}, words.not_kept)] }

function start() {
  document.title = test.title
  const name = make('input', {type: 'text', maxLength: 80, autocomplete: 'off', required: true, 'data-focus': ''}), say = make('p', {className: 'hint', role: 'status'})
  const check = playerOf([words.check], [test.sounds[test.check.sound]], test.check.seconds)
  const go = e => {
    e.preventDefault()
    listener = name.value.normalize('NFC').trim().split(/\s+/).join(' ')
    if (!listener) { say.textContent = words.need_name; name.focus(); return }
    trials = plan(listener)
    restore()
    next()
  }
  const n = test.trials ? Math.min(test.trials, test.base.length) : test.base.length
  screen(make('h1', {}, test.title), make('p', {}, words.what), make('p', {}, words.length.replace('{n}', n)), make('p', {}, words.headphones), check, make('p', {}, words.private),
    make('form', {on: {submit: go}}, make('label', {className: 'field'}, words.name, name), say, make('button', {className: 'main', type: 'submit'}, words.start)),
    make('p', {className: 'hint'}, ...keysLine(words.keys_start)))
  attach()
}

function next() {
  const answered = new Set(rows.map(r => r.trial)), k = trials.findIndex(t => !answered.has(t.number))
  if (k < 0) return finish()
  const t = trials[k], names = labels(t), plays = Object.fromEntries(names.map(l => [l, 0])), began = performance.now()
  const sounds = names.map(l => test.sounds[test.files[t.clip][system(t, l)]]), root = playerOf(names, sounds, test.seconds[t.clip])
  const todo = make('p', {className: 'todo', role: 'status'}), on = make('button', {className: 'main', type: 'button', disabled: true}, words.next)
  const state = {answer: null}, form = forms[test.kind](t, state, () => refresh())
  screen(make('div', {className: 'top'}, make('h2', {tabIndex: -1, 'data-focus': ''}, words.trial.replace('{k}', rows.length+1).replace('{n}', trials.length)), make('progress', {max: trials.length, value: rows.length, 'aria-label': words.progress})),
    ...storeWarning(), root, make('h3', {}, test.question || words.question), form.node, todo,
    make('div', {className: 'foot'}, on, make('button', {type: 'button', on: {click: save}, disabled: !rows.length}, words.save)), make('p', {className: 'hint'}, ...keysLine(words.keys_trial)))
  const p = attach(), show = p.show
  let last = null
  p.show = function(status) { // It is called when the state or the version changes
    show.call(this, status)
    const playing = this.status === 'playing', now = playing ? this.track : null
    if (now !== null && now !== last) plays[names[now]]++
    last = now
    refresh()
  }
  function refresh() {
    const missing = names.filter(l => !plays[l])
    p.buttons.forEach((b, i) => b.classList.toggle('heard', plays[names[i]] > 0))
    form.mark?.(names[p.track])
    on.disabled = missing.length > 0 || state.answer === null
    todo.textContent = missing.length ? words.listen.replace('{list}', missing.join(', ')) : state.answer === null ? words.decide : ''
  }
  on.addEventListener('click', () => {
    if (on.disabled) return
    rows.push({test: test.id, kind: test.kind, listener, position: k+1, trial: t.number, clip: t.clip, order: t.order, x: t.x, answer: state.answer, correct: t.x ? +(state.answer === t.x) : '',
      seconds: ((performance.now()-began)/1000).toFixed(1), plays, time: new Date().toISOString().slice(0, 19)+'Z'})
    keep()
    next()
  })
  current = {p, names, form, on}
  refresh()
}

function buttonsOf(options, name) { // [value, what is written, key]
  return (t, state, changed) => {
    const buttons = options.map(([value, text, digit]) => make('button', {type: 'button', 'aria-pressed': 'false', on: {click: () => pick(value)}}, make('kbd', {'aria-hidden': true}, digit), text))
    function pick(value) {
      state.answer = value
      buttons.forEach((b, i) => b.setAttribute('aria-pressed', options[i][0] === value))
      changed()
    }
    return {node: make('div', {className: 'choices', role: 'group', 'aria-label': name}, ...buttons), digit: d => { const o = options.find(o => o[2] === d); if (o) pick(o[0]); return !!o }}
  }
}

function sliders(t, state, changed) {
  const names = labels(t).filter(l => l !== 'R'), values = {}, lines = {}
  for (const l of names) {
    const out = make('output', {}, '–'), input = make('input', {type: 'range', min: 0, max: 100, step: 1, value: 50, 'aria-label': words.rating.replace('{x}', l)})
    input.addEventListener('input', () => {
      values[l] = +input.value
      out.textContent = input.value
      lines[l].row.classList.add('set')
      state.answer = names.every(x => x in values) ? Object.fromEntries(names.map(x => [x, values[x]])) : null
      changed()
    })
    input.addEventListener('focus', () => current?.p.choose(current.names.indexOf(l)))
    lines[l] = {input, row: make('div', {className: 'rate'}, make('b', {}, l), input, out)}
  }
  const scale = make('div', {className: 'scale', 'aria-hidden': true}, ...words.scale.map((w, i) => make('span', {}, w, make('br'), `${20*i}–${20*(i+1)}`)))
  return {node: make('div', {role: 'group', 'aria-label': words.question}, scale, ...names.map(l => lines[l].row)),
    focus: l => lines[l]?.input.focus(), mark: now => names.forEach(l => lines[l].row.classList.toggle('now', l === now))}
}

const forms = {abx: buttonsOf([['A', words.choice?.[0], '1'], ['B', words.choice?.[1], '2']], words.question),
  mos: buttonsOf((words.scale ?? []).map((w, i) => [i+1, w, String(i+1)]), words.question), mushra: sliders}

function finish() {
  done = true
  const first = rows.length > saved
  screen(make('h1', {tabIndex: -1, 'data-focus': ''}, words.thanks), ...storeWarning(), make('p', {}, words.send.replace('{file}', fileName())), make('button', {className: 'main', type: 'button', on: {click: save}}, words.save_again))
  if (first) save()
}

document.addEventListener('keydown', e => {
  if (e.ctrlKey || e.altKey || e.metaKey || e.target.matches('input[type=text]')) return
  const c = current, letter = /^[a-z]$/i.test(e.key) ? e.key.toUpperCase() : /^Key([A-Z])$/.exec(e.code)?.[1], digit = /^(?:Digit|Numpad)([1-9])$/.exec(e.code)?.[1]
  if (!c) return
  if (c.names.includes(letter)) {
    c.p.choose(c.names.indexOf(letter))
    if (c.p.status !== 'playing') c.p.play()
    c.form.focus?.(letter)
  }
  else if (digit) c.form.digit?.(digit)
  else if (e.key === 'Enter' && !e.target.matches('button')) c.on.click()
  else if (e.key === ' ' && !e.target.matches('button')) c.p.toggle()
  else return
  e.preventDefault()
  e.stopPropagation()
}, true)

window.blindTest = {plan, hash, Chance, get rows() { return rows }, get table() { return table() }, get done() { return done }}
start()
})()

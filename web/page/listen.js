// The player of all our pages (hifigan_ruslan/web/player.js) around waves that are in memory, and a wave that still comes.

const LEAD = .15 // Seconds between a piece that comes first and its sound

/** An element with properties and children. */
export function make(tag, props = {}, ...children) {
  const {data = {}, aria = {}, ...rest} = props, e = Object.assign(document.createElement(tag), rest)
  Object.assign(e.dataset, data)
  for (const [k, v] of Object.entries(aria)) e.setAttribute(k === 'role' ? k : `aria-${k}`, v)
  e.append(...children)
  return e
}

function bar(w) {
  return make('div', {className: 'bar'}, make('button', {type: 'button', className: 'play', textContent: '▶', aria: {label: w.play}}),
    make('span', {className: 'time', aria: {role: 'timer'}}), make('button', {type: 'button', className: 'loop', textContent: w.loop, aria: {pressed: false}}))
}

function trackButton(name, i, w) {
  const number = i < 9 ? [make('kbd', {textContent: i+1, aria: {hidden: true}})] : []
  const title = i < 9 ? `${name}; ${w.key.replace('{n}', i+1)}` : name
  return make('button', {type: 'button', title, data: {name}, aria: {pressed: !i}}, ...number, name)
}

function mark({hz, percent}, i, w, lang) {
  const e = make('span', {className: 'hz', textContent: `${(hz/1000).toLocaleString(lang)}${i ? '' : ` ${w.khz}`}`, aria: {hidden: true}})
  e.style.bottom = `${percent}%`
  return e
}

function sheet(track, i, longest) {
  const e = track.picture ?? make('p', {className: 'none'})
  e.dataset.track = i
  e.hidden = i > 0
  e.style.width = `${100*track.wave.length/longest}%`
  return e
}

function screen(tracks, longest, seconds, marks, w, lang) {
  const sheets = make('div', {className: 'sheet'}, ...tracks.map((t, i) => sheet(t, i, longest)))
  const cursor = make('i', {className: 'cursor'})
  return make('div', {className: 'picture seen', tabIndex: 0, aria: {role: 'slider', label: w.position, valuemin: 0, valuemax: seconds.toFixed(1), valuenow: 0}},
    sheets, ...marks.map((m, i) => mark(m, i, w, lang)), cursor)
}

function bufferOf(wave, rate) {
  const buffer = new AudioBuffer({length: wave.length, sampleRate: rate, numberOfChannels: 1})
  buffer.copyToChannel(wave, 0)
  return buffer
}

/**
 * A player in step for waves of one rate, put into `place` instead of what was there.
 * @param {HTMLElement} place
 * @param {{name: string, wave: Float32Array, picture?: HTMLElement}[]} tracks the first is heard first
 * @param {number} rate Hz
 * @param {{lang: string, words: Object<string, string>, title: string, marks: {hz: number, percent: number}[]}} look
 * @returns {object} the player
 */
export function showPlayer(place, tracks, rate, {lang, words, title, marks}) {
  forgetPlayer(place)
  const longest = Math.max(...tracks.map(t => t.wave.length)), seconds = longest/rate
  const root = make('section', {className: 'player', lang, data: {rate, seconds, words: JSON.stringify(words)}, aria: {label: title}},
    make('h3', {textContent: title}), bar(words), make('div', {className: 'tracks', aria: {role: 'group', label: words.tracks}}, ...tracks.map((t, i) => trackButton(t.name, i, words))),
    screen(tracks, longest, seconds, marks, words, lang), make('p', {className: 'state', aria: {role: 'status', live: 'polite'}}), make('p', {className: 'keys', textContent: words.keys}))
  place.replaceChildren(root)
  const player = window.stepPlayers.attach(place).find(p => p.root === root)
  player.loaded = Promise.resolve(tracks.map(t => bufferOf(t.wave, rate))) // nothing is to be decoded
  return player
}

/** Stop the player in `place` and let its sounds go. */
export function forgetPlayer(place) {
  const i = window.stepPlayers.findIndex(p => place.contains(p.root))
  if (i < 0) return
  window.stepPlayers[i].pause()
  window.stepPlayers.splice(i, 1)
  place.replaceChildren()
}

/** A wave that is heard while it comes, piece after piece without a gap; pieces that come too late are counted. */
export class Live {
  /** @param {number} rate Hz */
  constructor(rate) {
    this.rate = rate
    this.context = new AudioContext({sampleRate: rate})
    this.context.resume()
    Object.assign(this, {end: null, pieces: 0, late: 0, worst: 0})
  }

  /** @param {Float32Array} wave the next samples */
  push(wave) {
    if (!wave.length) return
    const now = this.context.currentTime, source = new AudioBufferSourceNode(this.context, {buffer: bufferOf(wave, this.rate)})
    this.end ??= now+LEAD
    if (this.end < now) {
      this.late++
      this.worst = Math.max(this.worst, now-this.end)
      this.end = now+LEAD
    }
    source.connect(this.context.destination)
    source.start(this.end)
    this.end += wave.length/this.rate
    this.pieces++
  }

  stop() { if (this.context.state !== 'closed') this.context.close() }

  /** Let what was pushed be heard to its end, then close. */
  finish() { setTimeout(() => this.stop(), 1000*Math.max(0, (this.end ?? 0)-this.context.currentTime)+200) }
}

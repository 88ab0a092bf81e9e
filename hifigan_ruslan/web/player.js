// Players whose tracks stay in step: all tracks of a player start together, and the gains decide which one is heard.
(() => {
'use strict'
const FADE = .003 // Time constant of a cross-fade, seconds: after 15 ms the other track is 43 dB down
const LEAD = .03 // From the order to start to the first sample, seconds: time to build the nodes
const contexts = new Map() // One for each sample rate, so that no browser resamples and no limit on their number is met
const players = []

function contextAt(rate) {
  if (!contexts.has(rate)) contexts.set(rate, new AudioContext({sampleRate: rate}))
  return contexts.get(rate)
}

function decode(context, text) {
  return context.decodeAudioData(Uint8Array.from(atob(text), c => c.charCodeAt(0)).buffer)
}

function silenceFrames(w) { // Players in other frames of the same page, such as other cells of a notebook
  if (w !== window) w.postMessage({stepPlayers: 'pause'}, '*')
  for (let i = 0; i < w.length; i++) silenceFrames(w[i])
}

class Player {
  constructor(root) {
    const find = s => root.querySelector(s)
    Object.assign(this, {root, status: 'ready', track: 0, offset: 0, looping: false, duration: +root.dataset.seconds, rate: +root.dataset.rate,
      words: JSON.parse(root.dataset.words), locale: root.lang, playButton: find('.play'), loopButton: find('.loop'), clock: find('.time'), slider: find('.picture'),
      cursor: find('.cursor'), live: find('.state'), buttons: [...root.querySelectorAll('.tracks button')], pictures: [...root.querySelectorAll('.picture [data-track]')]})
    this.buttons.forEach((b, i) => b.addEventListener('click', () => this.choose(i)))
    this.playButton.addEventListener('click', () => this.toggle())
    this.loopButton.addEventListener('click', () => this.loop(!this.looping))
    this.slider.addEventListener('click', e => {
      const box = this.slider.getBoundingClientRect()
      this.seek((e.clientX-box.left)/box.width*this.duration)
    })
    root.addEventListener('keydown', e => this.key(e))
    this.show()
  }

  get state() { return {status: this.status, time: this.time, track: this.track, duration: this.duration, gains: (this.voices ?? []).map(v => v.gain.gain.value)} }

  get time() {
    const run = this.status === 'playing' ? Math.max(0, this.context.currentTime-this.started) : 0
    return Math.min(this.duration, this.offset+run)
  }

  async play() {
    if (this.status === 'playing' || this.status === 'loading') return
    players.forEach(p => p !== this && p.pause())
    silenceFrames(window.top)
    this.show('loading')
    try {
      this.context = contextAt(this.rate)
      this.context.resume()
      this.loaded ??= Promise.all(JSON.parse(this.root.querySelector('script').textContent).map(text => decode(this.context, text)))
      this.buffers = await this.loaded
    } catch (error) {
      this.loaded = null
      this.show('failed')
      console.warn(error)
      return
    }
    if (this.status === 'loading') this.start() // else it was paused meanwhile
  }

  start() {
    const {context, rate, buffers} = this, grid = t => Math.round(t*rate)/rate // whole samples: nothing is interpolated
    this.offset = this.offset > this.duration-.01 ? 0 : grid(this.offset)
    this.started = grid(context.currentTime+LEAD)
    const out = this.out = context.createGain()
    out.connect(context.destination)
    if (this.offset) out.gain.setValueAtTime(0, this.started).setTargetAtTime(1, this.started, FADE)
    const voices = this.voices = buffers.map((buffer, i) => {
      const source = new AudioBufferSourceNode(context, {buffer}), gain = new GainNode(context, {gain: +(i === this.track)})
      source.connect(gain).connect(out)
      if (this.offset < buffer.duration) source.start(this.started, this.offset)
      return {source, gain}
    })
    const last = buffers.reduce((best, b, i) => b.length > buffers[best].length ? i : best, 0)
    voices[last].source.onended = () => this.voices === voices && this.ended()
    this.show('playing')
    this.draw()
  }

  stop() { // With a fade, since a wave that is cut off clicks
    const {context, out, voices} = this, end = context.currentTime+5*FADE
    this.offset = this.time
    this.voices = null
    out.gain.cancelScheduledValues(0)
    out.gain.setTargetAtTime(0, context.currentTime, FADE)
    voices.forEach(v => { try { v.source.stop(end) } catch { /* it was too short to be started */ } })
    setTimeout(() => out.disconnect(), 200)
  }

  ended() {
    this.stop()
    this.offset = this.duration
    if (this.looping) this.start()
    else this.show('ended')
  }

  pause() {
    if (this.status === 'playing') this.stop()
    if (this.status === 'playing' || this.status === 'loading') this.show('paused')
  }

  toggle() { this.status === 'playing' || this.status === 'loading' ? this.pause() : this.play() }

  choose(i) {
    if (!(i in this.buttons)) return
    this.track = i
    this.voices?.forEach((v, k) => v.gain.gain.setTargetAtTime(+(k === i), this.context.currentTime, FADE))
    this.show()
  }

  seek(seconds) {
    const playing = this.status === 'playing'
    if (playing) this.stop()
    this.offset = Math.min(this.duration, Math.max(0, seconds))
    if (playing) this.start()
    else this.show()
  }

  loop(on) {
    this.looping = on
    this.loopButton.setAttribute('aria-pressed', on)
  }

  key(e) {
    if (e.ctrlKey || e.altKey || e.metaKey || e.target.matches('input, select, textarea')) return
    const digit = /^(?:Digit|Numpad)([1-9])$/.exec(e.code)
    if (digit && !e.shiftKey) this.choose(digit[1]-1)
    else if (e.key === ' ' && !e.target.matches('button')) this.toggle()
    else if (e.key === 'ArrowLeft') this.seek(this.time-1)
    else if (e.key === 'ArrowRight') this.seek(this.time+1)
    else if (e.key === 'Home') this.seek(0)
    else if (e.key === 'End') this.seek(this.duration)
    else return
    e.preventDefault()
  }

  show(status) { // What changes by an action, not by time
    if (status) this.status = status
    const name = this.buttons[this.track].dataset.name, running = this.status === 'playing' || this.status === 'loading'
    this.root.dataset.status = this.status
    this.playButton.textContent = running ? '❚❚' : '▶'
    this.playButton.setAttribute('aria-label', running ? this.words.pause : this.words.play)
    this.buttons.forEach((b, i) => b.setAttribute('aria-pressed', i === this.track))
    this.pictures.forEach(p => { p.hidden = +p.dataset.track !== this.track })
    this.live.textContent = `${this.words[this.status]}: ${name}`
    this.place()
  }

  place() { // What changes with time
    const digits = {minimumFractionDigits: 1, maximumFractionDigits: 1}, now = this.time.toLocaleString(this.locale, digits)
    this.cursor.style.left = `${100*this.time/this.duration}%`
    if (now === this.shown) return
    this.shown = now
    this.clock.textContent = `${now} / ${this.duration.toLocaleString(this.locale, digits)} ${this.words.s}`
    this.slider.setAttribute('aria-valuenow', this.time.toFixed(1))
    this.slider.setAttribute('aria-valuetext', this.clock.textContent)
  }

  draw() {
    this.place()
    if (this.status === 'playing') requestAnimationFrame(() => this.draw())
  }
}

function attach(part) { // The players below `part` that have no script yet; for pages that add some later
  for (const root of part.querySelectorAll('.player')) if (!players.some(p => p.root === root)) players.push(new Player(root))
  return players
}

addEventListener('message', e => e.data?.stepPlayers === 'pause' && players.forEach(p => p.pause()))
players.attach = attach
window.stepPlayers = attach(document)
})()

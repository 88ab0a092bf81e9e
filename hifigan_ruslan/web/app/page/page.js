// The page: a sound or a mel is dropped or recorded, and heard beside what the vocoder makes of it.
import {Engine} from '../engine/engine.js'
import {checkMel} from '../engine/check.js'
import {asMel, readMel} from '../engine/npy.js'
import {writeWav} from '../engine/wav.js'
import {MELS, SOUNDS, Said, kindOf} from './files.js'
import {Live, forgetPlayer, make, showPlayer} from './listen.js'
import {Pieces, isolate, keep} from './load.js'
import {canFix, canSpeak, fixed, range, transposed} from './mels.js'
import {TOP_DB, difference, differencePicture, hertzMarks, melPicture} from './pictures.js'
import {LONGEST, Recorder, joined} from './record.js'
import {MOST_MINUTES, checkLength, notesOf, readSound, reason} from './sound.js'
import {engineWords, faultWords, number, say} from './words.js'

const MOST_BYTES = 400e6 // Of a file
const $ = id => document.getElementById(id)
const settings = JSON.parse($('settings').textContent), config = settings.config, rate = config.sample_rate
const pieces = new Pieces(settings)
const mb = n => Math.round(n/1e5)/10
const REFUSED = {text: 'not_text', image: 'not_image', torch: 'not_torch', pickle: 'not_pickle', weights: 'not_weights', pdf: 'not_pdf', archive: 'not_archive',
  gzip: 'not_archive', hdf5: 'not_hdf5', program: 'not_program', riff: 'not_riff', empty: 'empty'}

const state = {lang: 'en', status: ['idle', {}], error: null, notes: [], faults: null, result: null, job: null, engine: null, recorder: null, live: false, kept: null, finished: 0}
const t = (key, values) => say(state.lang, key, values)

// What is shown

/** Words of ours, with those of the engine inside in the same language. */
function told([key, values]) {
  const own = Object.fromEntries(Object.entries(values ?? {}).map(([k, v]) => [k, k === 'why' || k === 'text' ? engineWords(state.lang, v) : v]))
  return t(key, own)
}

function show(changes = {}) {
  Object.assign(state, changes)
  $('status').textContent = t(...state.status)
  $('error').hidden = !state.error
  $('error').textContent = state.error ? told(state.error) : ''
  $('notes').replaceChildren(...state.notes.map(n => make('li', {textContent: told(n)})))
  showFaults()
}

function showProgress(share) { // null = none, NaN = nobody knows how far
  const p = $('progress')
  p.hidden = share === null
  if (share > 0) p.value = share
  else p.removeAttribute('value')
}

function fixButtons({mel, name, faults}) {
  const known = faults.filter(f => canFix(f.name) && mel.bands).map(f => [t('fix', {how: t(`how_${f.name}`)}), () => fixed(mel, f.name)])
  const ways = canSpeak(mel, config) ? [...known, [t('anyway'), () => mel]] : known
  return ways.map(([text, way]) => make('button', {type: 'button', textContent: text, onclick: () => job(signal => speak(way(), name, signal, {sure: true}))}))
}

function showFaults() {
  const f = state.faults, box = $('faults')
  box.hidden = !f
  if (!f) return box.replaceChildren()
  const items = f.faults.map(o => make('li', {textContent: faultWords(state.lang, o, range(f.mel.data))}))
  const heading = make('p', {textContent: `${t(f.certain ? 'fault_certain' : 'fault_maybe')}. ${t('fault_expected', {bands: config.n_mels})}`})
  box.replaceChildren(heading, make('ul', {}, ...items), make('div', {className: 'row'}, ...(f.certain ? fixButtons(f) : [])))
}

function engineText() {
  const {backend, threads, simd, why} = state.info
  return t(`engine_${backend}`, {threads, simd: simd ? t('simd') : '', why: engineWords(state.lang, why)})
}

function look(title) { return {lang: state.lang, words: settings.words[state.lang], title, marks: hertzMarks(config)} }

function tracksOf({copy, wave, mel, copyMel}) {
  const own = {name: t(wave ? 'copy' : 'from_mel'), wave: copy, picture: melPicture(wave ? copyMel : mel)}
  return wave ? [own, {name: t('recording'), wave, picture: melPicture(mel)}] : [own]
}

function showDifference({mel, copyMel, wave}) {
  const {mel: d, meanDb} = difference(copyMel, mel)
  $('difference').hidden = false
  $('difference-title').textContent = t(wave ? 'difference' : 'difference_mel')
  $('difference').querySelector('.map').replaceChildren(differencePicture(d))
  $('difference-note').textContent = t('difference_note', {top: TOP_DB, mean: Math.round(10*meanDb)/10})
}

function showResult() {
  const r = state.result
  $('result').hidden = !r
  if (!r) return
  showPlayer($('player'), tracksOf(r), rate, look(r.name))
  $('picture-note').textContent = t(r.wave ? 'picture_note' : 'mel_note')
  showDifference(r)
  const {seconds, spent} = r, speed = t('speed', {seconds: round(seconds), spent: round(spent), rtf: round(spent/seconds, 3)})
  $('speed').textContent = r.count > 1 ? `${speed} ${t('pieces', {n: r.count})}` : speed
  $('engine').textContent = engineText()
  $('download').href = r.link
  $('download').download = `${r.name.replace(/\.\w+$/, '').replace(/[\\/:*?"<>|]/g, '_')}-${settings.name}.wav`
}

const round = (x, digits = 2) => Math.round(x*10**digits)/10**digits

function forgetResult() {
  if (!state.result) return
  URL.revokeObjectURL(state.result.link)
  forgetPlayer($('player'))
  state.result = null
  showResult()
}

/** All words again, in the language of now. */
function speakLanguage(lang) {
  state.lang = document.documentElement.lang = lang
  for (const e of document.querySelectorAll('[data-t]')) e.textContent = t(e.dataset.t, {name: settings.name})
  for (const e of document.querySelectorAll('[data-label]')) e.setAttribute('aria-label', t(e.dataset.label))
  document.title = t('title', {name: settings.name})
  const sizes = {name: settings.name, model: mb(pieces.size('model')), runtime: mb(pieces.size('wasm')), rate, file: mb(settings.file ?? 0)}
  $('size').textContent = `${t(settings.half ? 'size' : 'size_fp32', sizes)} ${t(pieces.inside ? 'inside' : 'asked', sizes)} ${gpuText()} ${keptText()}`
  $('load').textContent = t('load', {all: mb(pieces.size('model')+pieces.size('wasm'))})
  $('meter').setAttribute('aria-label', t('level'))
  $('record').textContent = t(state.recorder ? 'stop' : 'record')
  $('about-page').textContent = t('about_page', {version: settings.version, runtime: settings.runtime})
  $('credit').textContent = settings.credit ? t('credit', {credit: settings.credit}) : ''
  $('tts').textContent = t('tts', {bands: config.n_mels})
  $('card').textContent = settings.card
  show()
  showResult()
}

function gpuText() { return navigator.gpu && pieces.has('gpu_wasm') ? t('gpu_more', {gpu: mb(pieces.size('gpu_wasm'))}) : '' }

function keptText() {
  if (pieces.inside || !state.kept) return ''
  return state.kept.why ? t('not_kept', state.kept) : state.kept.all ? t('offline') : ''
}

// The engine

async function loadedPieces() {
  const all = pieces.size('model')+pieces.size('wasm'), come = {model: 0, wasm: 0}
  const heard = what => n => {
    come[what] = n
    const sum = come.model+come.wasm
    show({status: ['loading', {what: settings.name, n: mb(sum), all: mb(all)}]})
    showProgress(sum/all)
  }
  const [model, wasm, ort, worker] = await Promise.all([
    pieces.bytes('model', heard('model')), pieces.bytes('wasm', heard('wasm')), pieces.text('ort'), pieces.text('worker')])
  return {model, runtime: {wasm, ort: {text: ort}, worker: {text: worker}}}
}

async function startEngine() {
  if (typeof WebAssembly !== 'object') throw new Said('no_wasm')
  const {model, runtime} = await loadedPieces()
  show({status: ['starting', {}]})
  showProgress(NaN)
  if (pieces.has('gpu_wasm') && navigator.gpu) runtime.webgpu = {ort: new URL(pieces.places.gpu_ort.url, location.href).href, wasm: new URL(pieces.places.gpu_wasm.url, location.href).href}
  try {
    const engine = await Engine.start({model, config, runtime, prefer: 'auto'})
    state.info = engine.info
    return engine
  } catch (error) { throw new Said('engine_failed', {why: error.message}) }
}

/** The engine, started when it is first needed; after a failure it is tried again. */
async function engine() {
  state.engine ??= startEngine()
  try {
    const e = await state.engine
    $('load').hidden = true
    return e
  } catch (error) {
    state.engine = null
    $('load').hidden = false
    throw error
  } finally { showProgress(null) }
}

async function noteKept() {
  if (state.kept && !state.kept.why) state.kept.all = await pieces.kept()
  speakLanguage(state.lang)
}

// Work: one job at a time, a new one ends the one before

async function job(work) {
  state.job?.abort()
  const mine = state.job = new AbortController()
  $('cancel').hidden = false
  forgetResult()
  show({error: null, notes: [], faults: null})
  try { await work(mine.signal) } catch (error) { if (state.job === mine || error.name !== 'AbortError') failed(error, mine) } finally {
    if (state.job === mine) finish()
  }
}

function finish() {
  state.finished++
  state.job = null
  $('cancel').hidden = true
  showProgress(null)
}

function failed(error, mine) {
  if (state.job !== mine) return
  if (error.name === 'AbortError') return show({status: ['stopped', {}]})
  if (!(error instanceof Said)) console.warn(error)
  const said = error instanceof Said ? [error.key, error.values] : ['failed', {why: error.message || String(error)}]
  show({status: [state.info ? 'ready_to' : 'idle', {}], error: said})
}

function step(signal, status, share = NaN) {
  signal.throwIfAborted()
  show({status})
  showProgress(share)
}

/** The wave of a mel, heard while it comes if that is wanted; {copy, spent, count}. */
async function vocoded(e, mel, signal) {
  const live = state.live ? new Live(rate) : null, all = mel.frames*config.hop_length
  let count = 0, come = 0
  const onPiece = wave => {
    count++
    come += wave.length
    live?.push(wave)
    step(signal, ['vocoding', {n: round(come/rate, 1), all: round(all/rate, 1)}], come/all)
  }
  signal.addEventListener('abort', () => live?.stop())
  const begin = performance.now()
  try {
    const copy = await e.vocode(mel, {onPiece, signal})
    live?.finish()
    return {copy, spent: (performance.now()-begin)/1000, count}
  } catch (error) {
    live?.stop()
    throw error
  }
}

/** From the mel to what is shown; wave is the recording, where there is one. */
async function heard(e, mel, wave, name, signal) {
  step(signal, ['vocoding', {n: 0, all: round(mel.frames*config.hop_length/rate, 1)}], 0)
  const made = await vocoded(e, mel, signal)
  await compared(e, {...made, mel, wave, name}, signal)
}

async function compared(e, r, signal) {
  step(signal, ['comparing', {}])
  const copyMel = await e.mel(longEnough(r.copy), {signal})
  signal.throwIfAborted()
  const beyond = r.copy.reduce((n, x) => n+(Math.abs(x) > 1), 0), seconds = r.copy.length/rate
  if (beyond) state.notes.push(['note_beyond', {n: beyond}])
  const link = URL.createObjectURL(new Blob([writeWav(r.copy, rate).bytes], {type: 'audio/wav'}))
  state.result = {...r, copyMel, seconds, link}
  show({status: ['done', {name: r.name, seconds: round(seconds)}]})
  showResult()
}

/** The mel of one frame is taken of a wave that silence makes long enough for the edges to be reflected. */
function longEnough(wave) {
  const least = config.n_fft
  if (wave.length >= least) return wave
  const out = new Float32Array(least)
  out.set(wave)
  return out
}

/** A recording: its mel, and the copy. */
async function copySound({wave, rate: own, notes}, name, signal) {
  show({notes})
  const e = await engine()
  step(signal, ['mel', {}])
  const mine = own === rate ? wave : await e.resample(wave, own, rate, {signal})
  checkLength(mine, config, name)
  const mel = await e.mel(mine, {signal})
  await heard(e, mel, mine.subarray(0, mel.frames*config.hop_length), name, signal)
}

/** A mel from elsewhere: checked, then spoken. */
async function speak(mel, name, signal, {faults = checkMel(mel, config), notes = [], sure = false} = {}) {
  show({notes})
  const certain = faults.some(f => f.certain)
  if (faults.length) show({faults: {mel, name, faults: certain ? faults.filter(f => f.certain) : faults, certain: certain && !sure}})
  if (certain && !sure) return show({status: ['ready_to', {}]})
  const seconds = mel.frames*config.hop_length/rate
  if (seconds > 60*MOST_MINUTES) throw new Said('mel_long', {name, frames: mel.frames, minutes: round(seconds/60, 1), most: MOST_MINUTES})
  await heard(await engine(), mel, null, name, signal)
}

// What comes in

async function bytesOf(file) {
  if (file.size > MOST_BYTES) throw new Said('large', {name: file.name, mb: Math.round(file.size/1e6), most: MOST_BYTES/1e6})
  try { return new Uint8Array(await file.arrayBuffer()) } catch (error) { throw new Said('unreadable', {name: file.name, why: error.name}) }
}

function refuse(kind, bytes, name) {
  if (kind === 'text' && /\.(wav|mp3|flac|ogg|opus|m4a|aac)$/i.test(name)) throw new Said('text_as_wav', {name})
  if (kind in REFUSED) throw new Said(REFUSED[kind], {name})
  throw new Said('not_known', {name, bytes: [...bytes.subarray(0, 8)].map(b => b.toString(16).padStart(2, '0')).join(' ')})
}

/** What is in a file: it is read by what it holds, not by what it is called. */
async function open(file, signal, notes = []) {
  show({notes})
  step(signal, ['reading', {name: file.name}])
  const bytes = await bytesOf(file), kind = kindOf(bytes, file.name)
  signal.throwIfAborted()
  if (SOUNDS.includes(kind)) {
    const sound = await readSound(bytes, kind, file.name, config)
    return copySound({...sound, notes: [...notes, ...sound.notes]}, file.name, signal)
  }
  if (!MELS.includes(kind)) refuse(kind, bytes, file.name)
  const {mel, faults, notes: more} = await melOf(bytes, file.name)
  return speak(mel, file.name, signal, {faults, notes: [...notes, ...more]})
}

/** The mel in a file, what is wrong with it, and what is said of it. */
async function melOf(bytes, name) {
  let found
  try { found = await readMel(bytes, {name, bands: config.n_mels}) } catch (error) { throw refusedMel(error, name) }
  const faults = checkMel(found, config), notes = found.note ? [['note_engine', {text: found.note}]] : []
  if (kindOf(bytes) === 'unknown') notes.push(['note_raw', {bands: config.n_mels}])
  return {mel: oneMel(found, faults, name), faults, notes: found.dtype === 'float32' ? notes : [...notes, ['note_type', {type: found.dtype}]]}
}

/** An array of a shape that no mel has is shown with what is wrong with it, and cannot be spoken. */
function oneMel(found, faults, name) {
  try { return asMel(found) } catch (error) {
    if (!faults.length) throw refusedMel(error, name) // several mels, each of which is right
    return {data: found.data, bands: 0, frames: 0}
  }
}

function refusedMel(error, name) {
  const why = reason(error)
  if (why.includes('Python objects')) return new Said('objects', {name})
  return why.startsWith('it holds 0 arrays') ? new Said('empty_npz', {name}) : new Said('bad_mel', {name, why})
}

function take(files) {
  const notes = files.length > 1 ? [['note_files', {n: files.length, name: files[0].name}]] : []
  return job(signal => open(files[0], signal, notes))
}

function refuseDrop(key, values) { return job(() => { throw new Said(key, values) }) }

function dropped(e) {
  const {items, files, types} = e.dataTransfer, folder = [...items].map(i => i.webkitGetAsEntry?.()).find(o => o?.isDirectory)
  if (folder) return refuseDrop('folder', {name: folder.name})
  return files.length ? take([...files]) : refuseDrop('no_file', {what: [...types].join(', ') || '?'})
}

async function example() {
  return job(async signal => {
    step(signal, ['reading', {name: settings.example}])
    const bytes = await pieces.bytes('example')
    await open(new File([bytes], settings.example), signal)
  })
}

// The microphone

async function record() {
  if (state.recorder) return recorded()
  if (state.asking) return
  state.asking = true
  const fresh = new Recorder()
  show({status: ['asking', {}], error: null, notes: location.protocol === 'file:' ? [['record_file', {}]] : []})
  try {
    await fresh.start(heardLevel, () => state.recorder === fresh && recorded())
    state.recorder = fresh
    recordButton(true)
  } catch (error) { job(() => { throw error }) } finally { state.asking = false }
}

let peak = 0
function heardLevel(level, seconds) {
  $('meter').value = peak = Math.max(level, peak*.95)
  show({status: ['recording_now', {n: Math.floor(seconds), all: LONGEST}]})
}

function recordButton(on) {
  $('meter').hidden = !on
  $('record').textContent = t(on ? 'stop' : 'record')
  $('record').setAttribute('aria-pressed', on)
}

function recorded() {
  const {wave, rate: own} = state.recorder.stop(), name = t('my_recording')
  state.recorder = null
  recordButton(false)
  return job(async signal => {
    if (!wave.length) throw new Said('nothing_recorded')
    const notes = own === rate ? [] : [['note_resampled', {rate: own, own: rate}]]
    await copySound({wave, rate: own, notes: [...notes, ...notesOf(wave)]}, name, signal)
  })
}

// A mel that still arrives, from a page that opened this one or holds it in a frame

/** Frames after frames become a mel band after band. */
function melOfFrames(data) {
  const bands = config.n_mels
  if (data.length%bands) throw new Said('bad_mel', {name: 'postMessage', why: `${data.length} numbers, no multiple of ${bands}`})
  return transposed({data, bands: data.length/bands, frames: bands})
}

class Arriving {
  constructor(signal) {
    Object.assign(this, {signal, rows: [], waves: [], frames: 0, out: 0, checked: false, spent: 0, over: new Promise((ok, no) => Object.assign(this, {ok, no}))})
    this.over.catch(() => {}) // said where it is awaited
    signal.addEventListener('abort', () => { this.live?.stop(); this.no(new DOMException('', 'AbortError')) })
  }

  async open() {
    this.engine = await engine()
    this.live = new Live(rate)
    this.begin = performance.now()
    this.stream = this.engine.stream({signal: this.signal, onPiece: wave => this.piece(wave)})
  }

  piece(wave) {
    this.waves.push(wave)
    this.out += wave.length
    this.live.push(wave)
  }

  async push(data, last) {
    try {
      await (this.opened ??= this.open())
      if (data.length) await this.frame(data)
      if (last) await this.end()
    } catch (error) {
      this.live?.stop()
      this.no(error)
    }
  }

  async frame(data) {
    const mel = melOfFrames(data), hop = config.hop_length
    this.rows.push(data)
    this.frames += mel.frames
    if (!this.checked && this.frames >= 48) this.check()
    const begin = performance.now()
    await this.stream.push(mel)
    this.spent += (performance.now()-begin)/1000
    step(this.signal, ['streaming', {n: round(this.frames*hop/rate, 1), out: round(this.out/rate, 1)}])
  }

  check() {
    this.checked = true
    const mel = melOfFrames(joined(this.rows)), faults = checkMel(mel, config), certain = faults.filter(f => f.certain)
    if (faults.length) show({faults: {mel, name: 'TTS', faults: certain.length ? certain : faults, certain: false}})
  }

  async end() {
    await this.stream.end()
    if (!this.frames) throw new Said('bad_mel', {name: 'postMessage', why: '0 frames'})
    if (!this.checked) this.check()
    this.live.finish()
    this.ok({copy: joined(this.waves), mel: melOfFrames(joined(this.rows)), spent: this.spent, count: this.waves.length})
  }
}

let arriving = null
function arrived({data, source}) {
  const frames = data?.hifiganMel
  if (!(frames instanceof Float32Array) || source !== window.parent && source !== window.opener) return
  if (!arriving) job(async signal => {
    const mine = arriving = new Arriving(signal)
    try {
      const r = await mine.over, {pieces: n, late, worst} = mine.live
      await compared(mine.engine, {...r, name: 'TTS', wave: null}, signal)
      const ends = late ? t('were_late', {n: late, ms: Math.round(1000*worst)}) : t('on_time')
      show({status: ['stream_done', {seconds: round(r.copy.length/rate), n, late: ends}]})
    } finally { if (arriving === mine) arriving = null }
  })
  arriving.push(frames, Boolean(data.last))
}

// The beginning

function ownLanguage() {
  let kept = null
  try { kept = localStorage.getItem('hifigan language') } catch { /* this browser keeps nothing: the page asks it each time */ }
  const asked = kept ?? new URLSearchParams(location.search).get('lang') ?? navigator.language
  return String(asked).toLowerCase().startsWith('ru') ? 'ru' : 'en'
}

function changeLanguage() {
  const lang = state.lang === 'en' ? 'ru' : 'en'
  try { localStorage.setItem('hifigan language', lang) } catch { /* then it is of this visit only */ }
  speakLanguage(lang)
}

function listen() {
  $('language').onclick = changeLanguage
  $('choose').onclick = () => $('file').click()
  $('file').onchange = () => { take([...$('file').files]); $('file').value = '' }
  $('record').onclick = record
  $('example').onclick = example
  $('load').onclick = () => job(load)
  $('cancel').onclick = () => state.job?.abort()
  $('live').onclick = () => $('live').setAttribute('aria-pressed', state.live = !state.live)
  for (const kind of ['dragenter', 'dragover']) addEventListener(kind, e => { e.preventDefault(); $('drop').classList.add('over') })
  for (const kind of ['dragleave', 'drop']) addEventListener(kind, e => { e.preventDefault(); $('drop').classList.remove('over') })
  addEventListener('drop', dropped)
  addEventListener('message', arrived)
  addEventListener('unhandledrejection', e => show({error: ['failed', {why: String(e.reason?.message ?? e.reason)}]}))
}

/** Load the voice, and say that one may begin. */
async function load() {
  await engine()
  show({status: ['ready_to', {}]})
  if (!pieces.inside) await noteKept()
}

async function main() {
  listen()
  $('example').hidden = !pieces.has('example')
  $('load').hidden = pieces.inside
  speakLanguage(ownLanguage())
  if (pieces.inside) return job(load)
  state.kept = {why: await keep()}
  if (!state.kept.why && isolate()) return
  if (await pieces.kept()) await job(load)
  else await noteKept()
}

window.vocoderPage = {state, take, load: () => job(load)} // for tests, and for curious people at the console
main()

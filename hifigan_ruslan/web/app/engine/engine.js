// A vocoder in a browser tab: onnxruntime-web in a worker. README.md in this folder has an example.
import { receptiveField } from './chunks.js'

const STANDARD = { // Names beside each other in the folder of the runtime
  worker: 'worker.js', ort: 'ort.wasm.bundle.min.mjs', wasm: 'ort-wasm-simd-threaded.wasm',
}
const NUMBERS = ['sample_rate', 'n_fft', 'win_length', 'hop_length', 'n_mels', 'fmin']

/** An Error with a cure where the configuration is none of ours. */
function checkConfig(config) {
  const missing = NUMBERS.filter((k) => !Number.isFinite(config?.[k]))
  if (missing.length) {
    throw new Error(`The configuration has no ${missing.join(', ')}: expected is the config.json of a voice`)
  }
  const reach = receptiveField(config)
  if ((config.receptive_field ?? reach) !== reach) {
    throw new Error(`The configuration says receptive_field ${config.receptive_field}, its layers make ${reach}`)
  }
}

/** An Error where this is no mel of `bands` bands; what its values mean is for `checkMel` of check.js. */
function mustBeMel(mel, bands) {
  const has = `${mel?.bands} bands, ${mel?.frames} frames and ${mel?.data?.length} numbers`
  if (!(mel?.data instanceof Float32Array) || mel.data.length !== mel.bands * mel.frames) {
    throw new Error(`A mel is {data: Float32Array, bands, frames}, band after band; found ${has}`)
  }
  if (mel.bands !== bands) throw new Error(`The mel has ${mel.bands} bands, the model expects ${bands}`)
  const bad = mel.data.findIndex((v) => !Number.isFinite(v))
  if (bad >= 0) throw new Error(`The mel holds NaN or infinity, first in frame ${bad % mel.frames}`)
}

const isBytes = (o) => o instanceof ArrayBuffer || ArrayBuffer.isView(o)

/** Bytes as an ArrayBuffer of their own, which may be handed to the worker. */
const own = (o) => (o instanceof ArrayBuffer ? o.slice(0) : o.buffer.slice(o.byteOffset, o.byteOffset + o.byteLength))

/** The bytes at a URL; `onLoad({what, loaded, total})` hears how far it is. */
async function download(url, what, onLoad) {
  let reply
  try { reply = await fetch(url) } catch (e) { throw new Error(`${what} was not loaded from ${url}: ${e.message}`) }
  const said = `${reply.status} ${reply.statusText}`
  if (!reply.ok) throw new Error(`${what} was not loaded from ${url}: the server says ${said}`)
  const total = Number(reply.headers.get('content-length')) || null, parts = []
  let loaded = 0
  const reader = reply.body.getReader()
  for (let part; !(part = await reader.read()).done;) {
    parts.push(part.value)
    loaded += part.value.length
    onLoad?.({ what, loaded, total })
  }
  return new Blob(parts).arrayBuffer()
}

/** Unpack bytes that gzip packed; others as they are. */
async function unpacked(buffer) {
  const [a, b] = new Uint8Array(buffer, 0, Math.min(2, buffer.byteLength))
  if (a !== 0x1f || b !== 0x8b) return buffer
  const stream = new Blob([buffer]).stream().pipeThrough(new DecompressionStream('gzip'))
  return new Response(stream).arrayBuffer()
}

/** The bytes that are given, or at the URL that is given. */
async function bytesOf(source, what, onLoad) {
  return unpacked(isBytes(source) ? own(source) : await download(source, what, onLoad))
}

const absolute = (url) => new URL(url, globalThis.location?.href).href

/** The pieces of a runtime: those that are given, the others from the folder `url`. */
function piecesOf(runtime) {
  const base = runtime.url === undefined ? null : absolute(runtime.url.replace(/\/?$/, '/'))
  const there = (name) => base && new URL(name, base).href
  const standard = Object.fromEntries(Object.entries(STANDARD).map(([k, v]) => [k, there(v)]))
  const all = { ...standard, ...runtime }
  const missing = Object.keys(STANDARD).filter((k) => !all[k])
  if (missing.length) {
    throw new Error(`The runtime has no ${missing.join(', ')}: give its folder as url, or these pieces`)
  }
  return all
}

/** A script as the worker takes it: {url} or {text}. */
const script = (s) => (typeof s === 'string' ? { url: absolute(s) } : { text: s.text })

/** One backend of the runtime, its program loaded. */
async function backend({ ort, wasm }, onLoad) {
  return { ort: script(ort), wasm: await bytesOf(wasm, 'the runtime', onLoad) }
}

/** A worker from the URL of a module, or from the text of a bundle: a page on a disk may have no other. */
function newWorker(source) {
  if (typeof source === 'string') return new Worker(absolute(source), { type: 'module' })
  return new Worker(URL.createObjectURL(new Blob([source.text], { type: 'text/javascript' })))
}

/** What a worker answers, in promises. */
class Line {
  constructor(worker) {
    Object.assign(this, { worker, waiting: new Map(), count: 0, dead: null })
    worker.onmessage = ({ data }) => this.hear(data)
    worker.onerror = (e) => this.close(new Error(`The worker failed: ${e.message ?? 'its script could not be loaded'}`))
    worker.onmessageerror = () => this.close(new Error('The worker sent what cannot be read'))
  }

  /** Ask for a job. @returns {{id: number, answer: Promise}} */
  ask(job, message = {}, { onPiece, move = [] } = {}) {
    const id = ++this.count
    const answer = new Promise((ok, fail) => {
      if (this.dead) return fail(this.dead)
      this.waiting.set(id, { ok, fail, onPiece, keep: job === 'open' })
      this.worker.postMessage({ id, job, ...message }, move)
    })
    return { id, answer }
  }

  hear({ id, piece, first, result, error }) {
    const who = this.waiting.get(id)
    if (!who) return
    if (piece) return this.handOn(id, who, piece, first)
    if (!who.keep || error) this.waiting.delete(id)
    if (error) who.fail(Object.assign(new Error(error.message), { name: error.name }))
    else who.ok(result)
  }

  /** A piece to the one who waits; if that throws, the job ends, and fails with what it threw. */
  handOn(id, who, piece, first) {
    if (who.thrown) return
    try { who.onPiece?.(piece, first) } catch (e) {
      who.thrown = e
      who.fail(e)
      this.abort(id)
    }
  }

  /** What the one who waits for pieces threw, if anything. */
  thrownBy(id) { return this.waiting.get(id)?.thrown }

  abort(id) { if (!this.dead) this.worker.postMessage({ job: 'abort', of: id }) }

  forget(id) { this.waiting.delete(id) }

  /** The end: whoever waits hears why. */
  close(why) {
    this.dead = why
    this.worker.terminate()
    for (const { fail } of this.waiting.values()) fail(why)
    this.waiting.clear()
  }
}

/** An answer that `signal` may stop. */
async function stoppable(line, { id, answer }, signal) {
  if (!signal) return answer
  const stop = () => line.abort(id)
  if (signal.aborted) stop()
  signal.addEventListener('abort', stop)
  try { return await answer } finally { signal.removeEventListener('abort', stop) }
}

/** The vocoder, on the side of the page. */
export class Engine {
  /**
   * @param {object} o
   * @param {ArrayBuffer|Uint8Array|string} o.model ONNX file of hifigan-export, or its URL; may be packed by gzip
   * @param {object} o.config the config.json of the voice
   * @param {object} o.runtime {url: folder} with the standard names, or pieces {worker, ort, wasm}: scripts as URL or
   *   {text}, the wasm as URL or bytes; optionally webgpu: {ort, wasm}
   * @param {'auto'|'webgpu'|'wasm'} [o.prefer]
   * @param {number} [o.threads] most; default as many as the machine has, where the page may
   * @param {number} [o.tile] most frames that are computed at once
   * @param {number} [o.first] the same of the first piece, so that sound comes soon
   * @param {function({what: string, loaded: number, total: ?number})} [o.onLoad] hears how far the loading is
   * @returns {Promise<Engine>}
   */
  static async start({ model, config, runtime, prefer = 'auto', threads, tile, first, onLoad }) {
    checkConfig(config)
    if (!['auto', 'webgpu', 'wasm'].includes(prefer)) {
      throw new Error(`There is no backend '${prefer}'; use 'auto', 'webgpu' or 'wasm'`)
    }
    const all = piecesOf(runtime), line = new Line(newWorker(all.worker))
    try { return await Engine.open(line, all, { model, config, prefer, threads, tile, first, onLoad }) } catch (e) {
      line.close(e)
      throw e
    }
  }

  /** Load model and runtime into the worker; of the two runtimes the one that it can use. */
  static async open(line, all, { model, onLoad, ...rest }) {
    const why = await line.ask('gpu', { prefer: rest.prefer, there: Boolean(all.webgpu) }).answer
    const [bytes, runtime] = await Promise.all([
      bytesOf(model, 'the model', onLoad), backend(why ? all : all.webgpu, onLoad)])
    const message = { model: bytes, runtime, why, ...rest }
    return new Engine(line, rest.config, await line.ask('start', message, { move: [bytes, runtime.wasm] }).answer)
  }

  constructor(line, config, info) {
    Object.assign(this, { line, config, info })
  }

  /**
   * The wave of a mel, in exact pieces.
   * @param {{data: Float32Array, bands: number, frames: number}} mel
   * @param {{onPiece?: function(Float32Array, number), signal?: AbortSignal}} [o]
   * @returns {Promise<Float32Array>} frames*hop_length samples in [-1, 1]
   */
  async vocode(mel, { onPiece, signal } = {}) {
    mustBeMel(mel, this.config.n_mels)
    const wave = new Float32Array(mel.frames * this.config.hop_length)
    const take = (piece, first) => {
      wave.set(piece, first)
      onPiece?.(piece, first)
    }
    await stoppable(this.line, this.line.ask('vocode', { mel }, { onPiece: take }), signal)
    return wave
  }

  /**
   * The wave of a mel that still arrives: each sample comes as soon as no frame to follow can change it.
   * @param {{onPiece: function(Float32Array, number), signal?: AbortSignal}} o
   * @returns {{push: function(object): Promise<number>, end: function(): Promise<number>}} `push` gives the number of
   *   samples that became final with these frames, `end` that of all
   */
  stream({ onPiece, signal } = {}) {
    const { line, config } = this, { id, answer } = line.ask('open', {}, { onPiece })
    const part = async (job, message) => {
      let made
      try {
        made = await stoppable(line, { id, answer: line.ask(job, { of: id, ...message }).answer }, signal)
      } catch (e) { throw line.thrownBy(id) ?? e }
      if (line.thrownBy(id)) throw line.thrownBy(id)
      return made
    }
    answer.catch(() => 0) // the first push says it
    let last = answer
    const after = (f) => (last = last.then(f)) // one after the other
    return {
      push: async (mel) => {
        mustBeMel(mel, config.n_mels)
        return after(() => part('push', { mel }))
      },
      end: () => after(() => part('end')).finally(() => line.forget(id)),
    }
  }

  /** The log-mel of a wave at the rate of the model. @param {Float32Array} wave in [-1, 1] */
  async mel(wave, { signal } = {}) { return this.ofWave('mel', wave, {}, signal) }

  /** A wave at another rate. @param {Float32Array} wave @param {number} from Hz @param {number} to Hz */
  async resample(wave, from, to, { signal } = {}) {
    return this.ofWave('resample', wave, { from, to }, signal)
  }

  /** Ask for what is made of a wave, of which the worker gets a copy. */
  ofWave(job, wave, message, signal) {
    if (!(wave instanceof Float32Array)) throw new Error('A wave is a Float32Array of samples in [-1, 1]')
    const bad = wave.findIndex((v) => !Number.isFinite(v))
    if (bad >= 0) throw new Error(`The wave holds NaN or infinity, first in sample ${bad}`)
    const copy = wave.slice()
    return stoppable(this.line, this.line.ask(job, { wave: copy, ...message }, { move: [copy.buffer] }), signal)
  }

  /** A wave at the model's rate to its mel and back: {mel, wave}, the wave as long as the one that was given. */
  async resynthesize(wave, o = {}) {
    const hop = this.config.hop_length, whole = new Float32Array(Math.ceil(wave.length / hop) * hop)
    whole.set(wave)
    const mel = await this.mel(whole, o), copy = await this.vocode(mel, o)
    return { mel, wave: copy.subarray(0, wave.length) }
  }

  /** End the worker and free its memory. */
  stop() { this.line.close(new Error('The engine was stopped')) }
}

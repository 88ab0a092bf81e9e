// The side of the engine that computes: a worker, so that the page answers meanwhile. engine.js speaks to it.
import { Pieces, context, frames } from './chunks.js'
import { LogMel } from './mel.js'
import { Resampler } from './resample.js'

const SLICE = 60 // ms of work between two looks at the messages, where no generator runs
const AGREE = 50 // dB that WebGPU must agree with WebAssembly

const state = { ort: null, session: null, config: null, tile: 512, first: 64, logmel: null, resamplers: new Map() }
const tasks = new Map() // id -> a vocode, stream, mel or resample that is under way
let turn = Promise.resolve() // a session does one run at a time

const say = (message, move = []) => self.postMessage(message, move)
const breath = () => new Promise((go) => {
  const { port1, port2 } = new MessageChannel()
  port1.onmessage = () => {
    port1.close()
    go()
  }
  port2.postMessage(0)
})

/** Is there WebAssembly SIMD? Asked with a function of it. */
export function hasSimd() {
  return WebAssembly.validate(new Uint8Array([0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 10,
    1, 8, 0, 65, 0, 253, 15, 253, 98, 11]))
}

/** How many threads, and why. */
function chooseThreads(asked, isolated, cores) {
  if (asked === 1) return [1, 'one thread, as asked']
  if (!isolated) return [1, 'one thread: the page is not cross-origin isolated, so it has no shared memory']
  const n = Math.max(1, Math.min(asked ?? cores, cores, 16))
  return [n, `${n} thread${n > 1 ? 's' : ''} on ${cores} processors`]
}

/** The module of onnxruntime-web, from its URL or its text. */
async function loadRuntime({ ort, wasm }, threads) {
  const url = ort.url ?? URL.createObjectURL(new Blob([ort.text], { type: 'text/javascript' }))
  const module = await import(url)
  module.env.wasm.numThreads = threads
  module.env.wasm.wasmBinary = wasm
  module.env.logLevel = 'error'
  return module
}

const options = (backend) => ({ executionProviders: [backend], graphOptimizationLevel: 'all', enableMemPattern: false })

/** A session for the model; an Error in words where it is none of ours. */
async function open(ort, model, backend) {
  let session
  try { session = await ort.InferenceSession.create(model, options(backend)) } catch (e) {
    throw new Error(`The model cannot be opened: ${short(e)}. Expected is an ONNX file of hifigan-export`)
  }
  if (session.inputNames.join() === 'mel' && session.outputNames.join() === 'wav') return session
  throw new Error(`The model has the inputs ${session.inputNames} and the outputs ${session.outputNames}, ` +
    'expected are mel and wav: an ONNX file of hifigan-export')
}

const short = (e) => String(e?.message ?? e).split('\n')[0].slice(0, 200)

/** The wave of one mel, in one run. */
async function generate(session, mel) {
  const input = new state.ort.Tensor('float32', mel.data, [1, mel.bands, mel.frames])
  const { wav } = await session.run({ mel: input })
  const data = await wav.getData()
  const wave = wav.location === 'cpu' ? data : Float32Array.from(data)
  if (wave.length !== mel.frames * state.config.hop_length) {
    const { hop_length: hop } = state.config
    throw new Error(`it makes ${wave.length / mel.frames} samples of a frame, and hop_length is ${hop}`)
  }
  return wave
}

/** A short mel that is no silence, always the same. */
function trial(config, n = 24) {
  const data = new Float32Array(config.n_mels * n)
  for (let i = 0; i < data.length; i++) data[i] = -5 + 3 * Math.sin(i * .7) + 1.5 * Math.sin(i * i * .013)
  return { data, bands: config.n_mels, frames: n }
}

/** dB by which the second wave is like the first. */
function agreement(a, b) {
  let power = 0, error = 0
  for (let i = 0; i < a.length; i++) {
    power += a[i] ** 2
    error += (a[i] - b[i]) ** 2
  }
  return error === 0 ? Infinity : 10 * Math.log10(power / error)
}

async function timed(session, mel) {
  const start = performance.now(), wave = await generate(session, mel)
  return { wave, ms: performance.now() - start }
}

/** Why WebGPU is not even tried; '' where it is. */
async function noGpu({ prefer, there }) {
  if (prefer === 'wasm') return 'WebAssembly, as asked'
  if (!there) return 'the runtime of WebGPU is not here'
  if (!self.navigator.gpu) return 'this browser offers no WebGPU here'
  try { return (await self.navigator.gpu.requestAdapter()) ? '' : 'WebGPU finds no graphics processor' } catch (e) {
    return `WebGPU failed (${short(e)})`
  }
}

/** Try WebGPU against WebAssembly in the same runtime: [its session or null, why]. */
async function tryGpu(model, wasm) {
  let gpu
  try {
    gpu = await open(state.ort, model, 'webgpu')
    await generate(gpu, trial(state.config)) // compiles the shaders
    const mine = await timed(wasm, trial(state.config)), its = await timed(gpu, trial(state.config))
    const db = agreement(mine.wave, its.wave)
    if (!(db >= AGREE)) return [null, `WebGPU agrees with WebAssembly to ${db.toFixed(0)} dB only, ${AGREE} are needed`]
    if (its.ms > mine.ms) return [null, `WebGPU is slower here, ${its.ms.toFixed(0)} ms against ${mine.ms.toFixed(0)}`]
    return [gpu, `WebGPU agrees with WebAssembly to ${Math.min(db, 200).toFixed(0)} dB and is ` +
      `${(mine.ms / its.ms).toFixed(1)} times as fast`]
  } catch (e) {
    await gpu?.release()
    return [null, `WebGPU failed (${short(e)})`]
  }
}

/** Load runtime and model, choose the backend, try it once. */
async function start({ model, config, runtime, prefer, threads, tile, first, why }) {
  if (!hasSimd()) throw new Error('This browser has no WebAssembly SIMD: use one of 2021 or newer')
  Object.assign(state, { config, logmel: new LogMel(config), tile: tile ?? state.tile, first: first ?? state.first })
  const cores = self.navigator.hardwareConcurrency || 1
  const [n, whyThreads] = chooseThreads(threads, self.crossOriginIsolated === true, cores)
  state.ort = await loadRuntime(runtime, n)
  const bytes = new Uint8Array(model), wasm = await open(state.ort, bytes, 'wasm')
  await tryOnce(wasm)
  const [gpu, whyGpu] = why ? [null, why] : await tryGpu(bytes, wasm)
  if (gpu) await wasm.release()
  state.session = gpu ?? wasm
  const asked = prefer === 'webgpu' && !gpu ? 'WebGPU was asked for and is not used: ' : ''
  return { backend: gpu ? 'webgpu' : 'wasm', threads: n, simd: true, why: `${asked}${whyGpu}; ${whyThreads}` }
}

/** First runs: what does not fit, or is damaged, is said now and not in the middle of a sound. */
async function tryOnce(session) {
  const { config } = state, behind = context(config)[1], mel = trial(config, 2 * behind + 2)
  const no = 'The model and its configuration do not belong together: '
  let wave, part
  try {
    wave = await generate(session, mel)
    part = await generate(session, frames(mel, 0, behind + 1))
  } catch (e) { throw new Error(no + short(e)) }
  const first = wave.subarray(0, config.hop_length)
  if (first.some((v, i) => Math.abs(v - part[i]) > 1e-4)) throw new Error(`${no}it hears farther than ${behind} frames`)
  if (!wave.every(Number.isFinite)) throw new Error('The model gives no numbers: its weights are damaged')
}

/** Wait for one's turn at the session. */
function inTurn(f) {
  const done = turn.then(f)
  turn = done.catch(() => 0) // the next one's turn comes all the same; who asked gets the error
  return done
}

/** All samples that are final now, each piece as soon as it is there. Returns their number. */
async function flow(id, pieces, last, wait) {
  let made = 0
  for (let piece; (piece = pieces.next(last, wait));) {
    const { mel, skip, samples, first } = piece
    if (tasks.get(id)?.stopped) throw stopped()
    const wave = (await inTurn(() => generate(state.session, mel))).slice(skip, skip + samples)
    made += samples
    say({ id, piece: wave, first }, [wave.buffer])
    await breath() // for a message that says stop
  }
  return made
}

const stopped = () => Object.assign(new Error('It was stopped'), { name: 'AbortError' })

/** Write numbers 0 to n with `fill(a, b)` in slices of some ms, looking at the messages in between. */
async function inSlices(id, n, fill) {
  for (let at = 0, size = 64; at < n;) {
    if (tasks.get(id)?.stopped) throw stopped()
    const b = Math.min(n, at + size), begun = performance.now()
    fill(at, b)
    at = b
    size = Math.max(16, Math.round(size * Math.min(4, SLICE / Math.max(1, performance.now() - begun))))
    await breath()
  }
}

const newPieces = () => new Pieces(context(state.config), state.config.hop_length, state.tile, state.first)

/** The stream of this number; an Error where it has ended. */
function streamOf(id) {
  if (!tasks.get(id)?.pieces) throw new Error('This stream has ended or was stopped: begin a new one')
  return tasks.get(id)
}

function lost(id, e) {
  tasks.delete(id)
  throw e
}

const jobs = {
  gpu: noGpu,
  start,
  async vocode({ id, mel }) {
    const pieces = newPieces()
    pieces.push(mel)
    return flow(id, pieces, true)
  },
  async open({ id }) { tasks.get(id).pieces = newPieces() }, // a stream; its task stays
  async push({ of, mel }) {
    const { pieces } = streamOf(of)
    pieces.push(mel)
    return flow(of, pieces, false).catch((e) => lost(of, e))
  },
  async end({ of }) {
    const { pieces } = streamOf(of)
    if (pieces.rows) await flow(of, pieces, true).catch((e) => lost(of, e))
    tasks.delete(of)
    return pieces.done * state.config.hop_length
  },
  async mel({ id, wave }) {
    const n = state.logmel.frames(wave.length), bands = state.config.n_mels
    const out = { data: new Float32Array(bands * n), bands, frames: n }
    await inSlices(id, n, (a, b) => state.logmel.fill(wave, out, a, b))
    return out
  },
  async resample({ id, wave, from, to }) {
    const key = `${from} ${to}`
    if (!state.resamplers.has(key)) state.resamplers.set(key, new Resampler(from, to))
    const r = state.resamplers.get(key)
    if (r.up === r.down) return wave
    const out = new Float32Array(r.length(wave.length))
    await inSlices(id, out.length, (a, b) => r.fill(wave, out, a, b))
    return out
  },
}

function stop(id) {
  if (tasks.has(id)) tasks.get(id).stopped = true
}

const buffers = (result) => [result?.data ?? result].filter(ArrayBuffer.isView).map((o) => o.buffer)

self.onmessage = async ({ data: message }) => {
  const { id, job } = message
  if (job === 'abort') return stop(message.of)
  tasks.set(id, {})
  try {
    const result = await jobs[job](message)
    say({ id, result }, buffers(result))
  } catch (e) { say({ id, error: { name: e.name, message: short(e) } }) } finally {
    if (job !== 'open') tasks.delete(id)
  }
}

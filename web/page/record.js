// The microphone as float samples, with its level while it runs.
import {Said} from './files.js'

export const LONGEST = 120 // Seconds of a recording
const WORKLET = `registerProcessor('keep', class extends AudioWorkletProcessor {
  process(inputs) { if (inputs[0][0]) this.port.postMessage(inputs[0][0].slice()); return true }
})`
const CONSTRAINTS = {channelCount: 1, echoCancellation: false, noiseSuppression: false, autoGainControl: false}
const KNOWN = ['NotAllowedError', 'NotFoundError', 'NotReadableError', 'SecurityError']

/** Words for what a browser answers in place of a microphone. */
export function refusal(error) {
  return KNOWN.includes(error.name) ? new Said(error.name) : new Said('record_failed', {why: `${error.name}: ${error.message}`})
}

/** A page from a disk may load no worklet from a blob, but one from a data link. */
async function addWorklet(context) {
  const url = URL.createObjectURL(new Blob([WORKLET], {type: 'text/javascript'}))
  try { await context.audioWorklet.addModule(url) } catch {
    await context.audioWorklet.addModule(`data:text/javascript,${encodeURIComponent(WORKLET)}`)
  } finally { URL.revokeObjectURL(url) }
}

export class Recorder {
  /** @param {(level: number, seconds: number) => void} onLevel @param {() => void} onFull after LONGEST seconds */
  async start(onLevel, onFull) {
    if (!navigator.mediaDevices) throw new Said('SecurityError') // neither https nor localhost nor a file
    try {
      this.stream = await navigator.mediaDevices.getUserMedia({audio: CONSTRAINTS})
      await this.listen(onLevel, onFull)
    } catch (error) {
      this.close()
      throw refusal(error)
    }
  }

  async listen(onLevel, onFull) {
    this.context = new AudioContext()
    this.pieces = []
    await addWorklet(this.context)
    const node = new AudioWorkletNode(this.context, 'keep', {numberOfOutputs: 0}), rate = this.context.sampleRate
    let n = 0
    node.port.onmessage = e => {
      this.pieces.push(e.data)
      n += e.data.length
      onLevel(e.data.reduce((top, x) => Math.max(top, Math.abs(x)), 0), n/rate)
      if (n > LONGEST*rate) onFull()
    }
    this.context.createMediaStreamSource(this.stream).connect(node)
    await this.context.resume()
  }

  close() {
    this.stream?.getTracks().forEach(t => t.stop())
    if (this.context && this.context.state !== 'closed') this.context.close()
  }

  /** @returns {{wave: Float32Array, rate: number}} what was recorded */
  stop() {
    this.close()
    return {wave: joined(this.pieces), rate: this.context.sampleRate}
  }
}

/** @param {Float32Array[]} pieces @returns {Float32Array} one after the other */
export function joined(pieces) {
  const out = new Float32Array(pieces.reduce((n, p) => n+p.length, 0))
  let at = 0
  for (const p of pieces) {
    out.set(p, at)
    at += p.length
  }
  return out
}

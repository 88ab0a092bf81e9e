// A long mel in pieces, with the very samples that it would have as a whole: as in 21_generator and 40_streaming.

/** How far a residual block sees on each side, samples. */
function blockReach(resblock, kernel, dilations) {
  const per = (d) => Math.floor(((d + (resblock === '1' ? 1 : 0)) * (kernel - 1)) / 2)
  return dilations.reduce((sum, d) => sum + per(d), 0)
}

const MEMORY = 192, PITCH = 4 // Frames that a voiced stretch may last, and that its pitch is heard in: 28_pitch

/** The same as `context` of a generator that is no HiFi-GAN, as in 29_light. */
function contextOfKind({ generator, light_blocks: blocks, win_length: window, hop_length: hop }) {
  if (generator !== 'light') throw new Error(`There is no generator '${generator}'; the known ones are hifigan, light`)
  const windows = Math.floor((Math.floor(window / 2) - 1 + Math.floor(hop / 2)) / hop)
  return [MEMORY + PITCH, PITCH].map((n) => Math.max((1 + blocks) * 3, n) + windows)
}

/**
 * How many mel frames before a frame, and behind it, have any influence on its samples.
 * @param {object} config the model's numbers, as in config.json
 * @returns {[number, number]} frames
 */
export function context(config) {
  if ((config.generator ?? 'hifigan') !== 'hifigan') return contextOfKind(config)
  const reach = Math.max(...config.resblock_kernel_sizes.map((k, i) =>
    blockReach(config.resblock, k, config.resblock_dilation_sizes[i])))
  let left = -3, right = config.hop_length - 1 + 3 // conv_post around the samples 0 .. hop-1 of frame 0
  for (let i = config.upsample_rates.length - 1; i >= 0; i--) {
    const u = config.upsample_rates[i], k = config.upsample_kernel_sizes[i], p = (k - u) / 2
    left = Math.ceil((left - reach + p - k + 1) / u)
    right = Math.floor((right + reach + p) / u)
  }
  const both = Math.max(-(left - 3), right + 3) // conv_pre
  return [both, both]
}

/** The larger of the two numbers of `context`. */
export const receptiveField = (config) => Math.max(...context(config))

/**
 * @typedef {{data: Float32Array, bands: number, frames: number}} Mel band after band: data[band*frames + frame]
 */

/** Frames a to b of a mel, as a mel of its own. */
export function frames(mel, a, b) {
  const n = b - a, data = new Float32Array(mel.bands * n)
  for (let k = 0; k < mel.bands; k++) data.set(mel.data.subarray(k * mel.frames + a, k * mel.frames + b), k * n)
  return { data, bands: mel.bands, frames: n }
}

/** One mel behind the other. */
export function joined(a, b) {
  if (!a || !a.frames) return b
  if (!b.frames) return a
  const n = a.frames + b.frames, data = new Float32Array(a.bands * n)
  for (let k = 0; k < a.bands; k++) {
    data.set(a.data.subarray(k * a.frames, (k + 1) * a.frames), k * n)
    data.set(b.data.subarray(k * b.frames, (k + 1) * b.frames), k * n + a.frames)
  }
  return { data, bands: a.bands, frames: n }
}

/** Which windows of a mel to compute, and which of their samples are final. A mel may still arrive. */
export class Pieces {
  /**
   * @param {[number, number]} reach frames before a frame, and behind it, that influence it: `context`
   * @param {number} hop samples of a frame
   * @param {number} tile most new frames in one window: bounds the memory, and long ones compute less twice
   * @param {number} first most new frames in the first window, so that sound comes soon; the next are twice as long
   */
  constructor([before, behind], hop, tile = 512, first = 64) {
    Object.assign(this, { before, behind, hop, tile, size: Math.min(first, tile), rows: null, start: 0, done: 0 })
  }

  /** The next frames of the mel, also none. @param {Mel} mel */
  push(mel) { this.rows = joined(this.rows, mel) }

  /** Frames that are known. */
  get known() { return this.start + (this.rows ? this.rows.frames : 0) }

  /**
   * The next window that gives something new, or null.
   * @param {boolean} last no more frames will follow
   * @param {boolean} wait compute whole windows only, until the last frames come
   * @returns {null | {mel: Mel, skip: number, samples: number, first: number}} drop `skip` samples of the window's
   *   wave; `samples` follow, the first of which is number `first` of the whole
   */
  next(last, wait = false) {
    const n = this.known, full = this.done + this.size + this.behind
    if (wait && !last && n < full) return null
    const b = Math.min(n, full), end = last && b === n ? b : b - this.behind
    if (end <= this.done) return null
    const a = Math.max(0, this.done - this.before), first = this.done
    const mel = frames(this.rows, a - this.start, b - this.start)
    this.done = end
    this.size = Math.min(2 * this.size, this.tile)
    this.forget()
    return { mel, skip: (first - a) * this.hop, samples: (end - first) * this.hop, first: first * this.hop }
  }

  /** Drop the frames that no later window needs, now and then: each time would copy too much. */
  forget() {
    const a = Math.max(0, this.done - this.before)
    if (a - this.start < 4 * (this.tile + this.before) && a - this.start < this.rows.frames / 2) return
    this.rows = frames(this.rows, a - this.start, this.rows.frames)
    this.start = a
  }
}

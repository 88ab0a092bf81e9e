// Pictures of mels: time to the right, bands upwards, a column and a row for each pixel, no margins.

export const MAGMA = [[0, 0, 4], [16, 11, 45], [44, 17, 95], [81, 18, 124], [114, 31, 129], [147, 43, 128], [183, 55, 121], [216, 69, 108], [241, 96, 93], [252, 137, 97],
  [254, 176, 120], [254, 215, 153], [252, 253, 191]]
export const RED_BLUE = [[5, 48, 97], [28, 92, 159], [55, 131, 187], [107, 172, 209], [167, 208, 228], [215, 232, 241], [247, 246, 246], [252, 223, 207], [247, 183, 153],
  [228, 128, 102], [201, 71, 65], [165, 20, 41], [103, 0, 31]]
export const LOW = Math.log(1e-5) // Silence: the darkest colour
export const HIGH = 1 // The brightest colour, natural logarithm
export const DB = 20/Math.LN10 // Decibels in a neper
export const TOP_DB = 20 // Of the difference: full colour
const WIDEST = 1600 // Pixels of a picture; columns of longer mels are means

/** Colour x from 0 to 1 between the points of a map. */
function colour(map, x) {
  const at = Math.min(Math.max(Number.isNaN(x) ? 0 : x, 0), 1)*(map.length-1), i = Math.min(Math.floor(at), map.length-2)
  return map[i].map((c, k) => Math.round(c+(map[i+1][k]-c)*(at-i)))
}

/**
 * Mean over the frames of each column; a mel of fewer frames than WIDEST is taken as it is.
 * @param {{data: Float32Array, bands: number, frames: number}} mel data by bands, then frames
 * @param {number} [widest] @returns {{data: Float32Array, bands: number, frames: number}}
 */
export function columns(mel, widest = WIDEST) {
  const {data, bands, frames} = mel
  if (frames <= widest) return mel
  const out = new Float32Array(bands*widest)
  for (let x = 0; x < widest; x++) {
    const a = Math.floor(x*frames/widest), b = Math.max(a+1, Math.floor((x+1)*frames/widest))
    for (let k = 0; k < bands; k++) {
      let sum = 0
      for (let f = a; f < b; f++) sum += data[k*frames+f]
      out[k*widest+x] = sum/(b-a)
    }
  }
  return {data: out, bands, frames: widest}
}

/**
 * The difference a - b over the frames that both have.
 * @param {{data: Float32Array, bands: number, frames: number}} a @param {{data: Float32Array, bands: number, frames: number}} b
 * @returns {{mel: {data: Float32Array, bands: number, frames: number}, meanDb: number}} nepers, and the mean magnitude in dB
 */
export function difference(a, b) {
  const frames = Math.min(a.frames, b.frames), data = new Float32Array(a.bands*frames)
  let sum = 0
  for (let k = 0; k < a.bands; k++) for (let f = 0; f < frames; f++) sum += Math.abs(data[k*frames+f] = a.data[k*a.frames+f]-b.data[k*b.frames+f])
  return {mel: {data, bands: a.bands, frames}, meanDb: frames ? DB*sum/data.length : 0}
}

/**
 * RGBA of a picture, the highest band in the first row.
 * @param {{data: Float32Array, bands: number, frames: number}} mel @param {number} low @param {number} high values of the ends of the map
 * @param {number[][]} map @returns {Uint8ClampedArray}
 */
export function pixels({data, bands, frames}, low, high, map) {
  const table = Array.from({length: 256}, (_, i) => colour(map, i/255)), out = new Uint8ClampedArray(4*bands*frames)
  for (let k = 0; k < bands; k++) {
    for (let f = 0; f < frames; f++) {
      const at = Math.round(255*(data[k*frames+f]-low)/(high-low)), i = 4*((bands-1-k)*frames+f)
      out.set(table[Math.min(255, Math.max(0, at || 0))], i)
      out[i+3] = 255
    }
  }
  return out
}

function canvasOf(mel, low, high, map) {
  const small = columns(mel), canvas = document.createElement('canvas')
  canvas.width = small.frames
  canvas.height = small.bands
  canvas.getContext('2d').putImageData(new ImageData(pixels(small, low, high, map), small.frames), 0, 0)
  return canvas
}

/** @returns {HTMLCanvasElement} the mel in the colours of every other mel */
export function melPicture(mel) { return canvasOf(mel, LOW, HIGH, MAGMA) }

/** @returns {HTMLCanvasElement} a difference in nepers: red above 0, blue below */
export function differencePicture(mel) { return canvasOf(mel, -TOP_DB/DB, TOP_DB/DB, RED_BLUE) }

/** Slaney's mel scale, as librosa has it: linear below 1 kHz, logarithmic above. */
export function melOf(hz) { return hz < 1000 ? 3*hz/200 : 15+27*Math.log(hz/1000)/Math.log(6.4) }

/**
 * Where round frequencies stand in the picture of a mel.
 * @param {{fmin: number, fmax: number|null, sample_rate: number, n_mels: number}} config
 * @param {number[]} [marked] Hz
 * @returns {{hz: number, percent: number}[]} from the bottom up
 */
export function hertzMarks(config, marked = [250, 1000, 2000, 4000, 8000, 16000]) {
  const low = melOf(config.fmin), high = melOf(config.fmax ?? config.sample_rate/2), step = (high-low)/(config.n_mels+1)
  const at = hz => 100*((melOf(hz)-low)/step-.5)/config.n_mels // band k has its middle k+1 steps up, and its pixel k+.5 rows up
  return marked.map(hz => ({hz, percent: at(hz)})).filter(o => o.percent > 0 && o.percent < 97)
}


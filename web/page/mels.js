// What is done with a dropped mel before it is spoken: the way back from what is off by a unit.

const SMALLEST = 1e-5
const ln = x => Math.log(Math.max(x, SMALLEST))

/** Name of a fault -> what undoes it, value by value. */
const VALUES = {
  'decibels': x => x*Math.LN10/20, 'log10': x => x*Math.LN10, 'ln of power': x => x/2, 'linear magnitude': ln,
  'linear power': x => Math.max(.5*Math.log(Math.max(x, SMALLEST**2)), Math.log(SMALLEST))}

/** @returns {{data: Float32Array, bands: number, frames: number}} frames as bands, and bands as frames */
export function transposed({data, bands, frames}) {
  const out = new Float32Array(data.length)
  for (let k = 0; k < bands; k++) for (let f = 0; f < frames; f++) out[f*bands+k] = data[k*frames+f]
  return {data: out, bands: frames, frames: bands}
}

/** @param {string} name of a fault @returns {boolean} can it be undone here? */
export function canFix(name) { return name === 'transposed' || name in VALUES }

/** @param {{data: Float32Array, bands: number, frames: number}} mel @param {string} name of a fault that can be undone */
export function fixed(mel, name) {
  return name === 'transposed' ? transposed(mel) : {...mel, data: mel.data.map(VALUES[name])}
}

/** @returns {boolean} can these numbers be spoken at all, whatever they mean? */
export function canSpeak({data, bands, frames}, config) {
  return bands === config.n_mels && frames > 0 && data.every(Number.isFinite)
}

/** @returns {{low: number, high: number}} the range of the values that are numbers */
export function range(data) {
  let low = Infinity, high = -Infinity
  for (const x of data) {
    if (x < low) low = x
    if (x > high) high = x
  }
  return {low, high}
}

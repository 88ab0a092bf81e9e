// What is wrong with a mel: the arithmetic, the names and the words of `mel_faults` in 44_mel_formats.
import { FFT, melFilters, melFrequencies } from './mel.js'

/**
 * @typedef {{name: string, evidence: string, todo: string, certain: boolean}} Fault certain: false where the evidence
 *   is statistical
 */

const fault = (name, evidence, todo, certain = true) => ({ name, certain, evidence, todo })
const maybe = (name, evidence, todo) => fault(name, evidence, todo, false)

// How Python writes numbers

/** As '%.3g'. */
export function general(x, digits = 3) {
  if (!Number.isFinite(x)) return Number.isNaN(x) ? 'nan' : x > 0 ? 'inf' : '-inf'
  if (x === 0) return Object.is(x, -0) ? '-0' : '0'
  const [mantissa, exponent] = x.toExponential(digits - 1).split('e'), e = Number(exponent)
  const bare = (s) => (s.includes('.') ? s.replace(/\.?0+$/, '') : s)
  if (e >= -4 && e < digits) return bare(x.toFixed(digits - 1 - e))
  return `${bare(mantissa)}e${e < 0 ? '-' : '+'}${String(Math.abs(e)).padStart(2, '0')}`
}

const fixed = (x, digits) => (Number.isNaN(x) ? 'nan' : x.toFixed(digits))
const percent = (x, digits) => `${fixed(100 * x, digits)}%`
const tuple = (shape) => (shape.length === 1 ? `(${shape[0]},)` : `(${shape.join(', ')})`)

// Statistics over arrays

const sorted = (values) => Float64Array.from(values).sort()

/** The quantile of sorted values, between two of them in proportion. */
function quantileOf(values, q) {
  const place = q * (values.length - 1), i = Math.floor(place)
  return values[i] + (place - i) * (values[Math.min(i + 1, values.length - 1)] - values[i])
}

const quantile = (values, q) => quantileOf(sorted(values), q)

function meanOf(values) {
  let sum = 0
  for (const v of values) sum += v
  return sum / values.length
}

function meanSquare(values) {
  let sum = 0
  for (const v of values) sum += v * v
  return sum / values.length
}

const rms = (values) => Math.sqrt(meanSquare(values))

function skewness(values) {
  let cubes = 0
  for (const v of values) cubes += v ** 3
  return cubes / values.length / meanSquare(values) ** 1.5
}

/** Mels (batch, bands, frames) with what is asked of them. */
class Mels {
  constructor(data, batch, bands, frames) { Object.assign(this, { data, batch, bands, frames }) }

  at(b, k, f) { return this.data[(b * this.bands + k) * this.frames + f] }

  /** The values of some bands, in rows. */
  values(from = 0, to = this.bands) {
    const out = new Float64Array(this.batch * (to - from) * this.frames), row = (to - from) * this.frames
    for (let b = 0; b < this.batch; b++) {
      const start = (b * this.bands + from) * this.frames
      out.set(this.data.subarray(start, start + row), b * row)
    }
    return out
  }

  /** Differences over `df` frames and `dk` bands, those of the bands from, to. */
  differences(df, dk = 0, from = 0, to = this.bands - dk) {
    const out = new Float64Array(Math.max(0, this.batch * (to - from) * (this.frames - df)))
    let i = 0
    for (let b = 0; b < this.batch; b++) for (let k = from; k < to; k++) for (let f = 0; f < this.frames - df; f++) {
      out[i++] = this.at(b, k + dk, f + df) - this.at(b, k, f)
    }
    return out
  }

  /** Mean over the bands from, to of each frame, frame after frame of each mel. */
  level(from = 0, to = this.bands) {
    const out = new Float64Array(this.batch * this.frames)
    for (let b = 0; b < this.batch; b++) for (let k = from; k < to; k++) for (let f = 0; f < this.frames; f++) {
      out[b * this.frames + f] += this.at(b, k, f) / (to - from)
    }
    return out
  }

  /** At most so many mels and frames of each. */
  first(batch, frames) {
    if (this.batch <= batch && this.frames <= frames) return this
    const n = Math.min(batch, this.batch), m = Math.min(frames, this.frames), out = new Float64Array(n * this.bands * m)
    for (let row = 0; row < n * this.bands; row++) {
      out.set(this.data.subarray(row * this.frames, row * this.frames + m), row * m)
    }
    return new Mels(out, n, this.bands, m)
  }

  map(f) { return new Mels(this.data.map(f), this.batch, this.bands, this.frames) }

  /** Frames and bands in each other's places. */
  turned() {
    const out = new Float64Array(this.data.length)
    for (let k = 0; k < this.bands; k++) {
      for (let f = 0; f < this.frames; f++) out[f * this.bands + k] = this.at(0, k, f)
    }
    return new Mels(out, 1, this.frames, this.bands)
  }
}

/** Lowest and highest. */
function ends(values) {
  let lo = Infinity, hi = -Infinity
  for (const v of values) {
    if (v < lo) lo = v
    if (v > hi) hi = v
  }
  return [lo, hi]
}

/** A function that tells whether a value is above the floor. */
function aboveFloor(x) {
  const [lo, hi] = ends(x.data), least = lo + .02 * (hi - lo)
  return (v) => v > least
}

/** Root mean square difference of neighbouring frames, without values at the floor; NaN where too little is left. */
function stepOf(x) {
  const live = aboveFloor(x)
  let sum = 0, n = 0
  for (let row = 0; row < x.batch * x.bands; row++) for (let f = 1; f < x.frames; f++) {
    const a = x.data[row * x.frames + f - 1], b = x.data[row * x.frames + f]
    if (!live(a) || !live(b)) continue
    sum += (b - a) ** 2
    n++
  }
  return n > 500 ? Math.sqrt(sum / n) : NaN
}

/** Mean square difference over two frames, by that over one, of broad bands and their upper 8 nepers. */
function pace(x) {
  const [, hi] = ends(x.data), loud = x.map((v) => Math.max(v, hi - 8)), quarter = x.bands / 4
  const rows = [0, 1, 2, 3].map((i) => loud.level(i * quarter, (i + 1) * quarter))
  const broad = new Float64Array(4 * rows[0].length)
  for (let b = 0; b < x.batch; b++) rows.forEach((row, i) => {
    broad.set(row.subarray(b * x.frames, (b + 1) * x.frames), (4 * b + i) * x.frames)
  })
  const m = new Mels(broad, x.batch, 4, x.frames)
  return meanSquare(m.differences(2)) / meanSquare(m.differences(1))
}

/** Lowest, highest, mean, standard deviation and step of the values of a mel. */
function numbersOf(x) {
  const [lo, hi] = ends(x.data), mean = meanOf(x.data)
  let squares = 0
  for (const v of x.data) squares += (v - mean) ** 2
  return { lo, hi, mean, std: Math.sqrt(squares / x.data.length), step: stepOf(x) }
}

// What is no mel

/** Type, shape and numbers; what follows needs a mel. */
function noMel({ data, shape, dtype }, bands) {
  const has = `The mel has the shape ${tuple(shape)}`, [n, frames] = shape.slice(-2)
  if (!/^b?float/.test(dtype)) return ['type', `The mel is of type ${dtype}`]
  if (shape.length !== 2 && shape.length !== 3) return ['rank', has]
  if (n !== bands) {
    return frames === bands ? ['transposed', `${has}: it is transposed, frames before bands`]
      : ['bands', `${has}: ${n} bands instead of ${bands}`]
  }
  if (!data.length) return ['empty', `The mel is empty, its shape is ${tuple(shape)}`]
  let good = 0
  for (const v of data) if (Number.isFinite(v)) good++
  if (good === data.length) return null
  return ['not finite', `The mel holds NaN or infinity (${percent(good / data.length, 1)} of the values are good)`]
}

// What the range of the values proves

const FROM_POWER = "Half of it is near; better is convert_mel(mel, from_='torchaudio', cfg=...), " +
  'or a MelFormat with power=2'

function noLogarithm(x, n) {
  const values = sorted(x.data)
  if (values[Math.floor((values.length - 1) / 2)] > .1 * n.hi) {
    return ['scaled to 0..1', ', evenly: this looks like a mel normalised to start at 0',
      '. Undo it: multiply by the span, add the smallest value']
  }
  if (stepOf(x.map((v) => Math.log(Math.max(v, 1e-12)))) > .85) {
    return ['linear power', ', most of them near 0: this looks like a power mel without logarithm',
      '. Take .5*mel.log(), and see MEL_FORMATS for the filters']
  }
  return ['linear magnitude', ', most of them near 0: this looks like a mel without logarithm',
    '. Take mel.clamp(min=1e-5).log()']
}

function meanVariance(x, n) {
  if (x.frames < 40 || !(Math.abs(n.mean) < .6 && n.std > .5 && n.std < 1.5)) return null
  return ['mean-variance normalised', ` with mean ${fixed(n.mean, 2)} and standard deviation ${fixed(n.std, 2)}: ` +
    'this looks like a mel normalised by mean and variance',
  '. Multiply by the standard deviation and add the mean that the TTS was trained with']
}

/** Values that no magnitude has: what is above our floor tells the logarithm by its steps. */
function tooWide(x, n) {
  if (n.lo >= -16 && n.hi <= 6) return null
  if (n.lo > -4 && n.mean > 2) return ['negative', ': this looks like a mel with its sign turned', '. Take -mel']
  const step = n.lo >= -50 ? stepOf(x.map((v) => Math.max(v, -11.5))) : NaN
  if ((n.lo >= -50 && n.hi < -11.5 && n.std < .5) || (step < .78 && n.hi <= 3.5)) {
    return ['lower floor', ', and above -11.5 they are as they should be: this looks like a floor of ' +
      general(Math.exp(n.lo), 1), '. Take mel.clamp(min=-11.5129), the logarithm of 1e-5']
  }
  if (step < 1.03 && n.hi <= 4.5) {
    return ['log2', ` with a step of ${fixed(step, 2)} between frames (0.6 in natural logarithms): ` +
      'this looks like a logarithm to the base 2', '. Multiply it by ln(2) = 0.6931']
  }
  if (step < 1.7 && n.hi <= 12) {
    return ['ln of power', ` with a step of ${fixed(step, 2)} between frames (0.6 in magnitudes): ` +
      'this looks like the logarithm of powers', `. ${FROM_POWER}`]
  }
  return ['decibels', ': this looks like decibels',
    '. Decibels of a magnitude become that when multiplied by ln(10)/20 = 0.1151']
}

function scaledTo4(x, n) {
  let lowest = 0
  for (const v of x.data) if (v < n.lo + .01) lowest++
  lowest /= x.data.length
  if (!(n.lo > -4.02 && n.lo < -3.98 && n.hi <= 4.02 && n.std > .9 && lowest > .005)) return null
  return ['scaled to -4..4', `, and ${percent(lowest, 1)} of them are the lowest: ` +
    'this looks like a mel scaled to -4..4 and clipped there', ". convert_mel(mel, from_='coqui', cfg=...) undoes it"]
}

function scaledTo1(n) {
  if (!(n.lo >= -1.05 && n.lo < 0 && n.hi <= 1.05 && n.std > .1 && n.step < .2)) return null
  return ['scaled to -1..1', `, in steps of ${fixed(n.step, 2)} from frame to frame (0.6 in a mel of sound): ` +
    'this looks like a mel scaled to -1..1',
  '. Undo it with the lowest and the highest value that the TTS was trained with: (mel+1)/2*(highest-lowest)+lowest']
}

function rangeFault(x, n) {
  const wrong = n.lo >= 0 && n.hi > 0 ? noLogarithm(x, n)
    : scaledTo1(n) ?? meanVariance(x, n) ?? tooWide(x, n) ?? scaledTo4(x, n)
  if (!wrong) return null
  const [name, why, todo] = wrong
  return fault(name, `The values of the mel go from ${general(n.lo)} to ${general(n.hi)}${why}`,
    `expected the natural logarithm of a magnitude, from -11.5 (silence) to about 2${todo}`)
}

// What speech tells

/** Whether the figures were measured with such mels. */
function tuned(c) {
  return Math.abs(c.hop_length / c.sample_rate * 86.13 - 1) < .05 && 4 * c.hop_length === c.win_length &&
    c.win_length === c.n_fft && c.n_mels === 80 && c.fmin === 0 && (c.fmax || c.sample_rate / 2) === 8000
}

/** Higher where the last axis is time and the one before it frequency, of a square mel. */
function alongTime(x) {
  const tilt = meanOf(x.values(0, 20)) - meanOf(x.values(60))
  const far = x.differences(4), rise = x.differences(2), near = x.differences(1)
  const low = rms(x.differences(1, 0, 0, 15)), high = rms(x.differences(1, 0, 60, x.bands))
  return 5.6 * Math.log(rms(near)) + 13.4 * Math.log(rms(far) / rms(near)) + .6 * tilt + 2.5 * skewness(rise) -
    3.8 * Math.log(low / high)
}

function square(x, n) {
  if (x.batch > 1 || x.frames !== x.bands || n.std < .2) return null
  const sure = alongTime(x.turned()) - alongTime(x)
  if (!(sure > 5)) return null
  return maybe('transposed', `The mel has as many frames as bands, ${x.frames}, and reads better the other way ` +
    `round (by ${fixed(sure, 1)}; right ones stay below 4)`, 'bands come first, (n_mels, F): mel.T')
}

function outOfOrder(x) {
  const jump = rms(x.differences(1)) / Math.max(rms(x.differences(0, 1)), 1e-9)
  if (!(jump > 2.8 && pace(x) < 1.4)) return null
  return maybe('frames out of order',
    `Neighbouring frames have nothing to do with each other: they differ ${fixed(jump, 1)} times as much as ` +
    'neighbouring bands (0.5 to 1.5 in speech)',
    'frame after frame is expected, each with all of its bands: a mel (bands, F) that was written as it lies in ' +
    'memory has the bands first, so write mel.T')
}

function noSlaneyNorm(n) {
  if (!(n.hi > 3) || n.step > .9) return null
  return maybe('no Slaney norm',
    `The loudest value of the mel is ${fixed(n.hi, 1)}, but sound within [-1, 1] reaches 2.5 at most`,
    "filters of equal area are expected (librosa's norm='slaney'); torchaudio and HTK leave them unnormalised, " +
    'which adds 3.6 to 5.6. Or the wave was not within [-1, 1]')
}

function anotherHop(x, n, c) {
  const p = pace(x)
  if (!(p < 2.75 && n.step > .88 && n.std > 1.4)) return null
  return maybe('another hop',
    `The frames differ too much from one to the next (step ${fixed(n.step, 2)}, expected 0.6; ` +
    `pace ${fixed(p, 2)}, expected 3.0)`,
  `a frame each ${c.hop_length} samples at ${c.sample_rate} Hz is expected, and these are farther apart: ` +
    'set hop_length in the configuration of the TTS')
}

/** By how much the first 30 bands of loud frames are stronger than those from 50 on. */
function tiltOf(x) {
  const level = x.level(), least = quantile(level, .7), low = x.level(0, 30), high = x.level(50)
  let sum = 0, n = 0
  for (let i = 0; i < level.length; i++) if (level[i] > least) {
    sum += low[i] - high[i]
    n++
  }
  return sum / n
}

function upsideDown(x) {
  const tilt = tiltOf(x)
  if (!(tilt < -.5)) return null
  return maybe('bands upside down',
    `In the loudest frames the first 30 bands are ${fixed(-tilt, 1)} weaker than the last 30; ` +
    'in speech they are stronger, by 1 to 3', 'the first band must be the lowest: mel.flip(-2)')
}

/** By how much loud frames are above quiet ones. */
function variedBy(x) {
  const level = sorted(x.level())
  return quantileOf(level, .9) - quantileOf(level, .1)
}

function littleContrast(x, n) {
  const varied = variedBy(x)
  if (!(n.std > .02 && n.std < .6 && n.step < .2 && varied > 1.3 * n.std)) return null
  return maybe('too little contrast',
    `Loud and quiet differ as in speech, but by ${fixed(varied, 2)} only (4 to 6), ` +
    `and the frames by ${fixed(n.step, 2)} from one to the next (0.6)`,
    'the natural logarithm of a magnitude is expected: multiply by what the TTS divided its mels by')
}

function lnOfPower(n) {
  if (!(n.step > .9 && (n.std > 3.3 || n.hi > 3))) return null
  if (n.step < 1.03 && n.hi <= 3) {
    return maybeLog2(`the frames differ by ${fixed(n.step, 2)} from one to the next (0.6)`)
  }
  return maybe('ln of power',
    `The frames differ by ${fixed(n.step, 2)} from one to the next (0.6 in a mel of magnitudes) ` +
    `and the values by ${fixed(n.std, 1)} from their mean (2 to 3)`,
  `the logarithm of a magnitude is expected. ${FROM_POWER}`)
}

function log10(x, n) {
  const values = sorted(x.data), span = quantileOf(values, .995) - quantileOf(values, .005)
  if (!(span < 5.5 && n.hi - n.mean < 3.3 && n.step < .32 && n.std > .6 && n.hi > -3)) return null
  return maybe('log10',
    `Nearly all values are within ${fixed(span, 1)} (in natural logarithms, speech spans 7 to 12), ` +
    `and the frames differ by ${fixed(n.step, 2)} from one to the next (0.6)`,
  "the natural logarithm is expected: multiply by ln(10) = 2.3026, or convert_mel(mel, from_='espnet', cfg=...)")
}

function reversed(x) {
  const skew = skewness(x.differences(2))
  if (!(skew < -.25)) return null
  return maybe('frames reversed', 'The sounds begin slowly and end fast (skewness of the differences ' +
    `${fixed(skew, 2)}, in speech 0.3 to 1.6)`, 'the first frame must be the earliest: mel.flip(-1)')
}

/** How neighbouring bands rise and fall together: correlation of the steps of bands 20 to 40 with the next three. */
function together(x) {
  const live = aboveFloor(x)
  const with_ = (shift) => {
    let aa = 0, bb = 0, ab = 0, n = 0
    for (let m = 0; m < x.batch; m++) for (let k = 20; k < 40; k++) for (let f = 1; f < x.frames; f++) {
      const a0 = x.at(m, k, f - 1), a1 = x.at(m, k, f), b0 = x.at(m, k + shift, f - 1), b1 = x.at(m, k + shift, f)
      if (!live(a0) || !live(a1) || !live(b0) || !live(b1)) continue
      aa += (a1 - a0) ** 2
      bb += (b1 - b0) ** 2
      ab += (a1 - a0) * (b1 - b0)
      n++
    }
    return n < 500 ? NaN : ab / Math.sqrt(aa * bb)
  }
  return (with_(1) + with_(2) + with_(3)) / 3
}

function anotherWindow(x, n, c) {
  if (!(n.std > 1.4 && n.step > .5)) return null
  const r = together(x), most = 1.015 + 20.5 / x.frames // a short mel may be a vowel or a hiss
  const long = n.step > .66 && r + .5 * n.step > most, short = x.frames > 250 && r < .37 && n.step < .75
  if (!long && !short) return null
  return maybe('another rate or window',
    `Neighbouring bands rise and fall together ${long ? 'more' : 'less'} than in a window of ` +
    `${fixed(1000 * c.win_length / c.sample_rate, 0)} ms (correlation ${fixed(r, 2)}, in speech 0.4 to 0.7), and the ` +
    `frames differ by ${fixed(n.step, 2)} (0.6): the window was ${long ? 'longer' : 'shorter'}`,
    `${c.sample_rate} Hz, n_fft ${c.n_fft} and a frame each ${c.hop_length} samples are expected: ` +
    'set these three in the configuration of the TTS')
}

// Whose scale the harmonics are equidistant on

const LOW = 24 // bands that are looked at

/** Three orthogonal unit vectors, of which each parabola over `f` is a sum. */
function parabolas(f) {
  const rows = []
  for (let power = 0; power < 3; power++) {
    const v = Float64Array.from(f, (o) => o ** power)
    for (const q of rows) {
      const along = q.reduce((s, o, i) => s + o * v[i], 0)
      for (let i = 0; i < v.length; i++) v[i] -= along * q[i]
    }
    const size = Math.sqrt(meanSquare(v) * v.length)
    rows.push(v.map((o) => o / size))
  }
  return rows
}

/** Take the parabolas out of a row of numbers, in place. */
function without(v, rows) {
  const along = rows.map((q) => q.reduce((s, o, i) => s + o * v[i], 0))
  for (let i = 0; i < v.length; i++) rows.forEach((q, j) => { v[i] -= along[j] * q[i] })
  return v
}

/** Cosine pairs over the frequency of the lowest bands, 120 periods of 75 to 350 Hz, and the parabolas to leave out. */
function cosines(c, htk) {
  const f = melFrequencies(c.n_mels + 2, c.fmin, c.fmax ?? c.sample_rate / 2, htk).subarray(1, LOW + 1)
  const [, top] = ends(f), rows = parabolas(f.map((o) => o / top)), pairs = []
  for (let i = 0; i < 120; i++) {
    const period = 75 + 275 * i / 119
    const re = without(Float64Array.from(f, (o) => Math.cos(2 * Math.PI * o / period)), rows)
    const im = without(Float64Array.from(f, (o) => Math.sin(2 * Math.PI * o / period)), rows)
    const size = Math.sqrt(LOW * (meanSquare(re) + meanSquare(im)))
    pairs.push([re.map((o) => o / size), im.map((o) => o / size)])
  }
  return { pairs, rows }
}

/** How well a cosine on that scale fits a frame of the lowest bands, and the power of the frame. */
function harmonicFit(low, { pairs, rows }) {
  const y = without(low.slice(), rows), power = meanSquare(y) * LOW
  let best = 0
  for (const [re, im] of pairs) {
    let r = 0, i = 0
    for (let k = 0; k < LOW; k++) {
      r += re[k] * y[k]
      i += im[k] * y[k]
    }
    best = Math.max(best, r * r + i * i)
  }
  return [best / (power + 1e-3), power]
}

/** The fits of both scales, loudness and power of each frame. */
function fits(x, c) {
  const scales = [false, true].map((htk) => cosines(c, htk)), loud = x.level(0, 30), out = []
  for (let b = 0; b < x.batch; b++) for (let f = 0; f < x.frames; f++) {
    const low = Float64Array.from({ length: LOW }, (_, k) => x.at(b, k, f))
    const [slaney, power] = harmonicFit(low, scales[0]), [htk] = harmonicFit(low, scales[1])
    out.push({ slaney, htk, power, loud: loud[b * x.frames + f], fit: Math.max(slaney, htk) })
  }
  return out
}

/** Mean log ratio of the fits of Slaney's scale and HTK's, share of frames for Slaney, depth of the ripple. */
function ripple(x, c) {
  const all = fits(x, c), loud = quantile(all.map((o) => o.loud), .5), some = all.filter((o) => o.loud > loud)
  const clear = quantile(some.map((o) => o.fit), .5), kept = some.filter((o) => o.fit > clear)
  const ratio = kept.map((o) => Math.log(Math.max(o.slaney / Math.max(o.htk, 1e-9), 1e-9)))
  const depth = Math.sqrt(meanOf(kept.map((o) => o.power)) / LOW)
  return [meanOf(ratio), ratio.filter((r) => r > 0).length / ratio.length, depth]
}

function htkScale(x, c, least) {
  const [ratio, share, depth] = ripple(x, c)
  if (!(ratio < -.2 && share < .31 && depth > least)) return null
  return maybe('HTK scale', "The harmonics of the voice are equidistant on HTK's mel scale, not on Slaney's " +
    `(${percent(1 - share, 0)} of the voiced frames say so)`,
  "Slaney's scale is expected (librosa's default): set mel_scale='slaney' or htk=False, " +
    'or use convert_mel with a MelFormat with htk=True')
}

// A voice beside the clearest that a window can show

const PITCHES = Array.from({ length: 120 }, (_, i) => 75 * 4 ** (i / 119)) // Hz
const known = new Map() // of the voices that were computed

/** A voice whose pitch stays, windowed, in phases of its own. */
function oneVoice(pitch, j, rate, window) {
  return window.map((w, t) => {
    let sum = 0
    for (let k = 1; k < 19 && pitch * k < 1400; k++) {
      sum += Math.cos(k * pitch * t / rate * 2 * Math.PI + .7 * (j + 1) * k * k)
    }
    return sum * w
  })
}

/** Lowest bands of voices of each pitch as a window at that rate shows them, without their parabolas. */
function evenVoices(c, rate) {
  const key = [rate, c.n_fft, c.n_mels, c.fmin, c.fmax].join()
  if (known.has(key)) return known.get(key)
  const fmax = c.fmax ?? c.sample_rate / 2, f = melFrequencies(c.n_mels + 2, c.fmin, fmax).subarray(1, LOW + 1)
  const rows = parabolas(f.map((o) => o / ends(f)[1])), fft = new FFT(c.n_fft)
  const filters = melFilters({ ...c, fmax, sample_rate: rate }).slice(0, LOW)
  const window = Float64Array.from({ length: c.n_fft }, (_, t) => .5 - .5 * Math.cos(2 * Math.PI * t / c.n_fft))
  const voices = PITCHES.map((pitch) => {
    const mel = new Float64Array(LOW)
    for (let j = 0; j < 4; j++) {
      const re = oneVoice(pitch, j, rate, window), im = new Float64Array(c.n_fft)
      fft.run(re, im)
      filters.forEach(({ first, weights }, k) => {
        const sum = weights.reduce((s, w, i) => s + w * Math.hypot(re[first + i], im[first + i]), 0)
        mel[k] += Math.log(Math.max(sum, 1e-5)) / 4
      })
    }
    const v = without(mel, rows), size = Math.sqrt(meanSquare(v) * LOW)
    return { size, unit: v.map((o) => o / size) }
  })
  known.set(key, { voices, rows })
  return known.get(key)
}

/** Of a frame: the pitch that fits best, the height of its ripple beside the ideal, and the share that it explains. */
function fitted(low, { voices, rows }) {
  const y = without(low.slice(), rows), size = Math.max(Math.sqrt(meanSquare(y) * LOW), 1e-3)
  let best = -Infinity, at = 0
  voices.forEach(({ unit }, i) => {
    let along = 0
    for (let k = 0; k < LOW; k++) along += unit[k] * y[k]
    if (along > best) [best, at] = [along, i]
  })
  const share = Math.min((Math.max(best, 0) / size) ** 2, .999)
  return { pitch: PITCHES[at], height: best / voices[at].size, share }
}

/** Height of the ripple of low voices, how much better a longer window explains it, and in how many frames. */
function harmonics(x, c) {
  const ours = evenVoices(c, c.sample_rate), theirs = evenVoices(c, c.sample_rate * 16000 / 22050)
  const loud = x.level(0, 30), least = quantile(loud, .5), heights = [], ratios = []
  for (let b = 0; b < x.batch; b++) for (let f = 0; f < x.frames; f++) {
    if (!(loud[b * x.frames + f] > least)) continue
    const low = Float64Array.from({ length: LOW }, (_, k) => x.at(b, k, f))
    const a = fitted(low, ours), other = fitted(low, theirs).share
    if (!(a.pitch > 80 && a.pitch < 180)) continue
    if (a.share > .6) heights.push(a.height)
    if (Math.max(a.share, other) > .6) ratios.push(Math.log((1 - a.share) / (1 - other)))
  }
  return heights.length < 15 ? null : [quantile(heights, .8), meanOf(ratios), heights.length]
}

function maybeLog2(evidence) {
  return maybe('log2', `There is more contrast than in natural logarithms: ${evidence}`,
    'the natural logarithm is expected: if this one is to the base 2, multiply by ln(2) = 0.6931')
}

/** Of a voice that stands out more than it can; `steep` where the steps in time are too large, too. */
function clearHarmonics(x, steep, c) {
  const found = harmonics(x, c)
  if (!found) return null
  const [height, longer, n] = found
  if (steep && height > 1.05 && longer < 0) {
    return maybeLog2(`the harmonics are ${fixed(height, 2)} times as high as they can be`)
  }
  if (!(height > .74 && height + 2 * longer > .84 + 1.5 / n)) return null
  const ms = 1000 * c.win_length / c.sample_rate
  const better = longer > 0 ? `, and one of ${fixed(ms * 1.378, 0)} ms explains them better` : ''
  return maybe('another rate or window',
    `The harmonics of the voice stand out ${fixed(height, 2)} times as much as those of a voice that does not move ` +
    `would in a window of ${fixed(ms, 0)} ms (in speech 0.6 to 0.8)${better}: the window was longer, as at 16 kHz`,
    `${c.sample_rate} Hz, n_fft ${c.n_fft} and a frame each ${c.hop_length} samples are expected: ` +
    'set these three in the configuration of the TTS')
}

/** Frames that hold one number in all bands, and not that of silence; what fills a batch at its end is not asked. */
function noSound(x) {
  let n = 0, first = NaN
  for (let b = 0; b < x.batch; b++) {
    const flat = (f) => {
      for (let k = 1; k < x.bands; k++) if (x.at(b, k, f) !== x.at(b, 0, f)) return false
      return x.at(b, 0, f) > -9
    }
    let end = x.frames
    while (x.batch > 1 && end && flat(end - 1)) end--
    for (let f = 0; f < end; f++) if (flat(f) && !n++) first = x.at(b, 0, f)
  }
  if (!n) return null
  return maybe('no sound', `${n} of ${x.batch * x.frames} frames hold ${general(first)} in all bands`,
    'that is loud and no sound; silence is -11.5: cut off what the mel was filled up with, or fill it up with -11.5')
}

/** What two seconds of speech tell; `clean` where nothing else was found. */
function longFaults(x, n, c, clean) {
  const upside = upsideDown(x)
  if (upside) return [upside]
  const ten = log10(x, n)
  return [clean ? lnOfPower(n) : null, ten, htkScale(x, c, ten ? .34 : .78), reversed(x)]
}

function speechFaults(all, n, c) {
  if (!tuned(c)) return []
  const seconds = all.frames * c.hop_length / c.sample_rate, x = all.first(8, 1500)
  const mixedUp = square(x, n) ?? (x.frames >= 48 ? outOfOrder(x) : null)
  if (mixedUp) return [mixedUp] // and all that follows is meaningless
  const found = [noSlaneyNorm(n)]
  if (seconds >= 2) found.push(littleContrast(x, n))
  if (seconds >= 1 && n.hi >= -6 && n.std >= .5) {
    found.push(anotherHop(x, n, c))
    if (seconds >= 2 && variedBy(x) >= 1) found.push(...longFaults(x, n, c, !found.some(Boolean)))
    if (!found.some(Boolean)) found.push(anotherWindow(x, n, c))
    if (seconds >= 2 && !found.some(Boolean)) found.push(clearHarmonics(x, n.step > .76, c))
  }
  return found.filter(Boolean)
}

/** What the maker of the mel says that is another than the model's. */
function stated(c, said) {
  const units = { sample_rate: ' Hz', hop_length: ' samples' }
  const k = Object.keys(units).find((o) => said[o] !== undefined && said[o] !== null && said[o] !== c[o])
  if (!k) return null
  return fault(k === 'sample_rate' ? 'another rate' : 'another hop',
    `The mel is said to have a ${k} of ${said[k]}${units[k]}`,
    `the model expects ${c[k]}${units[k]}: all would be faster or slower, and higher or lower. ` +
    'Make it with these, or take a voice that was trained with those')
}

/**
 * All that can be seen to be wrong with a mel, the clearest first; empty where nothing was found.
 * @param {object} mel {data: Float32Array, shape, dtype} as `readMel` gives it, or {data, bands, frames} as the engine
 *   takes it
 * @param {object} config of the model
 * @param {{sample_rate?: number, hop_length?: number}} [said] of the mel, where it is known
 * @returns {Fault[]}
 */
export function checkMel(mel, config, said = {}) {
  const wrong = stated(config, { ...mel.said, ...said })
  if (wrong) return [wrong]
  const { data, dtype = 'float32', shape = [mel.bands, mel.frames] } = mel, want = config.n_mels
  const no = noMel({ data, shape, dtype }, want)
  if (no) return [fault(...no, `expected a natural-log mel of floats, (${want}, F) or (B, ${want}, F)`)]
  const [bands, frames] = shape.slice(-2)
  const x = new Mels(Float64Array.from(data), data.length / bands / frames, bands, frames)
  const n = numbersOf(x), range = rangeFault(x, n) ?? noSound(x)
  return range ? [range] : speechFaults(x, n, config)
}

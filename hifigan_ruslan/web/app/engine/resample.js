// Sound at another rate: a windowed sinc with the passband of soxr's HQ (91.3 % of the lower band, 126 dB).

const PASS = .913, ATTENUATION = 126, PHASES = 4096

/** Bessel's I0. */
function i0(x) {
  let sum = 1, term = 1
  for (let k = 1; term > sum * 1e-17; k++) {
    term *= (x / (2 * k)) ** 2
    sum += term
  }
  return sum
}

const gcd = (a, b) => (b ? gcd(b, a % b) : a)

/**
 * The filter in rows of `taps` weights, one row for each of `phases` places between two samples, and one more.
 * The sum over each row is 1: a constant stays what it is.
 */
function filterRows(from, to, phases) {
  const scale = Math.min(1, to / from), cutoff = (1 + PASS) / 2
  const beta = .1102 * (ATTENUATION - 8.7), width = (ATTENUATION - 7.95) / (2.285 * Math.PI * (1 - PASS)) / 2
  const half = Math.ceil(width / scale), taps = 2 * half, top = i0(beta)
  const weight = (t) => {
    const x = t * scale, u = x / width
    if (Math.abs(u) >= 1) return 0
    const sinc = x === 0 ? 1 : Math.sin(Math.PI * x * cutoff) / (Math.PI * x * cutoff)
    return sinc * i0(beta * Math.sqrt(1 - u * u)) / top
  }
  const rows = new Float64Array(taps * (phases + 1))
  for (let p = 0; p <= phases; p++) {
    const row = rows.subarray(p * taps, (p + 1) * taps)
    for (let k = 0; k < taps; k++) row[k] = weight(half - 1 - k + p / phases)
    const sum = row.reduce((a, b) => a + b)
    for (let k = 0; k < taps; k++) row[k] /= sum
  }
  return { rows, half, taps }
}

/** Resamples waves from one rate to another; both are whole numbers of Hz. */
export class Resampler {
  /** @param {number} from Hz @param {number} to Hz */
  constructor(from, to) {
    for (const r of [from, to]) {
      if (!Number.isInteger(r) || r < 1000 || r > 768000) throw new Error(`A sample rate of ${r} Hz is not possible`)
    }
    const g = gcd(from, to)
    Object.assign(this, { up: to / g, down: from / g })
    this.phases = Math.min(this.up, PHASES)
    if (from !== to) Object.assign(this, filterRows(from, to, this.phases))
  }

  /** Samples that a wave has at the new rate. */
  length(samples) { return Math.round(samples * this.up / this.down) }

  /** Write samples a to b of the result into `out`. @param {Float32Array} wave whole @param {Float32Array} out */
  fill(wave, out, a, b) {
    for (let i = a; i < b; i++) {
      const place = i * this.down, at = Math.floor(place / this.up)
      const phase = (place - at * this.up) / this.up * this.phases, p = Math.floor(phase + 1e-9)
      const part = phase - p
      let y = this.sum(wave, at, p)
      if (part > 1e-6) y += part * (this.sum(wave, at, p + 1) - y) // between two rows
      out[i] = y
    }
  }

  sum(wave, at, p) {
    const { rows, taps, half } = this, first = at - half + 1, row = p * taps
    const a = Math.max(0, -first), b = Math.min(taps, wave.length - first)
    let y = 0
    for (let k = a; k < b; k++) y += rows[row + k] * wave[first + k]
    return y
  }

  /** A whole wave at once. @param {Float32Array} wave @returns {Float32Array} */
  of(wave) {
    if (this.up === this.down) return wave.slice()
    const out = new Float32Array(this.length(wave.length))
    this.fill(wave, out, 0, out.length)
    return out
  }
}

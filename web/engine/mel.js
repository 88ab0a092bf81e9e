// The log-mel spectrogram of 20_mel: natural logarithm of magnitudes, Slaney's filters, frames not centred.

export const CLAMP = 1e-5 // Smallest mel magnitude; its logarithm, -11.51, is silence

/** A Fourier transform of one size, of any length; powers of two are fast, others go by way of one (Bluestein). */
export class FFT {
  /** @param {number} n points */
  constructor(n) {
    this.n = n
    if ((n & (n - 1)) === 0) this.tables(n)
    else this.chirps(n)
  }

  tables(n) {
    this.cos = Float64Array.from({ length: n / 2 }, (_, k) => Math.cos(2 * Math.PI * k / n))
    this.sin = Float64Array.from({ length: n / 2 }, (_, k) => -Math.sin(2 * Math.PI * k / n))
    const bits = Math.log2(n)
    this.order = Uint32Array.from({ length: n }, (_, i) => {
      let r = 0
      for (let b = 0; b < bits; b++) r |= ((i >> b) & 1) << (bits - 1 - b)
      return r
    })
  }

  chirps(n) {
    let m = 1
    while (m < 2 * n - 1) m *= 2
    const angle = (k) => Math.PI * ((k * k) % (2 * n)) / n
    this.inner = new FFT(m)
    this.wr = Float64Array.from({ length: n }, (_, k) => Math.cos(angle(k)))
    this.wi = Float64Array.from({ length: n }, (_, k) => -Math.sin(angle(k)))
    this.br = new Float64Array(m)
    this.bi = new Float64Array(m)
    for (let k = 0; k < n; k++) for (const j of [k, (m - k) % m]) {
      this.br[j] = this.wr[k]
      this.bi[j] = -this.wi[k]
    }
    this.inner.run(this.br, this.bi)
  }

  /** In place, of `n` complex numbers. @param {Float64Array} re @param {Float64Array} im */
  run(re, im) {
    if (this.inner) this.anyLength(re, im)
    else this.powerOfTwo(re, im)
  }

  powerOfTwo(re, im) {
    const { n, cos, sin, order } = this
    for (let i = 0; i < n; i++) {
      const j = order[i]
      if (j <= i) continue
      const r = re[i], s = im[i]
      re[i] = re[j]
      im[i] = im[j]
      re[j] = r
      im[j] = s
    }
    for (let half = 1; half < n; half *= 2) {
      const step = n / (2 * half)
      for (let at = 0; at < n; at += 2 * half) for (let k = 0; k < half; k++) {
        const i = at + k, j = i + half, c = cos[k * step], s = sin[k * step]
        const r = re[j] * c - im[j] * s, q = re[j] * s + im[j] * c
        re[j] = re[i] - r
        im[j] = im[i] - q
        re[i] += r
        im[i] += q
      }
    }
  }

  anyLength(re, im) {
    const { n, inner, wr, wi, br, bi } = this, m = inner.n, ar = new Float64Array(m), ai = new Float64Array(m)
    for (let k = 0; k < n; k++) {
      ar[k] = re[k] * wr[k] - im[k] * wi[k]
      ai[k] = re[k] * wi[k] + im[k] * wr[k]
    }
    inner.run(ar, ai)
    for (let k = 0; k < m; k++) { // conjugated, so that the same transform goes back
      const r = ar[k] * br[k] - ai[k] * bi[k]
      ai[k] = -(ar[k] * bi[k] + ai[k] * br[k])
      ar[k] = r
    }
    inner.run(ar, ai)
    for (let k = 0; k < n; k++) {
      re[k] = (ar[k] * wr[k] + ai[k] * wi[k]) / m
      im[k] = (ar[k] * wi[k] - ai[k] * wr[k]) / m
    }
  }
}

/** Hz of a number of mels on Slaney's scale, or HTK's. */
export function hzOf(mel, htk = false) {
  if (htk) return 700 * (10 ** (mel / 2595) - 1)
  return mel < 15 ? mel * 200 / 3 : 1000 * Math.exp((mel - 15) * Math.log(6.4) / 27)
}

/** Mels of a frequency in Hz. */
export function melOf(hz, htk = false) {
  if (htk) return 2595 * Math.log10(1 + hz / 700)
  return hz < 1000 ? hz * 3 / 200 : 15 + Math.log(hz / 1000) * 27 / Math.log(6.4)
}

/** `n` frequencies that are equidistant in mels, from fmin to fmax. */
export function melFrequencies(n, fmin, fmax, htk = false) {
  const a = melOf(fmin, htk), b = melOf(fmax, htk)
  return Float64Array.from({ length: n }, (_, i) => hzOf(a + (b - a) * i / (n - 1), htk))
}

/**
 * Slaney's triangular filters of equal area, as librosa makes them: for each band its first bin and its weights.
 * @returns {Array<{first: number, weights: Float32Array}>}
 */
export function melFilters({ sample_rate: rate, n_fft: n, n_mels: bands, fmin, fmax }) {
  const f = melFrequencies(bands + 2, fmin, fmax ?? rate / 2)
  return Array.from({ length: bands }, (_, i) => {
    const [low, mid, high] = f.subarray(i, i + 3), weights = []
    let first = 0
    for (let k = 0; k <= n / 2; k++) {
      const hz = k * rate / n, w = Math.min((hz - low) / (mid - low), (high - hz) / (high - mid))
      if (w <= 0) continue
      if (!weights.length) first = k
      weights.push(w * 2 / (high - low))
    }
    return { first, weights: Float32Array.from(weights) }
  })
}

/** Hann's window of `win` samples in the middle of `n`, rounded as torch does: its error is louder than silence. */
function hann(win, n) {
  const window = new Float64Array(n), before = Math.floor((n - win) / 2), step = Math.fround(2 * Math.PI / win)
  for (let k = 0; k < win; k++) {
    const cos = Math.fround(Math.cos(Math.fround(k * step)))
    window[before + k] = Math.fround(.5 - .5 * cos)
  }
  return window
}

/** The log-mel spectrogram of waves at the rate of the model. */
export class LogMel {
  /** @param {object} config sample_rate, n_fft, win_length, hop_length, n_mels, fmin and fmax are used */
  constructor(config) {
    this.config = config
    this.filters = melFilters(config)
    this.window = hann(config.win_length, config.n_fft)
    this.fft = new FFT(config.n_fft)
    this.pad = (config.n_fft - config.hop_length) / 2 // samples, on each side
    this.re = new Float64Array(config.n_fft)
    this.im = new Float64Array(config.n_fft)
    this.magnitude = new Float64Array(config.n_fft / 2 + 1)
  }

  /** Frames that a wave of so many samples has; an Error where it is too short for one. */
  frames(samples) {
    if (samples <= this.pad) {
      throw new Error(`${samples} samples are too few for a mel, more than ${this.pad} are needed`)
    }
    return Math.floor(samples / this.config.hop_length)
  }

  /**
   * Write frames a to b of the mel of a wave into `out`.
   * @param {Float32Array} wave whole, in [-1, 1]
   * @param {{data: Float32Array, bands: number, frames: number}} out
   */
  fill(wave, out, a, b) {
    for (let f = a; f < b; f++) {
      this.spectrum(wave, f)
      this.filters.forEach(({ first, weights }, band) => {
        let sum = 0
        for (let k = 0; k < weights.length; k++) sum += weights[k] * this.magnitude[first + k]
        out.data[band * out.frames + f] = Math.log(Math.max(sum, CLAMP))
      })
    }
  }

  /** The mel of a whole wave at once. @param {Float32Array} wave in [-1, 1] */
  of(wave) {
    const n = this.frames(wave.length), bands = this.config.n_mels
    const out = { data: new Float32Array(bands * n), bands, frames: n }
    this.fill(wave, out, 0, n)
    return out
  }

  /** Magnitudes of a frame of the wave, which is reflected at both ends. */
  spectrum(wave, frame) {
    const { n_fft: n, hop_length: hop } = this.config, { re, im, window } = this
    const start = frame * hop - this.pad, most = wave.length - 1
    for (let k = 0; k < n; k++) {
      const i = Math.abs(start + k)
      re[k] = window[k] * wave[i > most ? 2 * most - i : i]
    }
    im.fill(0)
    this.fft.run(re, im)
    for (let k = 0; k < this.magnitude.length; k++) this.magnitude[k] = Math.sqrt(re[k] ** 2 + im[k] ** 2 + 1e-9)
  }
}

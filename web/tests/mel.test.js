import test from 'node:test'
import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { FFT, LogMel, melFilters } from '../engine/mel.js'
import { readNpz } from '../engine/npy.js'
import { Resampler } from '../engine/resample.js'

const V1 = { sample_rate: 22050, n_fft: 1024, win_length: 1024, hop_length: 256, n_mels: 80, fmin: 0, fmax: 8000 }
const most = (a, b) => a.reduce((m, v, i) => Math.max(m, Math.abs(v - b[i])), 0)

test('the mels are those that the official code made of the same wave', async () => {
  const gold = await readNpz(await readFile(new URL('../../tests/data/parity_tiny.npz', import.meta.url)))
  const wave = gold.get('wav') ?? { data: gold.get('wav_int16').data.map((v) => v / 32768) }
  for (const [name, fmax] of [['mel', 8000], ['mel_fullband', null]]) {
    const { data, shape } = gold.get(name), got = new LogMel({ ...V1, fmax }).of(wave.data)
    assert.deepEqual([got.bands, got.frames], shape.slice(-2))
    assert.ok(most(got.data, data) < 1e-5, `${name} ${most(got.data, data)}`)
    assert.ok(most(got.data.map(Math.exp), data.map(Math.exp)) < 1e-6)
  }
})

test('a transform of any size is the sum that defines it', () => {
  for (const n of [1, 2, 8, 12, 15, 60, 64, 97]) {
    const re = Float64Array.from({ length: n }, (_, i) => Math.sin(i * i)), im = re.map((v, i) => Math.cos(3 * i) * v)
    const got = [re.slice(), im.slice()]
    new FFT(n).run(...got)
    for (let k = 0; k < n; k++) {
      let r = 0, s = 0
      for (let i = 0; i < n; i++) {
        const a = -2 * Math.PI * i * k / n
        r += re[i] * Math.cos(a) - im[i] * Math.sin(a)
        s += re[i] * Math.sin(a) + im[i] * Math.cos(a)
      }
      assert.ok(Math.hypot(got[0][k] - r, got[1][k] - s) < 1e-10, `${n} ${k}`)
    }
  }
})

test('filters: each has the area of its triangle, and a tone is in its band', () => {
  const filters = melFilters(V1)
  assert.equal(filters.length, 80)
  const area = filters.map(({ weights }) => weights.reduce((a, b) => a + b, 0) * V1.sample_rate / V1.n_fft)
  assert.ok(area.slice(10).every((a) => a > .7 && a < 1.3), String(area))
  const tone = Float32Array.from({ length: 8192 }, (_, i) => .3 * Math.sin(2 * Math.PI * 1000 * i / 22050))
  const { data, frames } = new LogMel(V1).of(tone), middle = Array.from({ length: 80 }, (_, k) => data[k * frames + 16])
  const loudest = middle.indexOf(Math.max(...middle))
  assert.equal(Math.round((filters[loudest].first + filters[loudest].weights.length / 2) * 22050 / 1024 / 100), 10)
})

test('a size that is no power of two, a window shorter than the transform', () => {
  const wave = Float32Array.from({ length: 6000 }, (_, i) => Math.sin(i * .05) * .5)
  const small = new LogMel({ ...V1, n_fft: 1200, win_length: 800, hop_length: 200 }).of(wave)
  assert.equal(small.frames, 30)
  assert.ok(small.data.every(Number.isFinite))
})

test('a wave that is too short is said', () => {
  const why = /384 samples are too few for a mel, more than 384 are needed/
  assert.throws(() => new LogMel(V1).of(new Float32Array(384)), why)
  assert.equal(new LogMel(V1).of(new Float32Array(385)).frames, 1)
})

test('resampling: tones stay, what the new rate cannot hold is gone, a constant is a constant', () => {
  const tone = (hz, rate, n) => Float32Array.from({ length: n }, (_, i) => Math.sin(2 * Math.PI * hz * i / rate))
  const inner = (x) => x.subarray(1000, x.length - 1000)
  const rms = (x) => Math.sqrt(x.reduce((s, v) => s + v * v, 0) / x.length)
  for (const from of [48000, 16000, 44100, 8000, 44101, 96000]) {
    const to = 22050
    const r = new Resampler(from, to), n = from, low = .85 * Math.min(from, to) / 2
    for (const hz of [50, 440, low]) {
      const got = r.of(tone(hz, from, n)), error = inner(got.map((v, i) => v - Math.sin(2 * Math.PI * hz * i / to)))
      assert.equal(got.length, to)
      assert.ok(20 * Math.log10(rms(error)) < -100, `${from} ${to} ${hz} ${20 * Math.log10(rms(error))}`)
    }
    const flat = inner(r.of(new Float32Array(n).fill(.5)))
    assert.ok(flat.every((v) => Math.abs(v - .5) < 1e-6))
    if (from > to) assert.ok(20 * Math.log10(rms(inner(r.of(tone(1.02 * to / 2, from, n))))) < -100)
  }
  assert.throws(() => new Resampler(0, 22050), /sample rate of 0 Hz/)
})

import {test} from 'node:test'
import assert from 'node:assert/strict'
import {MAGMA, RED_BLUE, columns, difference, hertzMarks, melOf, pixels} from '../page/pictures.js'
import {canFix, canSpeak, fixed, range, transposed} from '../page/mels.js'
import {joined} from '../page/record.js'

const mel = (bands, frames, f) => ({bands, frames, data: Float32Array.from({length: bands*frames}, (_, i) => f(Math.floor(i/frames), i%frames))})
const config = {n_mels: 80, fmin: 0, fmax: 8000, sample_rate: 22050}

test('a long mel becomes means of its columns', () => {
  const m = mel(2, 8, (k, f) => 10*k+f), c = columns(m, 4)
  assert.deepEqual([...c.data], [.5, 2.5, 4.5, 6.5, 10.5, 12.5, 14.5, 16.5])
  assert.equal(columns(m, 8), m)
  assert.equal(columns(mel(1, 1000, () => 3), 7).data.every(x => x === 3), true)
})

test('the highest band is the first row, and the ends of the map are its ends', () => {
  const p = pixels(mel(2, 3, (k, f) => k ? 1 : f-5), 0, 1, MAGMA)
  assert.equal(p.length, 4*6)
  assert.deepEqual([...p.subarray(0, 4)], [...MAGMA.at(-1), 255])
  assert.deepEqual([...p.subarray(12, 16)], [...MAGMA[0], 255]) // below the map
  assert.deepEqual([...pixels(mel(1, 1, () => NaN), 0, 1, MAGMA).subarray(0, 3)], MAGMA[0])
})

test('a difference is of the frames that both have, and no difference is the middle of the map', () => {
  const a = mel(2, 5, () => 2), {mel: d, meanDb} = difference(a, mel(2, 4, () => 1))
  assert.equal(d.frames, 4)
  assert.ok(Math.abs(meanDb-8.6859) < 1e-3) // one neper
  const none = pixels(difference(a, a).mel, -1, 1, RED_BLUE)
  assert.ok([0, 1, 2].every(i => Math.abs(none[i]-247) < 3))
})

test('frequencies stand where librosa has the bands', () => {
  assert.equal(melOf(1000), 15)
  assert.ok(Math.abs(melOf(6400)-42) < 1e-9)
  assert.deepEqual(hertzMarks(config).map(m => m.hz), [250, 1000, 2000, 4000])
  const row = hz => 80*hertzMarks({...config, fmax: 8000}, [hz])[0].percent/100
  for (const [band, hz] of [[30, 1172.6253], [60, 3711.2286]]) assert.ok(Math.abs(row(hz)-band-.5) < 1e-3) // its mel_frequencies(82)[band+1]
})

test('what undoes a fault of a unit', () => {
  const m = mel(80, 4, (k, f) => -k/10-f), close = (a, b) => a.data.every((x, i) => Math.abs(x-b.data[i]) < 1e-4)
  const undo = {decibels: x => x*20/Math.LN10, log10: x => x/Math.LN10, 'ln of power': x => 2*x, 'linear magnitude': Math.exp, 'linear power': x => Math.exp(2*x)}
  for (const [name, f] of Object.entries(undo)) assert.ok(canFix(name) && close(fixed({...m, data: m.data.map(f)}, name), m), name)
  assert.ok(close(fixed(transposed(m), 'transposed'), m))
  assert.ok(!canFix('not finite'))
  assert.ok(canSpeak(m, config) && !canSpeak(transposed(m), config) && !canSpeak(mel(80, 2, () => NaN), config) && !canSpeak(mel(80, 0, () => 0), config))
  assert.deepEqual(range(Float32Array.from([3, -2, NaN])), {low: -2, high: 3})
})

test('pieces of a recording stand behind each other', () => {
  assert.deepEqual([...joined([Float32Array.from([1, 2]), new Float32Array(0), Float32Array.from([3])])], [1, 2, 3])
})

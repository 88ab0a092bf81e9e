import test from 'node:test'
import assert from 'node:assert/strict'
import { checkMel, general } from '../engine/check.js'
import { LogMel } from '../engine/mel.js'

const V1 = { sample_rate: 22050, n_fft: 1024, win_length: 1024, hop_length: 256, n_mels: 80, fmin: 0, fmax: 8000 }

/** Something like speech: syllables of a gliding harmonic tone and hiss. The same each time. */
function wave(seconds = 3) {
  let seed = 1
  const noise = () => ((seed = (seed * 1103515245 + 12345) % 2 ** 31) / 2 ** 30 - 1)
  return Float32Array.from({ length: seconds * 22050 }, (_, i) => {
    const t = i / 22050, loud = Math.exp(-((t * 4 % 1) * 5)), f = 120 + 30 * Math.sin(2 * t)
    let tone = 0
    for (let k = 1; k < 30; k++) tone += Math.sin(2 * Math.PI * f * k * t) / k ** 1.2
    return .2 * loud * tone + .003 * noise()
  })
}

const mel = new LogMel(V1).of(wave()), names = (m, said) => checkMel(m, V1, said).map((f) => f.name)
const changed = (f) => ({ ...mel, data: mel.data.map(f) })

test('the range of the values names the unit', () => {
  assert.deepEqual(names(changed((v) => v * 20 / Math.log(10))), ['decibels'])
  assert.deepEqual(names(changed(Math.exp)), ['linear magnitude'])
  assert.deepEqual(names(changed((v) => (v + 11.6) / 14)), ['scaled to 0..1'])
  assert.deepEqual(names(changed((v) => Math.max(-4, Math.min(4, (v * 8.686 + 5) / 12.5)))), ['scaled to -4..4'])
  assert.deepEqual(names(changed((v) => v / 12)), ['scaled to -1..1'])
  const mean = mel.data.reduce((a, b) => a + b) / mel.data.length
  const std = Math.sqrt(mel.data.reduce((a, v) => a + (v - mean) ** 2, 0) / mel.data.length)
  assert.deepEqual(names(changed((v) => (v - mean) / std)), ['mean-variance normalised'])
})

test('type, shape and numbers that are none', () => {
  const filled = (shape) => new Float32Array(shape.reduce((a, b) => a * b)).fill(-5)
  const array = (shape, dtype = 'float32') => ({ data: filled(shape), shape, dtype })
  assert.deepEqual(names(array([80])), ['rank'])
  assert.deepEqual(names(array([100, 80])), ['transposed'])
  assert.deepEqual(names(array([100, 64])), ['bands'])
  assert.deepEqual(names(array([80, 0])), ['empty'])
  assert.deepEqual(names(array([80, 10], 'int16')), ['type'])
  const nan = changed((v, i) => (i === 7 ? NaN : v)), [fault] = checkMel(nan, V1)
  assert.equal(fault.name, 'not finite')
  assert.equal(fault.certain, true)
  assert.match(fault.evidence, /100.0% of the values are good/)
  assert.match(fault.todo, /expected a natural-log mel of floats/)
})

test('what is said of the mel is compared', () => {
  assert.deepEqual(names(mel, { sample_rate: 16000 }), ['another rate'])
  assert.deepEqual(names({ ...mel, said: { hop_length: 300 } }), ['another hop'])
  assert.ok(!names(mel, { sample_rate: 22050, hop_length: 256 }).includes('another rate'))
})

test('numbers as Python writes them', () => {
  const pairs = [[-11.5129, '-11.5'], [0, '0'], [2, '2'], [1234.5, '1.23e+03'], [.00001234, '1.23e-05'], [100, '100'],
    [.1, '0.1'], [NaN, 'nan'], [-Infinity, '-inf'], [999.9, '1e+03'], [.0001, '0.0001']]
  for (const [x, text] of pairs) assert.equal(general(x), text)
})

import test from 'node:test'
import assert from 'node:assert/strict'
import { Pieces, context, frames, joined, receptiveField } from '../engine/chunks.js'

const V1 = {
  hop_length: 256, resblock: '1', upsample_rates: [8, 8, 2, 2], upsample_kernel_sizes: [16, 16, 4, 4],
  resblock_kernel_sizes: [3, 7, 11], resblock_dilation_sizes: [[1, 3, 5], [1, 3, 5], [1, 3, 5]],
}
const V3 = {
  hop_length: 256, resblock: '2', upsample_rates: [8, 8, 4], upsample_kernel_sizes: [16, 16, 8],
  resblock_kernel_sizes: [3, 5, 7], resblock_dilation_sizes: [[1, 2], [2, 6], [3, 12]],
}

test('the receptive field is that of Python', () => {
  assert.deepEqual([context(V1), receptiveField(V1)], [[13, 13], 13])
  assert.equal(receptiveField(V3), 11)
  const light = { ...V1, generator: 'light', light_blocks: 4, win_length: 1024 }
  assert.deepEqual([context(light), receptiveField(light)], [[198, 17], 198])
  assert.deepEqual(context({ ...light, light_blocks: 2 }), [198, 11])
  assert.throws(() => receptiveField({ ...light, generator: 'wavenet' }), /known ones are hifigan, light/)
})

/** A mel of one band with these values. */
const mel = (values) => ({ data: Float32Array.from(values), bands: 1, frames: values.length })

/** A generator that sees exactly so many frames before and behind, zeros beyond the ends: hop samples of a frame. */
function wave({ data, frames: n }, [before, behind], hop) {
  const at = (i) => (i < 0 || i >= n ? 0 : data[i])
  return Float64Array.from({ length: n * hop }, (_, s) => {
    const f = Math.floor(s / hop)
    return at(f - before) + 3 * at(f) * (s % hop + 1) + 7 * at(f + behind)
  })
}

/** The samples that come in pieces, each exactly once and in order. */
function inPieces(values, sizes, { reach, hop, tile, wait }) {
  const p = new Pieces(reach, hop, tile), out = new Float64Array(values.length * hop).fill(NaN), windows = []
  let next = 0
  const take = (last) => {
    for (let w; (w = p.next(last, wait));) {
      assert.equal(w.first, next)
      next += w.samples
      windows.push(w.mel.frames)
      out.set(wave(w.mel, reach, hop).subarray(w.skip, w.skip + w.samples), w.first)
    }
  }
  for (let at = 0, i = 0; at < values.length; i++) {
    const n = Math.min(sizes[i % sizes.length], values.length - at)
    p.push(mel(values.slice(at, at + n)))
    at += n
    take(false)
  }
  take(true)
  assert.equal(next, values.length * hop)
  return { out, windows }
}

test('pieces are the whole, to the last bit, however the mel arrives', () => {
  const values = Array.from({ length: 211 }, (_, i) => (i * 37 % 101) / 7)
  const all = [[211], [1], [7, 0, 20], [13, 14, 1]]
  const reaches = [[1, 1], [3, 3], [13, 13], [40, 2], [2, 9]]
  for (const reach of reaches) for (const tile of [1, 5, 64, 1000]) for (const sizes of all) {
    for (const wait of [false, true]) {
      const { out, windows } = inPieces(values, sizes, { reach, hop: 4, tile, wait })
      assert.deepEqual(out, wave(mel(values), reach, 4), `${reach} ${tile} ${sizes} ${wait}`)
      assert.ok(Math.max(...windows) <= tile + reach[0] + reach[1])
    }
  }
})

test('the first window is short, and the next are longer', () => {
  const values = Array.from({ length: 2000 }, (_, i) => i)
  const { windows } = inPieces(values, [2000], { reach: [3, 3], hop: 1 })
  assert.deepEqual(windows, [67, 134, 262, 518, 518, 518, 19, 6])
})

test('one frame less of reach is too little: the test above can fail', () => {
  const values = Array.from({ length: 50 }, (_, i) => i % 7 + 1), p = new Pieces([2, 2], 1, 8)
  p.push(mel(values))
  const w = p.next(false)
  const got = wave(w.mel, [3, 3], 1).subarray(w.skip, w.skip + w.samples)
  assert.notDeepEqual(got, wave(mel(values), [3, 3], 1).subarray(0, w.samples))
})

test('short mels, also shorter than the reach', () => {
  for (let n = 1; n < 30; n++) {
    const values = Array.from({ length: n }, (_, i) => i + 1)
    assert.deepEqual(inPieces(values, [n], { reach: [13, 13], hop: 2, tile: 4 }).out, wave(mel(values), [13, 13], 2))
  }
})

test('no more frames are kept than are needed', () => {
  const p = new Pieces([3, 3], 1, 10)
  let most = 0
  for (let i = 0; i < 5000; i++) {
    p.push(mel([i]))
    while (p.next(false));
    most = Math.max(most, p.rows.frames)
  }
  assert.ok(most < 150, String(most))
})

test('frames and joined keep the bands apart', () => {
  const two = { data: Float32Array.of(1, 2, 3, 10, 20, 30), bands: 2, frames: 3 }
  assert.deepEqual(frames(two, 1, 3).data, Float32Array.of(2, 3, 20, 30))
  assert.deepEqual(joined(frames(two, 0, 1), frames(two, 1, 3)), two)
  assert.equal(joined(null, two), two)
})

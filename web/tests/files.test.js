import test from 'node:test'
import assert from 'node:assert/strict'
import { asMel, halfToFloat, kindOf, otherBytes, readMel, readNpy } from '../engine/npy.js'
import { mixed, readWav, writeWav } from '../engine/wav.js'

/** An .npy with this header and these bytes. */
function npy(descr, shape, bytes, { fortran = false, version = 1 } = {}) {
  const tuple = shape.length === 1 ? `(${shape[0]},)` : `(${shape.join(', ')})`
  const text = `{'descr': '${descr}', 'fortran_order': ${fortran ? 'True' : 'False'}, 'shape': ${tuple}, }\n`
  const size = version > 1 ? [text.length & 255, text.length >> 8, 0, 0] : [text.length & 255, text.length >> 8]
  return Uint8Array.from([0x93, ...Buffer.from('NUMPY'), version, 0, ...size, ...Buffer.from(text), ...bytes])
}

const bytesOf = (typed) => [...new Uint8Array(typed.buffer)]
const swapped = (typed) => {
  const out = [], size = typed.BYTES_PER_ELEMENT, all = bytesOf(typed)
  for (let i = 0; i < all.length; i += size) out.push(...all.slice(i, i + size).reverse())
  return out
}

test('every float type, both ends first, both orders', () => {
  const values = [1.5, -2, .25, 3, -11.5, 6]
  const want = { data: Float32Array.from(values), shape: [2, 3] }
  const half = Uint16Array.of(0x3e00, 0xc000, 0x3400, 0x4200, 0xc9c0, 0x4600)
  for (const [descr, bytes] of [['<f4', bytesOf(Float32Array.from(values))],
    ['<f8', bytesOf(Float64Array.from(values))],
    ['>f4', swapped(Float32Array.from(values))], ['>f8', swapped(Float64Array.from(values))],
    ['<f2', bytesOf(half)], ['>f2', swapped(half)]]) {
    for (const version of [1, 2]) {
      const got = readNpy(npy(descr, [2, 3], bytes, { version }))
      assert.deepEqual({ data: got.data, shape: got.shape }, want, descr)
      assert.equal(got.dtype, `float${descr[2] * 8}`)
    }
  }
  const turned = readNpy(npy('<f4', [2, 3], bytesOf(Float32Array.of(1, 4, 2, 5, 3, 6)), { fortran: true }))
  assert.deepEqual(turned.data, Float32Array.of(1, 2, 3, 4, 5, 6))
})

test('half precision: zeros, subnormals, infinities', () => {
  assert.equal(halfToFloat(0x0001), 2 ** -24)
  assert.ok(Object.is(halfToFloat(0x8000), -0))
  assert.equal(halfToFloat(0x7bff), 65504)
  assert.equal(halfToFloat(0xfc00), -Infinity)
  assert.ok(Number.isNaN(halfToFloat(0x7e00)))
})

test('what a file says of its size is not believed', async () => {
  const says = (bytes, why) => assert.rejects(readMel(bytes, { name: 'a.npy' }), (e) => {
    assert.match(e.message, why)
    return e.message.startsWith('a.npy cannot be read as a mel: ')
  })
  await says(npy('<f4', [80, 100], [1, 2, 3]), /says that it holds 32,000 bytes, and has 3: it was cut off/)
  await says(npy('<f4', [80, 10 ** 9], []), /298.0 GB are no mel/)
  await says(npy('|O', [80, 2], []), /Python objects/)
  await says(npy('<c8', [80, 2], []), /type c8/)
  await says(npy('<f4', [80, 2], []).subarray(0, 30), /cut off within its header/)
  await says(new Uint8Array(0), /it is empty/)
  await says(Buffer.from('PK\x03\x04 and then nothing'), /the archive was cut off/)
  await says(Buffer.from('Это не мел. '.repeat(100)), /it looks like text/)
  await says(Buffer.from('This is text, '.repeat(100)), /it looks like text/)
  await says(Buffer.from('RIFF....WAVEfmt '.repeat(20)), /it looks like a WAV file/)
  await says(Buffer.from('\x89PNG\r\n\x1a\n', 'latin1'), /it looks like a PNG picture/)
  await says(new Uint8Array(new Float32Array(81).fill(-5).buffer), /324 bytes are no whole frames of 80/)
})

test('bare frames come frame after frame', async () => {
  const flat = Float32Array.from({ length: 160 }, (_, i) => -i / 20), got = await readMel(flat.buffer, { bands: 80 })
  assert.deepEqual(got.shape, [80, 2])
  assert.equal(got.data[1], flat[80])
  assert.equal(otherBytes(Float64Array.from(flat, (v) => Math.fround(v)).buffer), 'float64')
  assert.deepEqual(asMel(got), { data: got.data, bands: 80, frames: 2 })
  assert.throws(() => asMel({ data: new Float32Array(4), shape: [2, 2, 1] }), /one mel is spoken/)
})

test('a WAV file that was written is read again', () => {
  const wave = Float32Array.of(0, .5, -.5, 1, -1, 1.5, 1 / 32768), { bytes, clipped } = writeWav(wave, 22050)
  assert.equal(clipped, 1)
  const { rate, channels, note } = readWav(bytes)
  assert.deepEqual([rate, channels.length, note], [22050, 1, ''])
  assert.deepEqual([...channels[0]], [0, .5, -.5, 32767 / 32768, -1, 32767 / 32768, 1 / 32768])
  assert.equal(kindOf(bytes), 'a WAV file')
})

test('what is no WAV file is said', () => {
  const { bytes } = writeWav(new Float32Array(100), 22050)
  assert.throws(() => readWav(new ArrayBuffer(0)), /it is empty/)
  assert.throws(() => readWav(bytes.slice(0, 30)), /no format|damaged|no samples/)
  assert.throws(() => readWav(Uint8Array.from(Buffer.from('hello, hello, hello')).buffer), /does not begin with RIFF/)
  assert.throws(() => readWav(bytes.slice(0, 44)), /it has no samples/)
  assert.match(readWav(bytes.slice(0, 100)).note, /it was cut off: 0.00 s of 0.00 are there/)
  const coded = bytes.slice(0)
  new DataView(coded).setUint16(20, 85, true)
  assert.throws(() => readWav(coded), /coded by method 85/)
})

test('channels become one as in Python', () => {
  const a = Float32Array.from({ length: 1000 }, (_, i) => Math.sin(i * .1)), none = new Float32Array(1000)
  assert.equal(mixed([a]).kind, '')
  assert.equal(mixed([a, a]).kind, 'averaged')
  assert.ok(mixed([a, a]).wave.every((v, i) => Math.abs(v - a[i]) < 1e-6))
  assert.equal(mixed([none, a]).text, 'its 2 channels are silent but for one: channel 2 is taken')
  assert.equal(mixed([a, a.map((v) => -v)]).kind, 'opposite phase')
  assert.equal(mixed([a, a, none]).text, '1 of its 3 channels are silent, the others are averaged')
})

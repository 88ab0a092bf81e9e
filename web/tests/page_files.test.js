import {test} from 'node:test'
import assert from 'node:assert/strict'
import {MELS, SOUNDS, Said, kindOf, rateOf} from '../page/files.js'

const bytes = (...parts) => Uint8Array.from(parts.flatMap(p => typeof p === 'string' ? [...p].map(c => c.charCodeAt(0)) : p))
const zeros = n => Array(n).fill(0)

test('a file is what it begins with, whatever it is called', () => {
  const cases = {
    wav: bytes('RIFF', zeros(4), 'WAVEfmt '), flac: bytes('fLaC', zeros(40)), ogg: bytes('OggS', zeros(40)), mp3: bytes('ID3', zeros(40)),
    mp4: bytes(zeros(4), 'ftypM4A '), webm: bytes([0x1a, 0x45, 0xdf, 0xa3]), aiff: bytes('FORM', zeros(4), 'AIFF'), npy: bytes([0x93], 'NUMPY', [1, 0]),
    npz: bytes('PK\x03\x04', zeros(26), 'mel.npy'), torch: bytes('PK\x03\x04', zeros(26), 'archive/data.pkl'), archive: bytes('PK\x03\x04', zeros(26), 'a.txt'),
    image: bytes([0x89], 'PNG\r\n'), pdf: bytes('%PDF-1.7'), pickle: bytes([0x80, 4, 0x95]), hdf5: bytes([0x89], 'HDF'), gzip: bytes([0x1f, 0x8b, 8]),
    text: bytes('not found'), empty: bytes(), riff: bytes('RIFF', zeros(4), 'AVI '), weights: bytes([200, 0, 0, 0, 0, 0, 0, 0], '{"a"'), program: bytes([0x7f], 'ELF')}
  for (const [kind, b] of Object.entries(cases)) assert.equal(kindOf(b, 'clip.wav'), kind, kind)
  assert.equal(kindOf(bytes('RIFF', zeros(4), 'WEBP')), 'image')
  assert.equal(kindOf(bytes('PK\x05\x06', zeros(18))), 'npz', 'np.savez without arrays')
  assert.equal(kindOf(bytes([0xff, 0xfb, 0x90, 0x44])), 'mp3', 'a frame without a tag')
  assert.equal(kindOf(bytes([0xff, 0xf1, 0x50, 0x80])), 'aac')
})

test('the name decides only where the bytes tell nothing', () => {
  const numbers = new Uint8Array(new Float32Array([-1.5, -2.5, -11.5]).buffer)
  assert.equal(kindOf(numbers, 'mel.raw'), 'raw')
  assert.equal(kindOf(numbers, 'mel.dat'), 'unknown')
  assert.equal(kindOf(bytes('text'), 'mel.raw'), 'text')
})

test('text is UTF-8, also where it is cut within a letter', () => {
  const long = new TextEncoder().encode('Со спокойным мужеством '.repeat(100))
  assert.equal(kindOf(long), 'text')
  assert.equal(kindOf(long.subarray(0, 1999)), 'text')
  assert.equal(kindOf(Uint8Array.from([0xc3, 0x28, 0x41, 0x42, 0x43, 0x44])), 'unknown')
})

test('the rate stands in the head of a file', () => {
  const flac = bytes('fLaC', zeros(4), zeros(10), [0x05, 0x62, 0x20, 0xf0], zeros(30)) // 22050 << 12
  assert.equal(rateOf(flac, 'flac'), 22050)
  assert.equal(rateOf(bytes('OggS', zeros(24), [1], 'vorbis', zeros(4), [1], [0x80, 0xbb, 0, 0], zeros(40)), 'ogg'), 48000)
  assert.equal(rateOf(bytes('OggS', zeros(24), 'OpusHead', zeros(40)), 'ogg'), 48000)
  assert.equal(rateOf(bytes([0xff, 0xfb, 0x90, 0x44], zeros(400)), 'mp3'), 44100)
  assert.equal(rateOf(bytes([0xff, 0xf3, 0x80, 0x44], zeros(400)), 'mp3'), 22050)
  assert.equal(rateOf(bytes('ID3', [4, 0, 0, 0, 0, 0, 2], [1, 2], [0xff, 0xfb, 0x94, 0x44], zeros(400)), 'mp3'), 48000)
  assert.equal(rateOf(bytes('RIFF'), 'wav'), null)
})

test('what is said has a key and values', () => {
  const said = new Said('empty', {name: 'a'})
  assert.ok(said instanceof Error)
  assert.deepEqual([said.key, said.values], ['empty', {name: 'a'}])
  assert.ok(!SOUNDS.some(k => MELS.includes(k)))
})

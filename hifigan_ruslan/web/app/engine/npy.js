// Mels from files: .npy and .npz of numpy, and bare float32 frames. Nothing in a file is run, and no size is believed.

export const MOST_BYTES = 2 ** 30 // of a mel: three hours of it have .3 GB
const BEGINNINGS = [
  ['\x93NUMPY', 'an .npy file with its header'], ['PK\x03\x04', 'a zip archive, such as an .npz or .pt file'],
  ['RIFF', 'a WAV file'], ['fLaC', 'a FLAC file'], ['OggS', 'an OGG file'], ['ID3', 'an MP3 file'],
  ['\xff\xfb', 'an MP3 file'],
  ['\x80\x02', 'a pickle'], ['\x89HDF', 'an HDF5 file'], ['\x1f\x8b', 'a gzip file'], ['\x89PNG', 'a PNG picture'],
  ['\xff\xd8\xff', 'a JPEG picture'], ['GIF8', 'a GIF picture'], ['%PDF', 'a PDF file'],
  ['\x1aE\xdf\xa3', 'a WebM file'],
]
const READ = { // what the file says -> [bytes of a number, how it is read]
  f2: [2, (v, i, little) => halfToFloat(v.getUint16(i, little))], f4: [4, (v, i, little) => v.getFloat32(i, little)],
  f8: [8, (v, i, little) => v.getFloat64(i, little)],
  i1: [1, (v, i) => v.getInt8(i)], i2: [2, (v, i, little) => v.getInt16(i, little)],
  i4: [4, (v, i, little) => v.getInt32(i, little)], i8: [8, (v, i, little) => Number(v.getBigInt64(i, little))],
  u1: [1, (v, i) => v.getUint8(i)], u2: [2, (v, i, little) => v.getUint16(i, little)],
  u4: [4, (v, i, little) => v.getUint32(i, little)], u8: [8, (v, i, little) => Number(v.getBigUint64(i, little))],
  b1: [1, (v, i) => v.getUint8(i)],
}
const NAMES = { f: 'float', i: 'int', u: 'uint', b: 'bool' }

const latin = (bytes) => String.fromCharCode(...bytes)
const asBytes = (o) => (o instanceof Uint8Array ? o : new Uint8Array(o.buffer ?? o, o.byteOffset ?? 0, o.byteLength))
const counted = (n) => n.toLocaleString('en-US')

/** The number that 16 bits stand for. */
export function halfToFloat(h) {
  const sign = h & 0x8000 ? -1 : 1, exponent = (h >> 10) & 31, fraction = h & 1023
  if (exponent === 0) return sign * fraction * 2 ** -24
  if (exponent === 31) return fraction ? NaN : sign * Infinity
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15)
}

/** What a file is by its first bytes, such as 'a FLAC file'; '' for others. */
export function kindOf(data) {
  const head = latin(asBytes(data).subarray(0, 12))
  return BEGINNINGS.find(([begin]) => head.startsWith(begin))?.[1] ?? (head.slice(4, 8) === 'ftyp' ? 'an MP4 file' : '')
}

/** The Python dictionary at the head of an .npy, of which only these three entries may be there. */
function parseHeader(text) {
  const order = /'fortran_order'\s*:\s*(True|False)/.exec(text), shape = /'shape'\s*:\s*\(([\d,\sL]*)\)/.exec(text)
  const type = /'descr'\s*:\s*'([<>|=]?)(\w+)'/.exec(text)
  if (!order || !shape) throw new Error('its header is damaged')
  if (!type) throw new Error('it holds records, expected are plain numbers')
  const sizes = shape[1].split(',').map((s) => s.trim().replace(/L$/, '')).filter(Boolean).map(Number)
  return { fortran: order[1] === 'True', shape: sizes, endian: type[1], type: type[2] }
}

/** Shape, type and order, and where the numbers begin. */
function readHeader(bytes) {
  if (bytes.length < 10 || latin(bytes.subarray(0, 6)) !== '\x93NUMPY') {
    throw new Error('it does not begin as np.save begins it')
  }
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length), wide = bytes[6] > 1
  if (bytes[6] < 1 || bytes[6] > 3) throw new Error(`its version is ${bytes[6]}, expected is 1, 2 or 3`)
  const begin = wide ? 12 : 10
  if (bytes.length < begin) throw new Error('it was cut off within its header')
  const size = wide ? view.getUint32(8, true) : view.getUint16(8, true)
  if (begin + size > bytes.length) throw new Error('it was cut off within its header')
  return { ...parseHeader(latin(bytes.subarray(begin, begin + Math.min(size, 4096)))), at: begin + size }
}

/** Numbers in Fortran's order as rows. */
function inRows(data, shape) {
  const out = new Float32Array(data.length), strides = []
  let stride = 1
  for (const n of shape) {
    strides.push(stride)
    stride *= n
  }
  for (let i = 0; i < out.length; i++) {
    let rest = i, at = 0
    for (let d = shape.length - 1; d >= 0; d--) {
      at += (rest % shape[d]) * strides[d]
      rest = Math.floor(rest / shape[d])
    }
    out[i] = data[at]
  }
  return out
}

/**
 * The array of an .npy.
 * @param {ArrayBuffer|Uint8Array} data
 * @returns {{data: Float32Array, shape: number[], dtype: string}} rows one after the other; dtype as numpy names it
 */
export function readNpy(data) {
  const bytes = asBytes(data), { fortran, shape, endian, type, at } = readHeader(bytes), kind = READ[type]
  if (type.startsWith('O')) throw new Error('it holds Python objects, which are not read: save a plain array of floats')
  if (!kind) throw new Error(`it holds numbers of type ${type}, expected are float16, float32 or float64`)
  const [size, read] = kind, n = shape.reduce((a, b) => a * b, 1)
  if (n * size > MOST_BYTES) throw new Error(`${(n * size / 2 ** 30).toFixed(1)} GB are no mel`)
  if (at + n * size > bytes.length) {
    const there = counted(bytes.length - at)
    throw new Error(`it says that it holds ${counted(n * size)} bytes, and has ${there}: it was cut off`)
  }
  const view = new DataView(bytes.buffer, bytes.byteOffset + at, n * size), out = new Float32Array(n)
  for (let i = 0; i < n; i++) out[i] = read(view, i * size, endian !== '>')
  const dtype = type === 'b1' ? 'bool' : NAMES[type[0]] + size * 8
  return { data: fortran && shape.length > 1 ? inRows(out, shape) : out, shape, dtype }
}

/** The entries of a zip's directory. */
function directory(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
  let end = bytes.length - 22
  while (end >= 0 && end > bytes.length - 22 - 65536 && view.getUint32(end, true) !== 0x06054b50) end--
  if (end < 0 || view.getUint32(end, true) !== 0x06054b50) {
    throw new Error('the archive was cut off: it has no directory')
  }
  const entries = []
  for (let i = 0, at = view.getUint32(end + 16, true); i < view.getUint16(end + 10, true); i++) {
    if (at + 46 > bytes.length || view.getUint32(at, true) !== 0x02014b50) {
      throw new Error('the directory of the archive is damaged')
    }
    const name = view.getUint16(at + 28, true)
    entries.push({ ...sizes(view, at), flags: view.getUint16(at + 8, true), method: view.getUint16(at + 10, true),
      name: new TextDecoder().decode(bytes.subarray(at + 46, at + 46 + name)) })
    at += 46 + name + view.getUint16(at + 30, true) + view.getUint16(at + 32, true)
  }
  return entries
}

/** Packed size, size and place of an entry, also where they have 64 bits, as numpy writes them. */
function sizes(view, at) {
  const [size, packed, place] = [24, 20, 42].map((o) => view.getUint32(at + o, true)), out = { size, packed, place }
  let extra = at + 46 + view.getUint16(at + 28, true)
  const end = extra + view.getUint16(at + 30, true)
  for (; extra + 4 <= end; extra += 4 + view.getUint16(extra + 2, true)) {
    if (view.getUint16(extra, true) !== 1) continue
    let from = extra + 4
    for (const k of ['size', 'packed', 'place']) if (out[k] === 0xffffffff) {
      out[k] = Number(view.getBigUint64(from, true))
      from += 8
    }
  }
  return out
}

/** The bytes of an entry, unpacked, at most as many as the directory says. */
async function entryBytes(bytes, entry) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length), { place } = entry
  if (entry.size > MOST_BYTES) {
    throw new Error(`${entry.name} would have ${(entry.size / 2 ** 30).toFixed(1)} GB, which is no mel`)
  }
  if (entry.flags & 1) throw new Error(`${entry.name} is encrypted`)
  if (place + 30 > bytes.length) throw new Error('the archive was cut off')
  const from = place + 30 + view.getUint16(place + 26, true) + view.getUint16(place + 28, true)
  const packed = bytes.subarray(from, from + entry.packed)
  if (packed.length < entry.packed) throw new Error('the archive was cut off')
  if (entry.method === 0) return packed
  if (entry.method !== 8) throw new Error(`${entry.name} is packed by method ${entry.method}, which is not read`)
  return inflated(packed, entry)
}

async function inflated(packed, { name, size }) {
  const reader = new Blob([packed]).stream().pipeThrough(new DecompressionStream('deflate-raw')).getReader()
  const out = new Uint8Array(size)
  let at = 0
  try {
    for (let part; !(part = await reader.read()).done; at += part.value.length) {
      if (at + part.value.length > size) throw new Error('there is more of it than its directory says')
      out.set(part.value, at)
    }
  } catch (e) {
    await reader.cancel().catch(() => 0) // it is given up anyway
    throw new Error(`${name} cannot be unpacked: ${e.message || 'it is damaged'}`)
  }
  if (at < size) throw new Error(`${name} has ${counted(at)} bytes, its directory says ${counted(size)}`)
  return out
}

/** The arrays of an .npz. @returns {Promise<Map<string, {data: Float32Array, shape: number[], dtype: string}>>} */
export async function readNpz(data) {
  const bytes = asBytes(data), out = new Map(), entries = directory(bytes)
  if (entries.some((e) => /(^|\/)data\.pkl$/.test(e.name))) {
    throw new Error('it is a file of torch.save: this page reads .npy and .npz, np.save(file, mel.numpy())')
  }
  for (const entry of entries) {
    if (!entry.name.endsWith('.npy')) throw new Error(`it holds ${entry.name}, expected are arrays of np.savez only`)
    const name = entry.name.slice(0, -4)
    try {
      out.set(name, readNpy(await entryBytes(bytes, entry)))
    } catch (e) { throw new Error(`${name}: ${e.message}`) }
  }
  return out
}

/** Of the arrays of an .npz the mel; what it says of itself, and what is not used. */
function theMel(arrays) {
  const said = {}
  for (const k of ['sample_rate', 'hop_length']) if (arrays.get(k)?.data.length === 1) {
    said[k] = arrays.get(k).data[0]
    arrays.delete(k)
  }
  const names = [...arrays.keys()], name = arrays.has('mel') || names.length !== 1 ? 'mel' : names[0]
  if (!arrays.has(name)) {
    throw new Error(`it holds ${names.length} arrays (${names.join(', ') || 'none'}) and none is called mel: ` +
      'save it as np.savez(file, mel=mel)')
  }
  const others = names.filter((o) => o !== name)
  const note = others.length ? `only the array ${name} is used, not ${others.join(', ')}` : ''
  return { ...arrays.get(name), said, note }
}

/** Whether numbers can be the values of a mel, of whatever unit. */
function plausible(values) {
  let most = 0, tiny = 0
  for (const v of values) {
    const size = Math.abs(v)
    if (!Number.isFinite(v) || size > 500) return false
    most = Math.max(most, size)
    if (size > 0 && size < 1e-9) tiny++
  }
  return values.length > 0 && (most === 0 || (most > 1e-3 && tiny / values.length < .01))
}

/** The numbers in bytes. @param {string} type as f4 @param {boolean} little */
function numbersIn(bytes, type, little = true) {
  const [size, read] = READ[type], n = Math.floor(bytes.length / size)
  const view = new DataView(bytes.buffer, bytes.byteOffset)
  return Float64Array.from({ length: n }, (_, i) => read(view, i * size, little))
}

const isHalves = (x) => x.length > 1 && x.every((v, i) => i % 2 || v === 0) && x.some((v) => v !== 0) // round float64

/** Characters of UTF-8, none of which steers a terminal; the last may be cut off. */
function isText(bytes) {
  const text = new TextDecoder('utf-8').decode(bytes, { stream: true })
  return text.length > 0 && !/[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ufffd]/.test(text)
}

/**
 * What bytes are that are no mel in float32: 'float64', 'text' ...; '' where they can be one.
 * @param {ArrayBuffer|Uint8Array} data
 */
export function otherBytes(data) {
  const bytes = asBytes(data).subarray(0, 2 ** 18), kind = kindOf(bytes)
  if (kind) return kind
  const x = numbersIn(bytes, 'f4')
  if (plausible(x) && !isHalves(x)) return ''
  if (isText(bytes.subarray(0, 400))) return 'text'
  for (const [type, little, what] of [['f8', true, 'float64'], ['f2', true, 'float16'],
    ['f4', false, 'big-endian float32'], ['f8', false, 'big-endian float64']]) {
    if (plausible(numbersIn(bytes, type, little))) return what
  }
  return x.length ? `no numbers of a mel, the first is ${Number(x[0].toPrecision(3))}` : 'too short'
}

/** Bare frames, each `bands` float32 numbers, as an array. */
function rawFrames(bytes, bands) {
  const what = otherBytes(bytes)
  if (what) throw new Error(`it looks like ${what}; read are .npy, .npz, and bare float32 numbers, frame after frame`)
  const n = bytes.length / 4 / bands
  if (!Number.isInteger(n)) {
    throw new Error(`its ${counted(bytes.length)} bytes are no whole frames of ${bands} float32 numbers`)
  }
  const flat = numbersIn(bytes, 'f4'), out = new Float32Array(flat.length)
  for (let f = 0; f < n; f++) for (let k = 0; k < bands; k++) out[k * n + f] = flat[f * bands + k]
  return { data: out, shape: [bands, n], dtype: 'float32' }
}

/**
 * Read the mel in a file: .npy, .npz (the array `mel`, or the only one), or bare float32 frames. What its values mean
 * is for `checkMel`.
 * @param {ArrayBuffer|Uint8Array} data
 * @param {{name?: string, bands?: number}} [o] the name of the file, for messages; bands of the model
 * @returns {Promise<{data: Float32Array, shape: number[], dtype: string, said: object, note: string}>}
 */
export async function readMel(data, { name = 'The file', bands = 80 } = {}) {
  const bytes = asBytes(data), head = latin(bytes.subarray(0, 6))
  try {
    if (!bytes.length) throw new Error('it is empty')
    if (head.startsWith('PK')) return theMel(await readNpz(bytes))
    const array = head === '\x93NUMPY' ? readNpy(bytes) : rawFrames(bytes, bands)
    return { ...array, said: {}, note: '' }
  } catch (e) { throw new Error(`${name} cannot be read as a mel: ${e.message}`) }
}

/** One mel of an array (bands, frames) or (1, bands, frames). */
export function asMel({ data, shape }) {
  const [bands, frames] = shape.slice(-2)
  if (shape.length === 3 && shape[0] === 1 || shape.length === 2) return { data, bands, frames }
  throw new Error(`Here one mel is spoken, (bands, frames); the file holds the shape (${shape.join(', ')})`)
}

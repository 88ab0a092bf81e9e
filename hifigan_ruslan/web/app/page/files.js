// What a dropped file is, by its first bytes and not by its name; what cannot be read is said in words of ./words.js.

/** Something a reader is told in place of a result: a key of WORDS and what stands in its blanks. */
export class Said extends Error {
  /** @param {string} key @param {Object<string, string|number>} [values] */
  constructor(key, values = {}) {
    super(`${key} ${JSON.stringify(values)}`)
    Object.assign(this, {key, values})
  }
}

const starts = (b, text, at = 0) => [...text].every((c, i) => b[at+i] === c.charCodeAt(0))
const has = (b, text, end = b.length) => {
  const stop = Math.min(end, b.length)-text.length
  for (let i = 0; i <= stop; i++) if (b[i] === text.charCodeAt(0) && starts(b, text, i)) return true
  return false
}

const SIGNS = [ // [kind, the bytes that prove it, where they stand]
  ['npy', '\x93NUMPY'], ['wav', 'RIFF'], ['wav', 'RF64'], ['flac', 'fLaC'], ['ogg', 'OggS'], ['mp3', 'ID3'], ['aiff', 'FORM'], ['au', '.snd'],
  ['mp4', 'ftyp', 4], ['webm', '\x1aE\xdf\xa3'], ['image', '\x89PNG'], ['image', '\xff\xd8\xff'], ['image', 'GIF8'], ['image', 'BM'],
  ['pdf', '%PDF'], ['hdf5', '\x89HDF'], ['gzip', '\x1f\x8b'], ['archive', '7z\xbc\xaf'], ['archive', 'Rar!'], ['pickle', '\x80\x02'], ['pickle', '\x80\x03'],
  ['pickle', '\x80\x04'], ['pickle', '\x80\x05'], ['program', '\x7fELF'], ['program', 'MZ']]

/** A zip archive is one of numpy's, one of torch's, or anybody's. */
function zipKind(b) {
  if (has(b, 'data.pkl')) return 'torch'
  return has(b, '.npy') || isEmptyZip(b) ? 'npz' : 'archive'
}

const isEmptyZip = b => starts(b, 'PK\x05\x06')

/** RIFF holds more than sound, and so does what begins with BM or MZ. */
function certain(kind, b) {
  if (kind === 'wav') return starts(b, 'WAVE', 8) ? 'wav' : starts(b, 'WEBP', 8) ? 'image' : 'riff'
  if (kind === 'aiff' && !starts(b, 'AIF', 8)) return 'unknown'
  return kind
}

function isText(b) {
  const head = b.subarray(0, 2000)
  if (!head.every(c => c >= 32 || c === 9 || c === 10 || c === 13)) return false
  try {
    new TextDecoder('utf-8', {fatal: true}).decode(head.subarray(0, lastWhole(head)))
    return true
  } catch { return false } // bytes that are no UTF-8 are no text of today
}

/** Where the last whole UTF-8 character ends. */
function lastWhole(b) {
  let i = b.length
  while (i > 0 && i > b.length-4 && (b[i-1] & 0xc0) === 0x80) i--
  return i > 0 && b[i-1] >= 0xc0 ? i-1 : b.length
}

const isMpegFrame = (b, i = 0) => b[i] === 0xff && (b[i+1] & 0xe0) === 0xe0 && (b[i+1] & 0x06) !== 0 && (b[i+2] & 0xf0) !== 0xf0 && (b[i+2] & 0x0c) !== 0x0c

/**
 * What these bytes are.
 * @param {Uint8Array} b the whole file, or its first megabyte
 * @param {string} name of the file; asked only where the bytes tell nothing
 * @returns {string} a kind of sound (SOUNDS), of mel (MELS), or of what is neither
 */
export function kindOf(b, name = '') {
  if (!b.length) return 'empty'
  if (starts(b, 'PK\x03\x04') || isEmptyZip(b)) return zipKind(b)
  for (const [kind, sign, at] of SIGNS) if (starts(b, sign, at)) return certain(kind, b)
  if (isMpegFrame(b)) return 'mp3'
  if (b[0] === 0xff && (b[1] & 0xf6) === 0xf0) return 'aac'
  if (isText(b)) return 'text'
  if (starts(b, '{"', 8)) return 'weights' // safetensors: a length of 8 bytes, then JSON
  return /\.(raw|f32|bin|mel)$/i.test(name) ? 'raw' : 'unknown'
}

export const SOUNDS = ['wav', 'flac', 'ogg', 'mp3', 'mp4', 'webm', 'aac', 'aiff', 'au']
export const MELS = ['npy', 'npz', 'raw']

const MP3_RATES = [[11025, 12000, 8000], null, [22050, 24000, 16000], [44100, 48000, 32000]]

function mp3Rate(b) {
  let i = starts(b, 'ID3') ? 10 + ((b[6] & 127) << 21 | (b[7] & 127) << 14 | (b[8] & 127) << 7 | b[9] & 127) : 0
  for (const end = Math.min(b.length-4, i+5000); i < end; i++) if (isMpegFrame(b, i)) return MP3_RATES[b[i+1] >> 3 & 3]?.[b[i+2] >> 2 & 3] ?? null
  return null
}

function oggRate(b, view) {
  for (let i = 0; i < Math.min(b.length-20, 500); i++) {
    if (starts(b, 'OpusHead', i)) return 48000
    if (starts(b, '\x01vorbis', i)) return view.getUint32(i+12, true)
  }
  return null
}

/**
 * The sample rate that a sound file tells, so that the browser does not resample while it decodes.
 * @param {Uint8Array} b @param {string} kind as from kindOf
 * @returns {number|null} Hz; null where the head of the file does not tell
 */
export function rateOf(b, kind) {
  const view = new DataView(b.buffer, b.byteOffset, b.byteLength)
  if (kind === 'flac' && b.length > 21) return view.getUint32(18) >>> 12 || null
  if (kind === 'ogg') return oggRate(b, view)
  return kind === 'mp3' ? mp3Rate(b) : null
}

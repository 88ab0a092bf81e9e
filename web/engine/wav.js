// WAV files: written with 16 bits, read exactly, whatever an encoder has put into them.

const text = (view, at) => String.fromCharCode(...[0, 1, 2, 3].map((i) => view.getUint8(at + i)))

/**
 * A WAV file of 16 bits, one channel.
 * @param {Float32Array} wave in [-1, 1]; what is beyond is cut off
 * @param {number} rate Hz
 * @returns {{bytes: ArrayBuffer, clipped: number}} the file, and how many samples were cut off
 */
export function writeWav(wave, rate) {
  const bytes = new ArrayBuffer(44 + 2 * wave.length), view = new DataView(bytes)
  const put = (at, s) => [...s].forEach((c, i) => view.setUint8(at + i, c.charCodeAt(0)))
  put(0, 'RIFF')
  view.setUint32(4, 36 + 2 * wave.length, true)
  put(8, 'WAVEfmt ')
  for (const [at, v] of [[16, 16], [24, rate], [28, 2 * rate], [40, 2 * wave.length]]) view.setUint32(at, v, true)
  for (const [at, v] of [[20, 1], [22, 1], [32, 2], [34, 16]]) view.setUint16(at, v, true)
  put(36, 'data')
  let clipped = 0
  for (let i = 0; i < wave.length; i++) {
    const v = Math.round(wave[i] * 32768), sample = Math.max(-32768, Math.min(32767, v))
    if (v > 32768 || v < -32768) clipped++
    view.setInt16(44 + 2 * i, sample, true)
  }
  return { bytes, clipped }
}

const READERS = { // kind and bits -> [a sample, full scale]
  'int 8': [(v, i) => v.getUint8(i) - 128, 128], 'int 16': [(v, i) => v.getInt16(i, true), 2 ** 15],
  'int 24': [(v, i) => v.getUint16(i, true) + v.getInt8(i + 2) * 65536, 2 ** 23],
  'int 32': [(v, i) => v.getInt32(i, true), 2 ** 31],
  'float 32': [(v, i) => v.getFloat32(i, true), 1], 'float 64': [(v, i) => v.getFloat64(i, true), 1],
}

/** The chunks of the file: name -> [place, bytes], the first of each name; sizes that lead beyond the end are cut. */
function chunksOf(view) {
  const found = {}
  for (let at = 12; at + 8 <= view.byteLength;) {
    const name = text(view, at), said = view.getUint32(at + 4, true), size = Math.min(said, view.byteLength - at - 8)
    found[name] ??= { at: at + 8, size, said }
    at += 8 + size + size % 2
  }
  return found
}

/** Kind, bits, channels and rate. */
function formatOf(view, { at, size }) {
  if (size < 16) throw new Error('its format is damaged')
  let code = view.getUint16(at, true)
  const bits = view.getUint16(at + 14, true), channels = view.getUint16(at + 2, true)
  const rate = view.getUint32(at + 4, true)
  if (code === 0xfffe && size >= 26) code = view.getUint16(at + 24, true) // WAVE_FORMAT_EXTENSIBLE
  const kind = { 1: 'int', 3: 'float' }[code]
  if (!kind) throw new Error(`its samples are coded by method ${code}; read are plain numbers`)
  if (!READERS[`${kind} ${bits}`]) throw new Error(`its samples have ${bits} bits; read are 8, 16, 24 or 32`)
  if (!channels || !rate) throw new Error(`it says that it has ${channels} channels at ${rate} Hz`)
  return { kind, bits, channels, rate }
}

/**
 * Read a WAV file exactly: integers of 8 to 32 bits and floats, any number of channels.
 * @param {ArrayBuffer} buffer
 * @returns {{rate: number, channels: Float32Array[], note: string}} `note` says what is wrong with it, '' if nothing
 */
export function readWav(buffer) {
  const view = new DataView(buffer), fail = (why) => { throw new Error(`This is no WAV file that can be read: ${why}`) }
  if (view.byteLength < 12) fail(view.byteLength ? 'it was cut off' : 'it is empty')
  if (text(view, 0) !== 'RIFF' || text(view, 8) !== 'WAVE') fail('it does not begin with RIFF and WAVE')
  const { 'fmt ': fmt, data } = chunksOf(view)
  if (!fmt || !data) fail(`it has no ${fmt ? 'samples' : 'format'}`)
  let format
  try { format = formatOf(view, fmt) } catch (e) { fail(e.message) }
  const { kind, bits, channels: n, rate } = format, step = bits / 8, [read, full] = READERS[`${kind} ${bits}`]
  const samples = Math.floor(data.size / (step * n))
  const channels = Array.from({ length: n }, () => new Float32Array(samples))
  if (!samples) fail('it has no samples')
  for (let i = 0, at = data.at; i < samples; i++) {
    for (let c = 0; c < n; c++, at += step) channels[c][i] = read(view, at) / full
  }
  const whole = data.said === data.size || data.said >= 0xfffffff0 // a recorder that never knew its length
  const there = (samples / rate).toFixed(2), said = (data.said / (step * n * rate)).toFixed(2)
  const note = whole ? '' : `it was cut off: ${there} s of ${said} are there`
  return { rate, channels, note }
}

/** Mean products of the channels, without their constant parts. */
function covariance(channels) {
  const n = channels[0].length, mean = channels.map((c) => c.reduce((a, b) => a + b, 0) / n)
  return channels.map((a, i) => channels.map((b, j) => {
    let sum = 0
    for (let t = 0; t < n; t++) sum += a[t] * b[t]
    return sum / n - mean[i] * mean[j]
  }))
}

/**
 * One wave of several channels, as 03_audio does it: the average of those that are not silent; one alone where they
 * cancel each other out.
 * @param {Float32Array[]} channels of one length
 * @returns {{wave: Float32Array, kind: string, text: string}} what was done, '' for one channel
 */
export function mixed(channels) {
  if (channels.length === 1) return { wave: channels[0], kind: '', text: '' }
  const { weights, kind, text: said } = mixOf(channels), wave = new Float32Array(channels[0].length)
  channels.forEach((c, i) => { if (weights[i]) for (let t = 0; t < wave.length; t++) wave[t] += weights[i] * c[t] })
  return { wave, kind, text: said }
}

function mixOf(channels) {
  const cov = covariance(channels), power = cov.map((row, i) => Math.max(row[i], 0)), n = channels.length
  const loud = power.map((p) => p >= 1e-3 * Math.max(...power)), count = loud.filter(Boolean).length // 30 dB
  const weights = loud.map((l) => (l ? 1 / count : 0)), best = power.indexOf(Math.max(...power))
  const one = (kind, why) => ({ weights: power.map((_, i) => Number(i === best)), kind,
    text: `its ${n} channels ${why}: channel ${best + 1} is taken` })
  const together = cov.reduce((sum, row, i) => sum + row.reduce((s, v, j) => s + weights[i] * weights[j] * v, 0), 0)
  const mean = power.reduce((s, p, i) => s + (loud[i] ? p : 0), 0) / count
  if (together < .1 * mean) return one('opposite phase', 'cancel each other out (opposite phase)')
  if (count === 1) return one('silent channel', 'are silent but for one')
  if (count === n) return { weights, kind: 'averaged', text: `its ${n} channels are averaged` }
  const text = `${n - count} of its ${n} channels are silent, the others are averaged`
  return { weights, kind: 'silent channel', text }
}

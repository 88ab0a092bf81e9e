// A sound file as one channel of floats, with what is to be said about it.
import {Said, rateOf} from './files.js'
import {mixed, readWav} from '../engine/wav.js'

export const MOST_MINUTES = 20 // Of sound: what fits into the memory of a tab, with its mels and copies
const BLIND = 8e6 // Bytes of a file whose duration nobody tells, at most

const tooLong = (name, seconds) => new Said('long', {name, minutes: Math.round(seconds/6)/10, most: MOST_MINUTES})

/** Seconds of a sound file as the browser reads them from its head; null where it does not. */
function duration(bytes) {
  const audio = new Audio(), url = URL.createObjectURL(new Blob([bytes]))
  return new Promise(done => {
    const answer = x => { done(x); audio.removeAttribute('src'); URL.revokeObjectURL(url) }
    audio.preload = 'metadata'
    audio.onerror = () => answer(null)
    audio.onloadedmetadata = () => Number.isFinite(audio.duration) ? answer(audio.duration) : audio.currentTime = 1e9 // a recording of a browser tells it at its end
    audio.ondurationchange = () => Number.isFinite(audio.duration) && answer(audio.duration)
    setTimeout(() => answer(null), 4000)
    audio.src = url
  })
}

/** Decoding makes floats of all of it: a long file would end the tab. */
async function checkDuration(bytes, name) {
  const seconds = await duration(bytes)
  if (seconds > 60*MOST_MINUTES) throw tooLong(name, seconds)
  if (seconds === null && bytes.length > BLIND) throw new Said('large', {name, mb: bytes.length/1e6, most: BLIND/1e6})
}

async function decoded(bytes, kind, name) {
  await checkDuration(bytes, name)
  const told = rateOf(bytes, kind), rate = told >= 8000 && told <= 192000 ? told : 48000
  const notes = told ? [] : [['note_same_rate', {rate}]]
  try {
    const buffer = await new OfflineAudioContext(1, 1, rate).decodeAudioData(bytes.slice().buffer)
    return {channels: Array.from({length: buffer.numberOfChannels}, (_, i) => buffer.getChannelData(i)), rate, notes}
  } catch (error) { throw new Said('not_decoded', {name, kind: kind.toUpperCase(), why: error.message || error.name}) }
}

/** A WAV is read to the bit; what our reader does not know, such as ADPCM, the browser may. */
async function wavOrDecoded(bytes, name) {
  try {
    const {channels, rate, note} = readWav(bytes.slice().buffer)
    return {channels, rate, notes: note ? [['note_engine', {text: note}]] : []}
  } catch (error) { return decoded(bytes, 'wav', name).catch(() => { throw new Said('bad_wav', {name, why: reason(error)}) }) }
}

/** The last part of a sentence of the engine: why. */
export const reason = error => error.message.replace(/^[^:]* cannot be read as a mel: |^This is no WAV file that can be read: /, '')

/**
 * What there is to say about a wave.
 * @param {Float32Array} wave @returns {[string, object][]} keys of WORDS with their values
 */
export function notesOf(wave) {
  let top = 0, full = 0
  for (const x of wave) {
    top = Math.max(top, Math.abs(x))
    if (Math.abs(x) >= .9999) full++
  }
  if (top === 0) return [['note_silent', {}]]
  const quiet = top < .01 ? [['note_quiet', {level: Math.round(20*Math.log10(top))}]] : []
  return full > 2 ? [...quiet, ['note_clipped', {n: full}]] : quiet
}

/**
 * @param {Uint8Array} bytes @param {string} kind as from kindOf @param {string} name @param {{sample_rate: number}} config
 * @returns {Promise<{wave: Float32Array, rate: number, notes: [string, object][]}>} one channel at the rate of the file
 */
export async function readSound(bytes, kind, name, config) {
  const {channels, rate, notes} = kind === 'wav' ? await wavOrDecoded(bytes, name) : await decoded(bytes, kind, name)
  if (!channels.length || !channels[0].length) throw new Said('no_sound', {name})
  if (channels[0].length > 60*MOST_MINUTES*rate) throw tooLong(name, channels[0].length/rate)
  const bad = channels.reduce((n, c) => n+c.reduce((m, x) => m+!Number.isFinite(x), 0), 0)
  if (bad) throw new Said('not_finite', {name, n: bad}) // before channels are mixed, where it would spread
  const {wave, text} = mixed(channels)
  if (text) notes.push(['note_engine', {text}])
  if (rate !== config.sample_rate) notes.push(['note_resampled', {rate, own: config.sample_rate}])
  return {wave, rate, notes: [...notes, ...notesOf(wave)]}
}

/** A mel needs more samples than are reflected at an edge. */
export function checkLength(wave, config, name) {
  const least = Math.max((config.n_fft-config.hop_length)/2, config.hop_length-1)
  if (wave.length <= least) throw new Said('short', {name, n: wave.length, rate: config.sample_rate, least})
}

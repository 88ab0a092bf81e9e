// The voice and the runtime of this page: from inside the file, or from its folder; and what keeps them for later.
import {Said} from './files.js'

/** @param {string} id of an element that holds base64 @returns {Uint8Array} */
function inside(id) {
  const text = document.getElementById(id).textContent, raw = atob(text.trim()), out = new Uint8Array(raw.length)
  for (let i = 0; i < raw.length; i++) out[i] = raw.charCodeAt(i)
  return out
}

const refused = new Set() // addresses whose bytes were wrong: the browser's own copy of them is not asked again

/** Bytes from the folder of the page; onLoad(n) hears how many have come. */
async function fetched(url, what, onLoad) {
  try {
    const reply = await fetch(url, {cache: refused.has(url) ? 'reload' : 'default'})
    if (!reply.ok) throw new Error(`${reply.status} ${reply.statusText}`)
    const parts = [], reader = reply.body.getReader()
    let n = 0
    for (let part; !(part = await reader.read()).done;) {
      parts.push(part.value)
      onLoad(n += part.value.length)
    }
    return new Uint8Array(await new Blob(parts).arrayBuffer())
  } catch (error) { throw new Said('load_failed', {what, why: error.message}) }
}

/** The beginning of the SHA-256 of bytes, as the address of a piece has it; '' where the browser does not compute it. */
async function digest(bytes) {
  if (!globalThis.crypto?.subtle) return ''
  const hash = new Uint8Array(await crypto.subtle.digest('SHA-256', bytes))
  return [...hash.subarray(0, 6)].map(b => b.toString(16).padStart(2, '0')).join('')
}

/** A piece of another making would be another voice, or none: it is refused, and not kept. */
async function checked(bytes, what, {url, size}) {
  const version = new URL(url, location.href).searchParams.get('v'), found = await digest(bytes)
  if (bytes.length === size && (!found || found === version)) return bytes
  refused.add(url)
  for (const name of await globalThis.caches?.keys() ?? []) await (await caches.open(name)).delete(url)
  throw new Said('other_version', {what, n: bytes.length, all: size})
}

/** The pieces of the page by their names, wherever they are. */
export class Pieces {
  /** @param {{pieces: Object<string, {id?: string, url?: string, size: number}>}} settings */
  constructor(settings) { this.places = settings.pieces }

  get inside() { return 'id' in this.places.model }

  size(name) { return this.places[name].size }

  has(name) { return name in this.places }

  /** @param {string} name @param {(n: number) => void} [onLoad] @returns {Promise<Uint8Array>} */
  async bytes(name, onLoad = () => {}) {
    const place = this.places[name]
    return place.id ? inside(place.id) : checked(await fetched(place.url, name, onLoad), name, place)
  }

  async text(name) { return new TextDecoder().decode(await this.bytes(name)) }

  /** Are model and runtime kept by the browser already? */
  async kept() {
    if (this.inside) return true
    if (!window.caches) return false
    const found = await Promise.all(['model', 'wasm'].map(name => caches.match(this.places[name].url)))
    return found.every(Boolean)
  }
}

/**
 * The worker that keeps the page for use without a network, and isolates it so that it may have threads.
 * @returns {Promise<string>} '' where it is at work, else why not
 */
export async function keep() {
  if (!location.protocol.startsWith('http')) return location.protocol
  if (!navigator.serviceWorker) return 'no service worker'
  try {
    await navigator.serviceWorker.register('sw.js')
    await navigator.serviceWorker.ready
  } catch (error) { return error.message }
  await new Promise(done => {
    if (navigator.serviceWorker.controller) return done()
    navigator.serviceWorker.addEventListener('controllerchange', () => done(), {once: true})
    setTimeout(done, 3000)
  })
  return navigator.serviceWorker.controller ? '' : 'no control'
}

/** Once in a tab: load the page anew, which then is isolated. */
export function isolate() {
  if (crossOriginIsolated || !navigator.serviceWorker?.controller) return false
  try {
    if (sessionStorage.getItem('hifigan isolated')) return false
    sessionStorage.setItem('hifigan isolated', '1')
  } catch { return false } // without a memory it would go on for ever
  location.reload()
  return true
}

// The voice and the runtime of this page: from inside the file, or from its folder; and what keeps them for later.
import {Said} from './files.js'

/** @param {string} id of an element that holds base64 @returns {Uint8Array} */
function inside(id) {
  const text = document.getElementById(id).textContent, raw = atob(text.trim()), out = new Uint8Array(raw.length)
  for (let i = 0; i < raw.length; i++) out[i] = raw.charCodeAt(i)
  return out
}

/** Bytes from the folder of the page; onLoad(n) hears how many have come. */
async function fetched(url, what, onLoad) {
  try {
    const reply = await fetch(url)
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

/** The pieces of the page by their names, wherever they are. */
export class Pieces {
  /** @param {{pieces: Object<string, {id?: string, url?: string, size: number}>}} settings */
  constructor(settings) { this.places = settings.pieces }

  get inside() { return 'id' in this.places.model }

  size(name) { return this.places[name].size }

  has(name) { return name in this.places }

  /** @param {string} name @param {(n: number) => void} [onLoad] @returns {Promise<Uint8Array>} */
  async bytes(name, onLoad = () => {}) {
    const {id, url} = this.places[name]
    return id ? inside(id) : fetched(url, name, onLoad)
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

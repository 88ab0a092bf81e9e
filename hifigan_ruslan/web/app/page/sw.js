// Keeps the page for use without a network, and lets it have threads: a page that is isolated from others may share memory.
const VERSION = '{version}'
const SHELL = {shell}
const PREFIX = `hifigan-page ${self.registration.scope} `
const ISOLATED = {'Cross-Origin-Opener-Policy': 'same-origin', 'Cross-Origin-Embedder-Policy': 'require-corp', 'Cross-Origin-Resource-Policy': 'same-origin'}

self.addEventListener('install', e => e.waitUntil(keepShell()))
self.addEventListener('activate', e => e.waitUntil(dropOld()))
self.addEventListener('fetch', e => {
  const url = new URL(e.request.url)
  if (e.request.method === 'GET' && url.href.startsWith(self.registration.scope)) e.respondWith(answer(e.request))
})

async function keepShell() {
  const cache = await caches.open(PREFIX+VERSION)
  await cache.addAll(SHELL.map(name => new Request(name, {cache: 'reload'})))
  await self.skipWaiting()
}

async function dropOld() {
  for (const name of await caches.keys()) if (name.startsWith(PREFIX) && name !== PREFIX+VERSION) await caches.delete(name)
  await self.clients.claim()
}

/** From what is kept, else from the network; whole answers are kept. */
async function answer(request) {
  const cache = await caches.open(PREFIX+VERSION)
  const kept = await cache.match(request.mode === 'navigate' ? './' : request)
  if (kept) return isolated(kept)
  const fresh = await fetch(request)
  if (fresh.status === 200) await keep(cache, request, fresh.clone())
  return isolated(fresh)
}

/** A full disk is no reason to answer with an error: the page says that it is not kept. */
async function keep(cache, request, response) {
  try { await cache.put(request, response) } catch (error) { console.info(`${request.url} is not kept: ${error}`) }
}

function isolated(response) {
  if (response.type === 'opaque' || response.type === 'opaqueredirect' || response.redirected) return response
  const headers = new Headers(response.headers)
  for (const [k, v] of Object.entries(ISOLATED)) headers.set(k, v)
  return new Response(response.body, {status: response.status, statusText: response.statusText, headers})
}

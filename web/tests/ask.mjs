// What the modules answer to files that Python wrote: node ask.mjs REQUESTS.json. Used by tests/test_web_engine.py.
import { readFile } from 'node:fs/promises'
import { checkMel } from '../engine/check.js'
import { LogMel } from '../engine/mel.js'
import { readMel } from '../engine/npy.js'
import { Resampler } from '../engine/resample.js'
import { readWav } from '../engine/wav.js'

const base64 = (floats) => Buffer.from(floats.buffer, floats.byteOffset, floats.byteLength).toString('base64')
const own = (b) => b.buffer.slice(b.byteOffset, b.byteOffset + b.byteLength)
const floats = async (path) => new Float32Array(own(await readFile(path)))

const answers = {
  async read({ path, bands }) {
    const { data, ...rest } = await readMel(await readFile(path), { name: 'x', bands })
    return { ...rest, data: base64(data) }
  },
  async check({ path, config, said }) { return checkMel(await readMel(await readFile(path)), config, said) },
  async wav({ path }) {
    const { channels, ...rest } = readWav(own(await readFile(path)))
    return { ...rest, channels: channels.map(base64) }
  },
  async mel({ path, config }) { return base64(new LogMel(config).of(await floats(path)).data) },
  async resample({ path, from, to }) { return base64(new Resampler(from, to).of(await floats(path))) },
}

const out = []
for (const { ask, ...request } of JSON.parse(await readFile(process.argv[2], 'utf8'))) {
  try { out.push(await answers[ask](request)) } catch (e) { out.push({ error: e.message }) }
}
process.stdout.write(JSON.stringify(out))

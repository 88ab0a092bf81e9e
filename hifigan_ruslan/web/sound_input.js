// A drop zone, a file button and a recorder; what is given goes to Python in pieces, because servers close a socket on messages above 10 MB.
const PIECE = 1 << 20 // Bytes in a message
const LONGEST = 60 // Seconds of a recording
const WORKLET = `registerProcessor('keep', class extends AudioWorkletProcessor {
  process(inputs) { if (inputs[0][0]) this.port.postMessage(inputs[0][0].slice()); return true }
})`

function make(tag, text, props = {}) { return Object.assign(document.createElement(tag), {textContent: text}, props) }

function wavOf(pieces, rate) { // 16-bit PCM, one channel
  const n = pieces.reduce((sum, p) => sum+p.length, 0), view = new DataView(new ArrayBuffer(44+2*n))
  const word = (at, s) => [...s].forEach((c, i) => view.setUint8(at+i, c.charCodeAt(0)))
  word(0, 'RIFF'); view.setUint32(4, 36+2*n, true); word(8, 'WAVEfmt ')
  view.setUint32(16, 16, true); view.setUint16(20, 1, true); view.setUint16(22, 1, true)
  view.setUint32(24, rate, true); view.setUint32(28, 2*rate, true); view.setUint16(32, 2, true); view.setUint16(34, 16, true)
  word(36, 'data'); view.setUint32(40, 2*n, true)
  let at = 44
  for (const p of pieces) for (const x of p) { view.setInt16(at, Math.max(-32768, Math.min(32767, Math.round(x*32768))), true); at += 2 }
  return view.buffer
}

class Recorder {
  async start(onLevel, onFull) {
    if (!navigator.mediaDevices) throw new DOMException('', 'SecurityError') // neither https nor localhost
    this.stream = await navigator.mediaDevices.getUserMedia({audio: {channelCount: 1, echoCancellation: false, noiseSuppression: false, autoGainControl: false}})
    try {
      this.context = new AudioContext()
      this.pieces = []
      const url = URL.createObjectURL(new Blob([WORKLET], {type: 'text/javascript'}))
      try { await this.context.audioWorklet.addModule(url) } finally { URL.revokeObjectURL(url) }
      const node = new AudioWorkletNode(this.context, 'keep', {numberOfOutputs: 0})
      let n = 0
      node.port.onmessage = e => {
        this.pieces.push(e.data)
        n += e.data.length
        onLevel(Math.max(...e.data.map(Math.abs)), n/this.context.sampleRate)
        if (n > LONGEST*this.context.sampleRate) onFull()
      }
      this.context.createMediaStreamSource(this.stream).connect(node)
      await this.context.resume()
    } catch (error) { this.close(); throw error }
  }

  close() {
    this.stream?.getTracks().forEach(t => t.stop())
    if (this.context?.state !== 'closed') this.context?.close()
  }

  stop() {
    this.close()
    return wavOf(this.pieces, this.context.sampleRate)
  }
}

function render({model, el}) {
  const w = model.get('words'), box = make('div', '', {className: 'sound-input'})
  const hint = make('span', w.drop), file = make('input', '', {type: 'file', hidden: true, accept: '.wav,.flac,.ogg,.opus,.mp3,.aif,.aiff,.au,audio/*'})
  const choose = make('button', w.choose, {type: 'button'}), record = make('button', w.record, {type: 'button'})
  const meter = make('meter', '', {max: 1, low: .05, high: .97, hidden: true, title: w.level}), state = make('p', '', {className: 'state'})
  meter.setAttribute('aria-label', w.level)
  state.setAttribute('role', 'status')
  box.append(hint, choose, record, meter, file)
  el.append(box, state)
  let recorder = null, peak = 0, starting = false, sending = 0

  const say = (text, bad = false) => { state.textContent = text; state.classList.toggle('bad', bad) }

  async function send(name, buffer) {
    const id = `${Date.now()} ${++sending}`, parts = Math.max(1, Math.ceil(buffer.byteLength/PIECE))
    for (let part = 0; part < parts; part++) {
      model.send({id, part, parts, name}, undefined, [buffer.slice(part*PIECE, (part+1)*PIECE)])
      if (parts > 1) say(`${w.sending} ${Math.round(100*(part+1)/parts)} %`)
      await new Promise(done => setTimeout(done, 0))
    }
    say(`${w.sent}: ${name}`)
  }

  async function take(files) {
    if (!files.length) return say(w.nofile, true)
    const f = files[0]
    if (f.size > model.get('limit')) return say(`${f.name}: ${w.large} (${(f.size/2**20).toFixed(0)} MB > ${(model.get('limit')/2**20).toFixed(0)} MB)`, true)
    try { await send(f.name, await f.arrayBuffer()) } catch (error) { say(`${f.name}: ${w.unreadable} (${error.message})`, true) }
  }

  async function toggle() {
    if (starting) return
    if (recorder) {
      const wav = recorder.stop()
      recorder = null
      meter.hidden = true
      record.textContent = w.record
      record.setAttribute('aria-pressed', 'false')
      return wav.byteLength > 44 ? send(`${w.name}.wav`, wav) : say(w.silent, true)
    }
    const fresh = new Recorder()
    starting = true
    say(w.asking)
    try {
      await fresh.start((level, seconds) => {
        meter.value = peak = Math.max(level, peak*.95)
        say(`${w.recording}: ${seconds.toFixed(0)} / ${LONGEST} ${w.s}`)
      }, () => recorder === fresh && toggle())
      recorder = fresh
      meter.hidden = false
      record.textContent = w.stop
      record.setAttribute('aria-pressed', 'true')
    } catch (error) {
      say(w[error.name] ?? `${w.failed} (${error.name}: ${error.message})`, true)
    } finally { starting = false }
  }

  choose.addEventListener('click', () => file.click())
  file.addEventListener('change', () => { take([...file.files]); file.value = '' })
  record.addEventListener('click', toggle)
  for (const kind of ['dragenter', 'dragover']) box.addEventListener(kind, e => { e.preventDefault(); e.stopPropagation(); box.classList.add('over') })
  for (const kind of ['dragleave', 'drop']) box.addEventListener(kind, () => box.classList.remove('over'))
  box.addEventListener('drop', e => { e.preventDefault(); e.stopPropagation(); take([...e.dataTransfer.files]) })
  return () => recorder?.close()
}

export default {render}

// Shows the frame of a player and tells Python which version was started, for tests in which that is counted.
function render({model, el}) {
  const draw = () => { el.innerHTML = model.get('html') }
  const hear = e => {
    const frame = el.querySelector('iframe')
    if (frame && e.source === frame.contentWindow && typeof e.data?.heard === 'string') model.send({heard: e.data.heard, trial: model.get('trial')})
  }
  addEventListener('message', hear)
  model.on('change:html', draw)
  draw()
  return () => { removeEventListener('message', hear); model.off('change:html', draw) }
}

export default {render}

;(() => { // Inside the frame of a player: tells the page around it what is heard
  for (const p of window.stepPlayers) {
    let last = ''
    const tell = () => {
      const now = p.state.status === 'playing' ? p.buttons[p.track].dataset.name : ''
      if (now && now !== last) parent.postMessage({heard: now}, '*')
      last = now
    }
    new MutationObserver(tell).observe(p.root, {subtree: true, attributes: true, attributeFilter: ['data-status', 'aria-pressed']})
  }
})()


// Tables that a click or Enter on a head sorts, and a field that leaves the rows with its text in a name, the words or a note
(() => {
'use strict'
const collator = new Intl.Collator(document.documentElement.lang, {numeric: true, sensitivity: 'base'})

function compare(a, b, sign) { // Cells; numbers before words, no number comes last in both directions
  const x = parseFloat(a.dataset.v), y = parseFloat(b.dataset.v)
  if ('v' in a.dataset || 'v' in b.dataset) return isNaN(x)-isNaN(y) || sign*(x-y) || 0
  return sign*collator.compare(a.textContent, b.textContent)
}

function sort(table, head) {
  const up = head.getAttribute('aria-sort') !== 'ascending', column = head.cellIndex, body = table.tBodies[0]
  for (const h of table.tHead.rows[0].cells) h.setAttribute('aria-sort', h !== head ? 'none' : up ? 'ascending' : 'descending')
  body.append(...[...body.rows].sort((a, b) => compare(a.cells[column], b.cells[column], up ? 1 : -1)))
}

for (const table of document.querySelectorAll('table.sorted'))
  for (const head of table.tHead.rows[0].cells) head.querySelector('button')?.addEventListener('click', () => sort(table, head))

for (const field of document.querySelectorAll('.filter input')) {
  const rows = [...document.getElementById(field.dataset.table).tBodies[0].rows], count = field.closest('.filter').querySelector('output')
  const texts = rows.map(r => [...r.querySelectorAll('th, .text')].map(c => c.textContent).join('\n').toLowerCase())
  field.addEventListener('input', () => {
    const wanted = field.value.trim().toLowerCase()
    let n = 0
    rows.forEach((r, i) => { r.hidden = !texts[i].includes(wanted); n += !r.hidden })
    count.textContent = `${n} / ${rows.length}`
  })
}

function openCard() { document.getElementById(location.hash.slice(1))?.closest('details')?.setAttribute('open', '') }
addEventListener('hashchange', openCard)
openCard()
})()

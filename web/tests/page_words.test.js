import {test} from 'node:test'
import assert from 'node:assert/strict'
import {readFileSync, readdirSync} from 'node:fs'
import {WORDS, number, say} from '../page/words.js'

const blanks = text => [...text.matchAll(/\{(\w+)\}/g)].map(m => m[1]).filter((b, i, all) => all.indexOf(b) === i).sort()
const folder = new URL('../page/', import.meta.url)
const code = readdirSync(folder).filter(n => /\.(js|html)$/.test(n) && n !== 'words.js').map(n => readFileSync(new URL(n, folder), 'utf8')).join('\n')

test('both languages say the same things, with the same blanks', () => {
  assert.deepEqual(Object.keys(WORDS.en), Object.keys(WORDS.ru))
  for (const k of Object.keys(WORDS.en)) assert.deepEqual(blanks(WORDS.ru[k]), blanks(WORDS.en[k]), k)
})

test('Russian is Russian', () => {
  const same = Object.keys(WORDS.en).filter(k => k !== 'language' && !/[а-яё]/i.test(WORDS.ru[k]))
  assert.deepEqual(same, [])
})

test('every word is used, and every one that is used is there', () => {
  const made = ['how_', 'engine_', 'note_'] // keys that the script puts together
  const idle = Object.keys(WORDS.en).filter(k => !code.includes(`'${k}'`) && !code.includes(`"${k}"`) && !made.some(m => k.startsWith(m)))
  assert.deepEqual(idle, [])
  for (const [, k] of code.matchAll(/(?:new Said|\bt)\('(\w+)'/g)) assert.ok(k in WORDS.en, k)
  for (const [, k] of code.matchAll(/data-(?:t|label)="(\w+)"/g)) assert.ok(k in WORDS.en, k)
})

test('blanks are filled in, numbers as the language writes them', () => {
  assert.equal(say('en', 'loading', {what: 'x', n: 1.5, all: 1234}), 'Loading x: 1.5 of 1,234 MB')
  assert.equal(say('ru', 'loading', {what: 'x', n: 1.5, all: 2}), 'Загружается x: 1,5 из 2 МБ')
  assert.equal(say('en', 'empty', {}), '{name} is empty: 0 bytes.')
  assert.equal(number('en', 'text'), 'text')
  assert.equal(say('en', 'nothing of the kind'), 'nothing of the kind')
})

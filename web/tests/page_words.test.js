import {test} from 'node:test'
import assert from 'node:assert/strict'
import {readFileSync, readdirSync} from 'node:fs'
import {WORDS, engineWords, faultWords, knownFaults, number, say} from '../page/words.js'

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

test('what the engine says has its Russian', () => {
  const why = 'WebGPU finds no graphics processor; one thread: the page is not cross-origin isolated, so it has no shared memory'
  assert.equal(engineWords('en', why), why)
  assert.equal(engineWords('ru', why), 'WebGPU не находит видеокарты; один поток: страница не изолирована от других, общей памяти у неё нет')
  assert.equal(engineWords('ru', 'its 8 channels are averaged'), 'каналов: 8, взято их среднее')
  assert.equal(engineWords('ru', 'mel.npy cannot be unpacked: it was cut off'), 'mel.npy не распаковывается: файл обрезан')
  assert.equal(engineWords('ru', 'a sentence of tomorrow'), 'a sentence of tomorrow')
})

test('every fault of a mel has its Russian', () => {
  const check = readFileSync(new URL('../engine/check.js', import.meta.url), 'utf8')
  const names = [...check.matchAll(/(?:maybe\(|return \[|: \[|\? \[|fault\(k === 'sample_rate' \? )'([\w .-]+)'/g)].map(m => m[1])
  assert.ok(names.length > 18, names.join())
  assert.deepEqual(names.filter(n => !knownFaults().includes(n)), [])
  assert.match(faultWords('ru', {name: 'decibels'}, {low: -80, high: 1.5}), /^Похоже, это децибелы.*от −80 до 1,5/)
  assert.match(faultWords('ru', {name: 'decibels'}, {low: -1e-6, high: 1}), /от 0 до 1/)
  assert.equal(faultWords('en', {name: 'a', evidence: 'b', todo: 'c'}, {}), 'a: b; c.')
  assert.equal(faultWords('ru', {name: 'new', evidence: 'b', todo: 'c'}, {low: Infinity}), 'new: b; c.')
})

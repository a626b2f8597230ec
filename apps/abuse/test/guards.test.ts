import { readFileSync } from 'node:fs'
import { expect, it } from 'vitest'
import { applyEdits, guards } from '../src/guards.ts'

const source = (file: string) => readFileSync(new URL(`../../../${file}`, import.meta.url), 'utf8')

it.each(guards)('$name can still be taken out of the sources as they are', ({ edits }) => {
  for (const file of new Set(edits.map((edit) => edit.file))) {
    expect(applyEdits(file, source(file), edits)).not.toBe(source(file))
  }
})

it('a guard whose text is not there any more is told of', () => {
  expect(() => applyEdits('a.ts', 'if (allowed)', [{ file: 'a.ts', from: 'if (vetted)', to: '' }])).toThrow(
    'a.ts has no if (vetted) any more',
  )
})

it('docs/security-suite.md has every guard, what is without it and what finds that out', () => {
  const rows = source('docs/security-suite.md')
    .split('\n')
    .map((line) => line.split('|').map((cell) => cell.trim()))
  for (const { name, without, part, mark } of guards) {
    expect(rows).toContainEqual(['', `\`${name}\``, without, `\`${part}\``, mark, ''])
  }
})

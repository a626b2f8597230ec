import fc from 'fast-check'
import { expect, it } from 'vitest'
import { decodeCursor, encodeCursor, NUMBER_POSITION, pageOf } from '../src/cursor.ts'

const ANY = /^/

it('a cursor gives back its position for the same list and filters', () => {
  fc.assert(
    fc.property(fc.string(), fc.string({ unit: 'grapheme' }), (list, position) => {
      const filters = { owner: 'acme', state: undefined }
      const cursor = encodeCursor(list, filters, position)
      expect(decodeCursor(list, { owner: 'acme' }, cursor, ANY)).toBe(position)
    }),
  )
})

it('a cursor with any one bit changed is refused', () => {
  const cursor = encodeCursor('owners', { a: 1 }, '0198a000-0000-7000-8000-000000000000')
  const bytes = Buffer.from(cursor, 'base64url')
  for (let bit = 0; bit < bytes.length * 8; bit += 1) {
    const changed = Buffer.from(bytes)
    changed[bit >> 3]! ^= 1 << (bit & 7)
    expect(() => decodeCursor('owners', { a: 1 }, changed.toString('base64url'))).toThrow(
      expect.objectContaining({ code: 'invalid_cursor' }),
    )
  }
})

it.each([
  ['another list', 'messages', { a: 1 }],
  ['another filter', 'owners', { a: 2 }],
  ['one filter more', 'owners', { a: 1, b: 1 }],
  ['no filter', 'owners', {}],
])('a cursor used with %s is refused', (_name, list, filters) => {
  const cursor = encodeCursor('owners', { a: 1 }, 'x')
  expect(() => decodeCursor(list, filters, cursor, ANY)).toThrow(
    expect.objectContaining({ code: 'invalid_cursor' }),
  )
})

it('a cursor written in another way is refused', () => {
  const cursor = encodeCursor('owners', {}, 'x')
  for (const other of [
    `${cursor}=`,
    `${cursor}.`,
    ` ${cursor}`,
    `${cursor.slice(0, 4)}\n${cursor.slice(4)}`,
  ]) {
    expect(() => decodeCursor('owners', {}, other, ANY)).toThrow(
      expect.objectContaining({ code: 'invalid_cursor' }),
    )
  }
})

it.each(['', '7', "0'; DROP", '0198a000-0000-7000-8000-00000000000g', 'null'])(
  'a cursor that was made to hold what is no id is refused, though its check fits: %j',
  (position) => {
    expect(() => decodeCursor('owners', {}, encodeCursor('owners', {}, position))).toThrow(
      expect.objectContaining({ code: 'invalid_cursor' }),
    )
  },
)

it('any other text is refused', () => {
  fc.assert(
    fc.property(fc.oneof(fc.string(), fc.base64String()), (text) => {
      expect(() => decodeCursor('owners', {}, text, ANY)).toThrow(
        expect.objectContaining({ code: 'invalid_cursor' }),
      )
    }),
  )
})

it('a page ends with a cursor only where more was found than it holds', () => {
  const page = (items: number[]) => pageOf(items, 2, 'numbers', {}, String)
  expect(page([1, 2])).toEqual({ items: [1, 2], next: null })
  expect(page([])).toEqual({ items: [], next: null })
  const { items, next } = page([1, 2, 3])
  expect(items).toEqual([1, 2])
  expect(decodeCursor('numbers', {}, next!, NUMBER_POSITION)).toBe('2')
})

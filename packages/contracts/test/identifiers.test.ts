import { Compile } from 'typebox/compile'
import { describe, expect, it } from 'vitest'
import {
  attemptUuid,
  decodeId,
  encodeId,
  isIdempotencyKey,
  isUid,
  newUuid,
  PublicId,
  Reference,
  uuidTimeMs,
} from '../src/index.ts'

describe('a uid', () => {
  it.each(['acme', '7', 'a.b:c@d-e_f', 'owner', 'ownership_x', 'x'.repeat(128)])('may be %s', (uid) => {
    expect(isUid(uid)).toBe(true)
  })

  it.each([
    '',
    'a b',
    'ü',
    'a/b',
    'x'.repeat(129),
    'own_1',
    'ep_',
    'msg_x',
    'dlv_x',
    'att_x',
    'key_x',
    'a\n',
  ])('may not be %j', (uid) => {
    expect(isUid(uid)).toBe(false)
  })
})

it('every id fits the pattern of its kind and stands where a reference may, and is never a uid', () => {
  const reference = Compile(Reference(''))
  for (const prefix of ['own', 'ep', 'msg', 'dlv', 'att', 'key'] as const) {
    const pattern = Compile(PublicId(prefix, ''))
    const other = Compile(PublicId(prefix === 'own' ? 'ep' : 'own', ''))
    for (const uuid of [
      newUuid(),
      '00000000-0000-0000-0000-000000000000',
      'ffffffff-ffff-ffff-ffff-ffffffffffff',
    ]) {
      const id = encodeId(prefix, uuid)
      expect([pattern.Check(id), reference.Check(id), other.Check(id), isUid(id)]).toEqual([
        true,
        true,
        false,
        false,
      ])
      expect(pattern.Check(id.toUpperCase())).toBe(false)
      expect(pattern.Check(`${id}0`)).toBe(false)
    }
  }
})

it.each([newUuid(), '019ac000-0000-7000-8000-0000fffffff0', '019ac000-0000-7fff-bfff-ffffffffffff'])(
  'the attempts of delivery %s have ids of their own, of its time, and the same each time',
  (delivery) => {
    const ids = Array.from({ length: 300 }, (_, at) => attemptUuid(delivery, at + 1))
    expect(new Set([delivery, ...ids]).size).toBe(301)
    expect(ids).toEqual(ids.map((_, at) => attemptUuid(delivery, at + 1)))
    for (const id of ids) {
      expect(decodeId('att', encodeId('att', id))).toBe(id)
      expect(uuidTimeMs(id)).toBe(uuidTimeMs(delivery))
    }
  },
)

it('an idempotency key is 1 to 255 visible ASCII characters', () => {
  expect(['a', '!', '~', 'x'.repeat(255)].every(isIdempotencyKey)).toBe(true)
  expect(['', ' ', 'a b', 'ü', '\n', 'a\0', 'x'.repeat(256)].some(isIdempotencyKey)).toBe(false)
})

import { randomBytes, randomUUID } from 'node:crypto'
import { newUuid } from '@posthorn/contracts'
import { expect, test } from 'vitest'
import { packIds, unpackIds } from '../src/pack-ids.ts'

test.each([1, 2, 3, 99, 100, 1_000])('%i ids come out as they went in, in order', (count) => {
  for (let round = 0; round < 20; round += 1) {
    const ids = Array.from({ length: count }, (_, n) => (n % 2 === 0 ? newUuid() : randomUUID()))
    expect(unpackIds(packIds(ids))).toEqual(ids)
  }
})

test('the lowest and the highest id come out as they went in', () => {
  const ids = ['00000000-0000-0000-0000-000000000000', 'ffffffff-ffff-ffff-ffff-ffffffffffff']
  expect(unpackIds(packIds(ids))).toEqual(ids)
})

test('a chunk of a hundred takes little more than two kilobytes, in characters that JSON leaves alone', () => {
  const packed = packIds(Array.from({ length: 100 }, newUuid))
  expect(packed).toMatch(/^[A-Za-z0-9_-]+$/)
  expect(packed.length).toBeLessThan(2_200)
})

test.each([0, 1, 15, 17, 1_601])('text that holds %i bytes is not taken for ids', (bytes) => {
  expect(() => unpackIds(randomBytes(bytes).toString('base64url'))).toThrow('whole delivery ids')
})

test('a job that was cut short is not taken for ids', () => {
  expect(() => unpackIds(packIds([newUuid(), newUuid()]).slice(0, -3))).toThrow('whole delivery ids')
})

import { expect, it } from 'vitest'
import { seededRandom } from '../src/seeded-random.ts'

it('a seed repeats its stream', () => {
  const stream = (seed: number) => {
    const random = seededRandom(seed)
    return Array.from({ length: 100 }, () => random.next())
  }
  expect(stream(7)).toEqual(stream(7))
  expect(stream(7)).not.toEqual(stream(8))
})

it('numbers are spread over the whole range, both ends included', () => {
  const random = seededRandom(1)
  const counts = new Map<number, number>()
  for (let draw = 0; draw < 6_000; draw++) {
    const face = random.between(1, 6)
    counts.set(face, (counts.get(face) ?? 0) + 1)
  }
  expect([...counts.keys()].sort()).toEqual([1, 2, 3, 4, 5, 6])
  for (const count of counts.values()) expect(Math.abs(count - 1_000)).toBeLessThan(150)
})

it('shuffling keeps every item', () => {
  const items = Array.from({ length: 20 }, (_, at) => at)
  const shuffled = seededRandom(3).shuffle(items)
  expect(shuffled).not.toEqual(items)
  expect([...shuffled].sort((a, b) => a - b)).toEqual(items)
})

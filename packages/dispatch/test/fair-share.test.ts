import fc from 'fast-check'
import { expect, test } from 'vitest'
import { createFairShare, divideBacklog } from '../src/fair-share.ts'

/** Messages of an owner with one delivery each. */
function accepted(ownerId: string, count: number) {
  return Array.from({ length: count }, (_, n) => ({ ownerId, deliveryIds: [`${ownerId} ${n}`] }))
}

test('an owner that is alone is never over its share', () => {
  const { divide } = createFairShare()
  expect(divide(accepted('a', 5_000))).toMatchObject({ surplus: [] })
})

test('who emits far more than the others has surplus, and the others have none', () => {
  const { divide } = createFairShare({ nowMs: () => 0 })
  divide(['b', 'c', 'd'].flatMap((owner) => accepted(owner, 10)))
  const { within, surplus } = divide([...accepted('a', 500), ...accepted('b', 10)])
  expect(within).toHaveLength(100 + 10)
  expect(surplus).toHaveLength(400)
  expect(surplus.every((id) => id.startsWith('a '))).toBe(true)
})

test('what was emitted long ago does not count', () => {
  let nowMs = 0
  const { divide } = createFairShare({ nowMs: () => nowMs })
  divide([...accepted('b', 10), ...accepted('a', 500)])
  nowMs = 60_000
  expect(divide([...accepted('b', 1), ...accepted('a', 100)]).surplus).toEqual([])
})

test('of a backlog, who has more than half of it and a chunk’s worth is divided off', () => {
  const due = [...accepted('a', 150), ...accepted('b', 50)].map(({ ownerId, deliveryIds }) => ({
    id: deliveryIds[0]!,
    ownerId,
  }))
  const { within, surplus } = divideBacklog(due)
  expect(within.every((id) => id.startsWith('b '))).toBe(true)
  expect(surplus).toHaveLength(150)
  expect(divideBacklog(due.slice(0, 150)).surplus).toHaveLength(150)
  expect(divideBacklog(due.slice(0, 100)).surplus).toEqual([])
})

test('nothing is left out and nothing is in twice, in the order it had', () => {
  const anyAccepted = fc.array(fc.tuple(fc.constantFrom('a', 'b', 'c'), fc.integer({ min: 0, max: 200 })))
  fc.assert(
    fc.property(fc.array(anyAccepted), (commits) => {
      const { divide } = createFairShare()
      for (const commit of commits) {
        const messages = commit.map(([ownerId, count], at) => ({
          ownerId,
          deliveryIds: Array.from({ length: count }, (_, n) => `${at} ${n}`),
        }))
        const ids = messages.flatMap(({ deliveryIds }) => deliveryIds)
        const { within, surplus } = divide(messages)
        expect([...within, ...surplus].sort()).toEqual([...ids].sort())
        for (const part of [within, surplus]) expect(part).toEqual(ids.filter((id) => part.includes(id)))
      }
    }),
    { numRuns: 30 },
  )
})

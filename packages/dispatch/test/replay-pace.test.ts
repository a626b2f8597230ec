import fc from 'fast-check'
import { expect, test } from 'vitest'
import { replayPace } from '../src/index.ts'

const perSecond = fc.integer({ min: 1, max: 10_000 })

/** When each batch is released, by a worker that is late by what is given, and how large it is. */
function run(cap: number, batches: readonly { lateMs: number; share: number }[]) {
  const pace = replayPace(cap)
  let timeMs = 0
  return batches.map(({ lateMs, share }) => {
    const released = Math.max(1, Math.round(pace.batch * share))
    const at = { timeMs: timeMs + lateMs, released }
    timeMs = at.timeMs + pace.pauseMs(released)
    return at
  })
}

test('no second, wherever it begins, has more than the cap', () => {
  const batches = fc.array(
    fc.record({ lateMs: fc.nat(50), share: fc.double({ min: 0, max: 1, noNaN: true }) }),
    { minLength: 60, maxLength: 120 },
  )
  fc.assert(
    fc.property(perSecond, batches, (cap, given) => {
      const released = run(cap, given)
      for (const { timeMs: fromMs } of released) {
        const within = released.filter(({ timeMs }) => timeMs >= fromMs && timeMs < fromMs + 1_000)
        expect(within.reduce((sum, batch) => sum + batch.released, 0)).toBeLessThanOrEqual(cap)
      }
    }),
  )
})

test('a worker that is never late releases at least nine tenths of the cap', () => {
  fc.assert(
    fc.property(perSecond, (cap) => {
      const released = run(cap, Array(200).fill({ lateMs: 0, share: 1 }))
      const count = released.slice(0, -1).reduce((sum, batch) => sum + batch.released, 0)
      expect((count * 1_000) / released.at(-1)!.timeMs).toBeGreaterThanOrEqual(cap * 0.9)
    }),
  )
})

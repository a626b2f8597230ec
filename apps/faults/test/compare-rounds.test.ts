import { expect, it } from 'vitest'
import { compareRounds, type Round, roundP99Ms } from '../src/scenarios/compare-rounds.ts'

const round = (latencyMs: number, missing = 0): Round => ({
  latenciesMs: Array.from({ length: 100 }, () => latencyMs),
  missing,
})

it('the ratio is that of the medians, so one bad round decides nothing', () => {
  const compared = compareRounds(
    [10, 12, 900].map((ms) => round(ms)),
    [15, 18, 1_000].map((ms) => round(ms)),
    1.5,
  )
  expect(compared).toMatchObject({
    ratio: 1.5,
    baselineP99Ms: { min: 10, median: 12, max: 900 },
    disturbedP99Ms: { min: 15, median: 18, max: 1_000 },
    passed: true,
  })
})

it('above the mark does not pass, be it by less than is shown', () => {
  expect(compareRounds([round(10)], [round(15.1)], 1.5).passed).toBe(false)
  expect(compareRounds([round(1_000)], [round(1_501)], 1.5)).toMatchObject({ ratio: 1.5, passed: false })
})

it('what was not received counts as later than everything, and does not pass', () => {
  expect(roundP99Ms(round(10, 1))).toBe(10)
  expect(roundP99Ms(round(10, 2))).toBe(Number.POSITIVE_INFINITY)
  expect(compareRounds([round(10)], [round(10, 1)], 1.5)).toMatchObject({ missing: 1, passed: false })
  expect(compareRounds([round(10)], [round(10, 50)], 1.5)).toMatchObject({ ratio: undefined, passed: false })
})

it('nothing measured does not pass', () => {
  expect(compareRounds([], [round(10)], 1.5).passed).toBe(false)
  expect(compareRounds([round(10)], [{ latenciesMs: [], missing: 0 }], 1.5).passed).toBe(false)
})

import { expect, test } from 'vitest'
import { nextFailures, restartPauseMs } from '../src/restart-pause.ts'

test('what fails again and again is started after pauses that grow, up to a bound', () => {
  let failures = 0
  const pauses = Array.from({ length: 9 }, () => {
    failures = nextFailures(failures, 1_000)
    return restartPauseMs(failures)
  })
  expect(pauses).toEqual([500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000, 30_000])
  expect(restartPauseMs(10_000)).toBe(30_000)
})

test('what ran well for a minute begins anew', () => {
  expect(restartPauseMs(nextFailures(8, 60_000))).toBe(500)
  expect(restartPauseMs(nextFailures(8, 59_999))).toBe(30_000)
})

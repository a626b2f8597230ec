import { describe, expect, test } from 'vitest'
import { parseRetryAfterMs, retryDelayMs } from '../src/retry.ts'

describe('retryDelayMs', () => {
  test('spreads over a bound that doubles and ends at five seconds', () => {
    expect(retryDelayMs(0, 100, 0.5)).toBe(100)
    expect(retryDelayMs(1, 100, 0.5)).toBe(200)
    expect(retryDelayMs(3, 100, 1)).toBe(1600)
    expect(retryDelayMs(3, 100, 0)).toBe(0)
    expect(retryDelayMs(50, 100, 1)).toBe(5000)
  })

  test('starts after Retry-After, of which at most a minute counts', () => {
    expect(retryDelayMs(0, 100, 0.5, 2000)).toBe(2100)
    expect(retryDelayMs(0, 100, 0, 86_400_000)).toBe(60_000)
  })
})

describe('parseRetryAfterMs', () => {
  const nowMs = Date.parse('2026-01-01T00:00:00Z')
  test.each([
    ['120', 120_000],
    [' 0 ', 0],
    ['Thu, 01 Jan 2026 00:00:10 GMT', 10_000],
    ['Wed, 31 Dec 2025 00:00:00 GMT', 0],
    ['soon', undefined],
    ['-1', undefined],
    ['', undefined],
    [undefined, undefined],
  ])('%j is %j ms', (value, expected) => {
    expect(parseRetryAfterMs(value, nowMs)).toBe(expected)
  })
})

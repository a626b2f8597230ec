import { type RetryPolicy, retrySchedule } from '@posthorn/contracts'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { nextState, type Outcome, parseRetryAfter } from '../src/index.ts'

const policy = { delaysMs: [5_000, 300_000] }
/** In the middle of [0, 1): no jitter. */
const UNMOVED = 0.5
const DAY_MS = 86_400_000
const answered = (status: number): Outcome => ({ kind: 'answered', status })

describe('the state after an attempt', () => {
  test.each([200, 201, 202, 204, 206, 226, 299])('%i is delivered', (status) => {
    expect(nextState(answered(status), 1, policy, UNMOVED)).toEqual({ state: 'delivered' })
  })

  test.each([
    // Informational answers never end an exchange; a redirect is not followed.
    ...[100, 103, 199, 300, 301, 302, 303, 304, 307, 308, 399],
    ...[400, 401, 403, 404, 408, 409, 411, 418, 422, 425, 429, 451, 499],
    ...[500, 501, 502, 503, 504, 599, 999],
  ])('%i is retried', (status) => {
    expect(nextState(answered(status), 1, policy, UNMOVED)).toEqual({ state: 'pending', delayMs: 5_000 })
  })

  test.each(['timeout', 'dns', 'refused', 'anything else'])('no answer (%s) is retried', (code) => {
    const failed: Outcome = { kind: 'failed', code }
    expect(nextState(failed, 2, policy, UNMOVED)).toEqual({ state: 'pending', delayMs: 300_000 })
    expect(nextState(failed, 3, policy, UNMOVED)).toEqual({ state: 'dead' })
  })

  test.each([1, 3, 50])('410 ends it at attempt %i and disables the endpoint', (attempt) => {
    expect(nextState(answered(410), attempt, policy, UNMOVED)).toEqual({
      state: 'dead',
      disableEndpoint: expect.stringContaining('410'),
    })
  })

  test('the last attempt may still be delivered', () => {
    expect(nextState(answered(200), 3, policy, UNMOVED)).toEqual({ state: 'delivered' })
  })

  const anyOutcome: fc.Arbitrary<Outcome> = fc.oneof(
    fc.record({ kind: fc.constant('answered' as const), status: fc.integer({ min: 100, max: 999 }) }),
    fc.record({
      kind: fc.constant('answered' as const),
      status: fc.integer({ min: 300, max: 999 }),
      retryAfterMs: fc.integer({ min: 1, max: DAY_MS }),
    }),
    fc.record({ kind: fc.constant('failed' as const), code: fc.string() }),
  )
  const anyPolicy: fc.Arbitrary<RetryPolicy> = fc.oneof(
    fc.record({ delaysMs: fc.array(fc.nat(30 * DAY_MS), { maxLength: 20 }) }),
    fc.record({
      baseMs: fc.nat(DAY_MS),
      factor: fc.double({ min: 1, max: 10, noNaN: true }),
      maxMs: fc.nat(30 * DAY_MS),
      attempts: fc.integer({ min: 1, max: 20 }),
      jitter: fc.double({ min: 0, max: 0.5, noNaN: true }),
    }),
  )
  /** Uniform in [0, 1), both ends of it included. */
  const anyRandom = fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true })

  test('a delivery ends with the last attempt of the schedule shown, whatever comes of them', () => {
    fc.assert(
      fc.property(anyPolicy, fc.infiniteStream(anyOutcome), anyRandom, (anyone, outcomes, random) => {
        let attempt = 0
        for (const outcome of outcomes) {
          attempt += 1
          if (nextState(outcome, attempt, anyone, random).state !== 'pending') break
        }
        expect(attempt).toBeLessThanOrEqual(retrySchedule(anyone).length)
      }),
    )
  })

  test('one that always fails is attempted when the schedule says, and as often', () => {
    fc.assert(
      fc.property(anyPolicy, fc.infiniteStream(anyRandom), (anyone, randoms) => {
        let afterMs = 0
        for (const { attempt, minMs, maxMs } of retrySchedule(anyone)) {
          expect(afterMs).toBeGreaterThanOrEqual(minMs)
          expect(afterMs).toBeLessThanOrEqual(maxMs)
          const next = nextState(answered(500), attempt, anyone, randoms.next().value)
          const isLast = attempt === retrySchedule(anyone).length
          expect(next.state).toBe(isLast ? 'dead' : 'pending')
          if (next.state === 'pending') afterMs += next.delayMs
        }
      }),
    )
  })

  test('the wait is within 20 % of the policy’s, in whole milliseconds', () => {
    fc.assert(
      fc.property(fc.nat(30 * DAY_MS), anyRandom, (delayMs, random) => {
        const next = nextState(answered(500), 1, { delaysMs: [delayMs] }, random)
        if (next.state !== 'pending') throw new Error(next.state)
        expect(next.delayMs).toBeGreaterThanOrEqual(Math.floor(delayMs * 0.8))
        expect(next.delayMs).toBeLessThanOrEqual(Math.ceil(delayMs * 1.2))
        expect(Number.isSafeInteger(next.delayMs)).toBe(true)
      }),
    )
  })

  test('jitter spreads over the whole range', () => {
    const delayOf = (random: number) => nextState(answered(500), 1, { delaysMs: [1_000] }, random)
    expect(delayOf(0)).toEqual({ state: 'pending', delayMs: 800 })
    expect(delayOf(1 - Number.EPSILON)).toEqual({ state: 'pending', delayMs: 1_200 })
  })

  test('Retry-After makes the wait longer, never shorter', () => {
    const asked = (retryAfterMs: number): Outcome => ({ kind: 'answered', status: 429, retryAfterMs })
    expect(nextState(asked(60_000), 1, policy, UNMOVED)).toEqual({ state: 'pending', delayMs: 60_000 })
    expect(nextState(asked(1_000), 1, policy, UNMOVED)).toEqual({ state: 'pending', delayMs: 5_000 })
  })
})

describe('Retry-After', () => {
  const now = Date.parse('2026-11-21T12:00:00Z')

  test.each<[string, number]>([
    ['1', 1_000],
    ['120', 120_000],
    ['  7 ', 7_000],
    ['007', 7_000],
    ['Sat, 21 Nov 2026 12:00:30 GMT', 30_000],
    ['Saturday, 21-Nov-26 12:00:30 GMT', 30_000],
    ['Sat Nov 21 12:00:30 2026 GMT', 30_000],
  ])('%j is honoured', (value, waitMs) => {
    expect(parseRetryAfter(value, now)).toBe(waitMs)
  })

  test.each(['86401', '999999999999999', 'Mon, 23 Nov 2026 12:00:00 GMT', 'Fri, 31 Dec 9999 23:59:59 GMT'])(
    '%j is more than a day, and a day is honoured',
    (value) => {
      expect(parseRetryAfter(value, now)).toBe(DAY_MS)
    },
  )

  test.each([
    ...[undefined, '', ' ', '0', '-1', '+1', '1.5', '1e3', '1e300', '0x10', 'NaN', 'Infinity', '1s', '1, 2'],
    ...['1'.repeat(400), 'soon', 'Saturday', 'Sat, 99 Nov 2026 12:00:30 GMT', '2026-11-21T12:00:30Z'],
    // In the past.
    ...['Sat, 21 Nov 2026 12:00:00 GMT', 'Thu, 01 Jan 1970 00:00:00 GMT'],
  ])('%j is no wish', (value) => {
    expect(parseRetryAfter(value, now)).toBeUndefined()
  })

  test('whatever text it is, the wait is undefined or a finite time up to a day', () => {
    fc.assert(
      fc.property(
        fc.oneof(
          fc.string(),
          fc.string().map((text) => `Mon${text}`),
          fc.bigInt().map(String),
        ),
        (text) => {
          const waitMs = parseRetryAfter(text, now)
          if (waitMs === undefined) return
          expect(waitMs).toBeGreaterThan(0)
          expect(waitMs).toBeLessThanOrEqual(DAY_MS)
        },
      ),
    )
  })
})

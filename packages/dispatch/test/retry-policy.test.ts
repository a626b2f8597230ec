import { type RetryPolicy, retrySchedule } from '@posthorn/contracts'
import type { PostFailureCode, PostOutcome } from '@posthorn/egress'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { attemptResult, policyOutcome } from '../src/attempt-result.ts'
import { healthEvent, healthPolicy, nextState, type Outcome, parseRetryAfter } from '../src/index.ts'

const policy = { delaysMs: [5_000, 300_000] }
/** In the middle of [0, 1): no jitter. */
const UNMOVED = 0.5
const DAY_MS = 86_400_000
const answered = (status: number): Outcome => ({ kind: 'answered', status })

describe('each outcome: what is recorded, what becomes of the delivery, what is thought of the endpoint', () => {
  const startedAt = new Date('2026-11-22T12:00:00Z')
  /** Where it is asked to wait and not told how long. */
  const HOLD_MS = 30_000
  const health = healthPolicy({
    ...{ leaseMs: 60_000, breakerPauseMs: 10 * HOLD_MS, disableAfterMs: null },
    endpointConcurrency: 10,
  })
  const timings = { totalMs: 10 }
  const answer = (status: number, retryAfter?: string): PostOutcome & { kind: 'answered' } => ({
    kind: 'answered',
    status,
    headers: [
      // Of the connection, and not kept.
      ['connection', 'close'],
      ...(retryAfter === undefined ? [] : [['retry-after', retryAfter] as [string, string]]),
    ],
    body: Buffer.from('why'),
    bodyTruncated: false,
    durationMs: 10,
    timings,
  })
  const noAnswer = (code: PostFailureCode): PostOutcome => ({
    kind: 'failed',
    code,
    detail: 'why',
    durationMs: 10,
    timings,
  })
  type Row = [
    what: string,
    outcome: PostOutcome,
    recorded: string,
    next: 'delivered' | 'retried' | 'dead and disabled',
    /** Milliseconds until the next attempt of this delivery. */
    delayMs: number | undefined,
    /** As the breaker counts it. */
    counts: 'success' | 'refusal' | 'failure',
    /** Milliseconds that the endpoint as a whole is left alone for, at once. */
    holdMs: number | undefined,
  ]
  const rows: Row[] = [
    ...[200, 201, 202, 204, 299].map(
      (status): Row => [
        `${status}`,
        answer(status),
        'delivered',
        'delivered',
        undefined,
        'success',
        undefined,
      ],
    ),
    ...[300, 301, 302, 303, 304, 307, 308].map(
      (status): Row => [`${status}`, answer(status), 'rejected', 'retried', 5_000, 'refusal', undefined],
    ),
    ...[400, 401, 403, 404, 405, 408, 409, 413, 415, 422, 451].map(
      (status): Row => [`${status}`, answer(status), 'rejected', 'retried', 5_000, 'refusal', undefined],
    ),
    ['404 with Retry-After', answer(404, '60'), 'rejected', 'retried', 60_000, 'refusal', undefined],
    ['410', answer(410), 'rejected', 'dead and disabled', undefined, 'refusal', undefined],
    ...[500, 501, 505, 599].map(
      (status): Row => [`${status}`, answer(status), 'rejected', 'retried', 5_000, 'failure', undefined],
    ),
    ...[429, 502, 503, 504].map(
      (status): Row => [`${status}`, answer(status), 'rejected', 'retried', 5_000, 'failure', HOLD_MS],
    ),
    ...[429, 500, 502, 503, 504].flatMap((status): Row[] => {
      const hold = status === 500 ? undefined : HOLD_MS
      const asked = (text: string, delayMs: number, holdMs: number | undefined): Row => {
        const what = `${status} with Retry-After: ${text}`
        return [what, answer(status, text), 'rejected', 'retried', delayMs, 'failure', holdMs]
      }
      return [
        asked('120', 120_000, 120_000),
        asked('1', 5_000, 1_000),
        asked('Sun, 22 Nov 2026 12:02:00 GMT', 119_990, 119_990),
        asked('172800', DAY_MS, DAY_MS),
        asked('Wed, 25 Nov 2026 12:00:00 GMT', DAY_MS, DAY_MS),
        ...['1e300', 'NaN', '-1', '0', 'soon', 'Sun, 22 Nov 2026 11:00:00 GMT'].map((text) =>
          asked(text, 5_000, hold),
        ),
      ]
    }),
    ...(
      [
        ...['dns_failed', 'connect_refused', 'connect_timeout', 'unreachable', 'tls_failed', 'reset'],
        ...['timeout', 'body_timeout', 'invalid_response', 'headers_too_large'],
      ] as PostFailureCode[]
    ).map((code): Row => [code, noAnswer(code), code, 'retried', 5_000, 'failure', undefined]),
    // Nothing was sent: the endpoint is set to what cannot be.
    ...(['address_refused', 'invalid_request', 'proxy_failed'] as PostFailureCode[]).map(
      (code): Row => [code, noAnswer(code), code, 'retried', 5_000, 'refusal', undefined],
    ),
    // Of a body that is too large the first 16 KiB are kept; what counts is the status.
    [
      '500, cut off',
      { ...answer(500), bodyTruncated: true },
      'rejected',
      'retried',
      5_000,
      'failure',
      undefined,
    ],
    [
      '200, cut off',
      { ...answer(200), bodyTruncated: true },
      'delivered',
      'delivered',
      undefined,
      'success',
      undefined,
    ],
  ]

  test.each(rows)('%s', (_, outcome, recorded, next, delayMs, counts, holdMs) => {
    const { result, disable } = attemptResult({
      delivery: {
        id: 'd',
        messageId: 'm',
        endpointId: 'e',
        attempts: 0,
        attemptsBeforeReplay: 0,
        endpointVersion: '1',
        payload: null,
        health: null,
      },
      claim: 'c',
      startedAt,
      outcome,
      policy,
      random: UNMOVED,
    })
    expect(result).toMatchObject({
      number: 1,
      outcome: recorded,
      startedAt,
      durationMs: 10,
      timings,
      ...(outcome.kind === 'answered'
        ? {
            status: outcome.status,
            responseHeaders: JSON.stringify(outcome.headers.slice(1)),
            responseBody: outcome.body,
            responseBodyTruncated: outcome.bodyTruncated,
          }
        : { detail: 'why' }),
      next:
        next === 'retried'
          ? { state: 'pending', delayMs }
          : { state: next === 'delivered' ? 'delivered' : 'dead' },
    })
    expect(disable).toEqual(next === 'dead and disabled' ? expect.stringContaining('410') : undefined)
    const event = healthEvent(
      policyOutcome(outcome, startedAt),
      { deliveryId: 'd', startedAtMs: startedAt.getTime() },
      health,
    )
    expect(event.kind).toBe(counts)
    expect('holdMs' in event ? event.holdMs : undefined).toBe(holdMs)
  })
})

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

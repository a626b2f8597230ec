import { newUuid, type RetryPolicy, retrySchedule } from '@posthorn/contracts'
import type { PostOutcome } from '@posthorn/egress'
import type { ClaimedDelivery } from '@posthorn/store'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { attemptResult } from '../src/attempt-result.ts'

const DAY_MS = 86_400_000

const anyPolicy: fc.Arbitrary<RetryPolicy> = fc.oneof(
  fc.record({ delaysMs: fc.array(fc.nat(30 * DAY_MS), { maxLength: 6 }) }),
  fc.record({
    baseMs: fc.nat(DAY_MS),
    factor: fc.double({ min: 1, max: 10, noNaN: true }),
    maxMs: fc.nat(30 * DAY_MS),
    attempts: fc.integer({ min: 1, max: 6 }),
    jitter: fc.double({ min: 0, max: 0.5, noNaN: true }),
  }),
)
const anyRetryAfter = fc.oneof(
  fc.constantFrom('1', '86401', '1e300', 'NaN', '-1', 'Fri, 31 Dec 9999 23:59:59 GMT'),
  fc.nat().map(String),
  fc.string(),
)
const anyOutcome: fc.Arbitrary<PostOutcome> = fc.oneof(
  // Those that decide differently come often enough to be met at every attempt.
  fc
    .record({
      status: fc.oneof(fc.constantFrom(200, 410, 429, 500), fc.integer({ min: 200, max: 999 })),
      retryAfter: fc.option(anyRetryAfter),
    })
    .map(({ status, retryAfter }) => ({
      ...{ kind: 'answered' as const, status, body: Buffer.alloc(0), bodyTruncated: false },
      headers: retryAfter === null ? [] : [['Retry-After', retryAfter] as [string, string]],
      ...{ durationMs: 1, timings: { totalMs: 1 } },
    })),
  fc.constantFrom('dns', 'refused', 'tls', 'reset', 'timeout', 'body_timeout').map((code) => ({
    ...{ kind: 'failed' as const, code: code as 'timeout', detail: code },
    ...{ durationMs: 1, timings: { totalMs: 1 } },
  })),
)
type Event =
  | { kind: 'attempted'; outcome: PostOutcome; random: number }
  /** The lease ran out or the delivery was handed back: nothing was recorded. */
  | { kind: 'not-recorded' }
  /** Sends an ended one again. */
  | { kind: 'replayed' }

const anyEvent: fc.Arbitrary<Event> = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constant('attempted' as const),
      outcome: anyOutcome,
      random: fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
    }),
  },
  { weight: 1, arbitrary: fc.constant({ kind: 'not-recorded' as const }) },
  { weight: 2, arbitrary: fc.constant({ kind: 'replayed' as const }) },
)
/** From any state that a delivery can be in, or begin anew in. */
const anyStart = fc.record({ before: fc.nat(200), since: fc.nat(10) })

describe('whatever happens to a delivery', () => {
  test('it has ended or has a due time, and its attempts since the last replay are within the policy', () => {
    fc.assert(
      fc.property(anyPolicy, anyStart, fc.array(anyEvent, { maxLength: 40 }), (policy, start, events) => {
        const delivery = claimed(start.before + start.since, start.before)
        const attemptsMax = retrySchedule(policy).length
        let ended = false
        for (const event of events) {
          if (event.kind === 'replayed' && ended) {
            delivery.attemptsBeforeReplay = delivery.attempts
            ended = false
          }
          if (event.kind !== 'attempted' || ended) continue
          const { result, disable } = attempt(delivery, event.outcome, policy, event.random)
          const { next } = result
          expect(result.number).toBe(delivery.attempts + 1)
          delivery.attempts = result.number
          ended = next.state !== 'pending'
          if (next.state === 'pending') {
            expect(Number.isSafeInteger(next.delayMs) && next.delayMs >= 0).toBe(true)
            // One that begins past its policy, which was made shorter meanwhile, ends with what it has.
            expect(result.number - delivery.attemptsBeforeReplay).toBeLessThan(attemptsMax)
          }
          const isTaken = event.outcome.kind === 'answered' && event.outcome.status <= 299
          expect(next.state === 'delivered').toBe(isTaken)
          expect(result.outcome === 'delivered').toBe(isTaken)
          const isGone = event.outcome.kind === 'answered' && event.outcome.status === 410
          expect(disable !== undefined).toBe(isGone)
          // It does not give up sooner than the policy says.
          const since = result.number - delivery.attemptsBeforeReplay
          if (next.state === 'dead') expect(isGone || since >= attemptsMax).toBe(true)
        }
      }),
      { numRuns: 500 },
    )
  })
})

function attempt(delivery: ClaimedDelivery, outcome: PostOutcome, policy: RetryPolicy, random: number) {
  const startedAt = new Date('2026-11-21T12:00:00Z')
  return attemptResult({ delivery, claim: newUuid(), startedAt, outcome, policy, random })
}

function claimed(attempts: number, attemptsBeforeReplay: number): ClaimedDelivery {
  return {
    ...{ id: newUuid(), messageId: newUuid(), endpointId: newUuid(), endpointVersion: '1' },
    ...{ payload: Buffer.from('{}'), attempts, attemptsBeforeReplay, health: null },
  }
}

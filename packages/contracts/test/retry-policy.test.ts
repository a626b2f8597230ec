import fc from 'fast-check'
import { Compile } from 'typebox/compile'
import { describe, expect, test } from 'vitest'
import {
  delayBefore,
  type ExponentialRetryPolicy,
  type ListedRetryPolicy,
  RetryPolicy,
  retryPolicyFault,
  retrySchedule,
  withJitter,
} from '../src/index.ts'

const DAY_MS = 86_400_000

const delayMs = fc.nat(30 * DAY_MS)
const jitter = fc.option(fc.double({ min: 0, max: 0.5, noNaN: true }), { nil: undefined })
const withoutUndefined = <T extends { jitter?: number | undefined }>({ jitter, ...rest }: T) =>
  jitter === undefined ? rest : { ...rest, jitter }
const anyListed = fc
  .record({ delaysMs: fc.array(delayMs, { maxLength: 99 }), jitter })
  .map((policy) => withoutUndefined(policy) as ListedRetryPolicy)
const anyExponential = fc
  .record({
    baseMs: delayMs,
    factor: fc.double({ min: 1, max: 10, noNaN: true }),
    maxMs: delayMs,
    attempts: fc.integer({ min: 1, max: 100 }),
    jitter,
  })
  .map((policy) => withoutUndefined(policy) as ExponentialRetryPolicy)
const anyPolicy = fc.oneof(anyListed, anyExponential)
/** From 0 to 1, both included. */
const anyRandom = fc.double({ min: 0, max: 1, noNaN: true })

describe('the wait before an attempt', () => {
  test('is that of the list, and none after its end', () => {
    const policy = { delaysMs: [5_000, 300_000] }
    expect([1, 2, 3, 4].map((attempt) => delayBefore(policy, attempt))).toEqual([
      0,
      5_000,
      300_000,
      undefined,
    ])
    expect(delayBefore({ delaysMs: [] }, 2)).toBeUndefined()
  })

  test('grows by the factor up to the longest, and there are as many attempts as are said', () => {
    const policy = { baseMs: 5_000, factor: 3, maxMs: 60_000, attempts: 5 }
    expect([1, 2, 3, 4, 5, 6].map((attempt) => delayBefore(policy, attempt))).toEqual([
      0,
      5_000,
      15_000,
      45_000,
      60_000,
      undefined,
    ])
  })

  test('of an exponential policy never gets shorter, and is at most the longest', () => {
    fc.assert(
      fc.property(anyExponential, (policy) => {
        let before = 0
        for (let attempt = 2; attempt <= policy.attempts; attempt += 1) {
          const delay = delayBefore(policy, attempt)!
          expect(Number.isSafeInteger(delay)).toBe(true)
          expect(delay).toBeGreaterThanOrEqual(before)
          expect(delay).toBeLessThanOrEqual(policy.maxMs)
          before = delay
        }
      }),
    )
  })
})

describe('the schedule of a policy', () => {
  test('is the distance of each attempt from the first, with the reach of jitter', () => {
    expect(retrySchedule({ delaysMs: [1_000, 10_000], jitter: 0.1 })).toEqual([
      { attempt: 1, afterMs: 0, minMs: 0, maxMs: 0 },
      { attempt: 2, afterMs: 1_000, minMs: 900, maxMs: 1_100 },
      { attempt: 3, afterMs: 11_000, minMs: 9_900, maxMs: 12_100 },
    ])
    expect(retrySchedule({ delaysMs: [1_000] })[1]).toMatchObject({ minMs: 800, maxMs: 1_200 })
  })

  test('has the attempts of the policy, and no wait leads out of its bounds', () => {
    fc.assert(
      fc.property(anyPolicy, fc.array(anyRandom, { minLength: 1 }), (policy, randoms) => {
        const schedule = retrySchedule(policy)
        expect(schedule).toHaveLength('attempts' in policy ? policy.attempts : policy.delaysMs.length + 1)
        let afterMs = 0
        let movedMs = 0
        for (const [at, shown] of schedule.entries()) {
          const delay = delayBefore(policy, at + 1)!
          afterMs += delay
          movedMs += withJitter(policy, delay, randoms[at % randoms.length]!)
          expect(shown).toMatchObject({ attempt: at + 1, afterMs })
          expect(movedMs).toBeGreaterThanOrEqual(shown.minMs)
          expect(movedMs).toBeLessThanOrEqual(shown.maxMs)
        }
        expect(delayBefore(policy, schedule.length + 1)).toBeUndefined()
      }),
    )
  })

  test('is the same for an exponential policy and for the list of its waits', () => {
    fc.assert(
      fc.property(anyExponential, (policy) => {
        const delaysMs = Array.from({ length: policy.attempts - 1 }, (_, at) => delayBefore(policy, at + 2)!)
        const listed = { delaysMs, ...(policy.jitter !== undefined && { jitter: policy.jitter }) }
        expect(retrySchedule(listed)).toEqual(retrySchedule(policy))
      }),
    )
  })
})

describe('a policy is judged', () => {
  const check = Compile(RetryPolicy)
  const exponential = { baseMs: 5_000, factor: 3, maxMs: DAY_MS, attempts: 10 }

  test.each([
    { delaysMs: [] },
    { delaysMs: [0, 30 * DAY_MS, 30 * DAY_MS], jitter: 0.5 },
    { delaysMs: Array(99).fill(1) },
    exponential,
    { ...exponential, jitter: 0 },
    { baseMs: 0, factor: 1, maxMs: 0, attempts: 100 },
    { baseMs: DAY_MS, factor: 10, maxMs: DAY_MS, attempts: 61 },
  ])('%o can be', (policy) => {
    expect(check.Check(policy)).toBe(true)
    expect(retryPolicyFault(policy)).toBeUndefined()
  })

  test.each([
    {},
    { delaysMs: [-1] },
    { delaysMs: [1.5] },
    { delaysMs: [30 * DAY_MS + 1] },
    { delaysMs: Array(100).fill(1) },
    { delaysMs: [1], attempts: 2 },
    { delaysMs: [1], jitter: 0.6 },
    { ...exponential, factor: 0.9 },
    { ...exponential, factor: 10.1 },
    { ...exponential, attempts: 0 },
    { ...exponential, attempts: 101 },
    { ...exponential, jitter: -0.1 },
    { baseMs: 5_000, factor: 3, maxMs: DAY_MS },
  ])('%o does not fit', (policy) => {
    expect(check.Check(policy)).toBe(false)
  })

  test.each([
    [{ ...exponential, maxMs: 4_999 }, 'maxMs'],
    [{ delaysMs: [30 * DAY_MS, 30 * DAY_MS, 1] }, 'delaysMs'],
    [{ baseMs: DAY_MS, factor: 10, maxMs: DAY_MS, attempts: 62 }, 'attempts'],
  ])('%o is wrong as a whole', (policy, member) => {
    expect(check.Check(policy)).toBe(true)
    expect(retryPolicyFault(policy)).toMatchObject({ member, message: expect.stringMatching(/^must /) })
  })
})

import { lowestId } from '@posthorn/contracts'
import type { EndpointHealth } from '@posthorn/store'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { disableReason } from '../src/endpoint-health.ts'
import {
  HEALTH_POLICY,
  HEALTHY,
  type HealthEvent,
  type HealthPolicy,
  isHealthy,
  nextHealth,
  releaseRoom,
} from '../src/index.ts'

const DAY_MS = 86_400_000
const policy: HealthPolicy = {
  ...HEALTH_POLICY,
  openMs: 30_000,
  openMaxMs: 900_000,
  throttledMs: 30_000,
  newsMs: 70_000,
  releaseMax: 64,
  disableAfterMs: 5 * DAY_MS,
}
const START = Date.parse('2026-11-22T12:00:00Z')
/** In the middle of [0, 1): no jitter. */
const UNMOVED = 0.5

/** Accepted before anything happened. */
const deliveryId = lowestId(START - 1)
const success = (startedAtMs = START): HealthEvent => ({ kind: 'success', deliveryId, startedAtMs })
const refusal = (startedAtMs = START): HealthEvent => ({
  kind: 'refusal',
  deliveryId,
  startedAtMs,
  reason: 'refused',
})
const failure = (startedAtMs = START): HealthEvent => ({
  kind: 'failure',
  deliveryId,
  startedAtMs,
  reason: 'failed',
})
const held = (holdMs: number, startedAtMs = START): HealthEvent => ({
  kind: 'failure',
  deliveryId,
  startedAtMs,
  reason: 'throttled',
  holdMs,
})
const released = (count: number, drained = false): HealthEvent => ({
  kind: 'released',
  count,
  through: `through ${count}`,
  drained,
})

function after(health: EndpointHealth, nowMs: number, ...events: HealthEvent[]): EndpointHealth {
  return events.reduce(
    (before, event) => nextHealth(before, event, { nowMs, policy, random: UNMOVED }),
    health,
  )
}
const opened = after(HEALTHY, START, ...Array<HealthEvent>(5).fill(failure()))
const PROBED = START + 30_000
const probed = after(opened, PROBED, { kind: 'probeDue' }, released(1))

describe('a closed endpoint', () => {
  test('stays as it is with every success', () => {
    expect(after(HEALTHY, START, success(), success())).toEqual(HEALTHY)
  })

  test('opens with the fifth failure in a row, and not with the fourth', () => {
    expect(after(HEALTHY, START, ...Array<HealthEvent>(4).fill(failure())).state).toBe('closed')
    expect(opened).toMatchObject({ state: 'open', sinceMs: START, reason: 'failed', probeAtMs: PROBED })
  })

  test.each([
    ['a success', success()],
    ['a refusal', refusal()],
  ])('counts failures in a row from nothing after %s', (_, between) => {
    const events = [
      ...Array<HealthEvent>(4).fill(failure()),
      between,
      ...Array<HealthEvent>(4).fill(failure()),
    ]
    expect(after(HEALTHY, START, ...events)).toMatchObject({ state: 'closed', failures: 4 })
  })

  test('opens when half of twenty attempts in a minute failed, and not before there were twenty', () => {
    const pairs = Array.from({ length: 10 }, () => [failure(), success()]).flat()
    expect(after(HEALTHY, START, ...pairs.slice(0, -1)).state).toBe('closed')
    expect(after(HEALTHY, START, ...pairs, failure()).state).toBe('open')
  })

  test('forgets a window that is over', () => {
    const pairs = Array.from({ length: 9 }, () => [failure(), success()]).flat()
    const before = after(HEALTHY, START, ...pairs)
    expect(after(before, START + 60_000, failure(), success(), failure()).state).toBe('closed')
  })

  test('is healthy again once a success comes after the window', () => {
    const ill = after(HEALTHY, START, failure())
    expect(isHealthy(ill, START, policy)).toBe(false)
    expect(isHealthy(after(ill, START, success()), START, policy)).toBe(false)
    expect(after(ill, START + 60_000, success())).toEqual(HEALTHY)
  })

  test('does not open with refusals, however many; they are failures for its owner', () => {
    const health = after(HEALTHY, START, ...Array<HealthEvent>(100).fill(refusal()))
    expect(health).toEqual({ ...HEALTHY, failingSinceMs: START })
  })

  test('is held from the first answer that asks for it, for as long as it asks', () => {
    expect(after(HEALTHY, START, held(7_000))).toMatchObject({
      state: 'open',
      probeAtMs: START + 7_000,
      openings: 0,
    })
  })
})

describe('an open endpoint', () => {
  test('is not probed before its time', () => {
    expect(after(opened, PROBED - 1, { kind: 'probeDue' })).toEqual(opened)
    expect(after(opened, PROBED, { kind: 'probeDue' })).toMatchObject({ state: 'half_open', releaseLimit: 1 })
  })

  test('stays open whatever comes of attempts that were under way', () => {
    expect(after(opened, START + 5, success(), refusal(), failure())).toMatchObject({
      state: 'open',
      probeAtMs: PROBED,
    })
  })

  test('may be asked to wait longer, never shorter', () => {
    expect(after(opened, START, held(1_000)).probeAtMs).toBe(PROBED)
    expect(after(opened, START, held(60_000)).probeAtMs).toBe(START + 60_000)
  })
})

describe('a half open endpoint', () => {
  test('lets one delivery go, and no second one before something came of it', () => {
    expect(releaseRoom(after(opened, PROBED, { kind: 'probeDue' }))).toBe(1)
    expect(releaseRoom(probed)).toBe(0)
  })

  test('is opened for twice as long each time that its probe fails, up to a quarter of an hour', () => {
    let health = opened
    const openMs: number[] = []
    for (let n = 0; n < 7; n++) {
      const nowMs = health.probeAtMs!
      health = after(health, nowMs, { kind: 'probeDue' }, released(1), failure(nowMs))
      expect(health.state).toBe('open')
      openMs.push(health.probeAtMs! - nowMs)
    }
    expect(openMs).toEqual([60_000, 120_000, 240_000, 480_000, 900_000, 900_000, 900_000])
  })

  test('is opened for at least as long as its probe is asked to wait', () => {
    expect(after(probed, PROBED, held(1_000, PROBED)).probeAtMs).toBe(PROBED + 60_000)
    expect(after(probed, PROBED, held(3_600_000, PROBED)).probeAtMs).toBe(PROBED + 3_600_000)
  })

  test('has room for 2, 4, 8, … as what it let go is answered', () => {
    let health = probed
    const rounds: number[] = []
    for (let round = 0; round < 8; round++) {
      health = after(health, PROBED, ...Array<HealthEvent>(health.released).fill(success(PROBED)))
      rounds.push(releaseRoom(health))
      health = after(health, PROBED, released(releaseRoom(health)))
    }
    expect(rounds).toEqual([2, 4, 8, 16, 32, 64, 64, 64])
  })

  describe('once its probe was answered', () => {
    const answering = after(probed, PROBED, success(PROBED), released(2))
    const fresh = { deliveryId: lowestId(PROBED + 60_000), startedAtMs: PROBED + 60_000 }

    test('what is accepted from then on does not wait behind what waited', () => {
      expect(probed.freshAfter).toBeNull()
      expect(answering.freshAfter).toBe(lowestId(PROBED + 1_000))
      expect(after(answering, PROBED + 9, success(PROBED + 9)).freshAfter).toBe(answering.freshAfter)
    })

    test('such a delivery makes no room, since it took none', () => {
      const events = Array<HealthEvent>(20).fill({ kind: 'success', ...fresh })
      expect(after(answering, PROBED + 60_000, ...events)).toMatchObject({
        releaseLimit: answering.releaseLimit,
        released: 2,
      })
    })

    test('such a delivery that fails slows down what waits, and is no probe', () => {
      const wide = after(answering, PROBED, ...Array<HealthEvent>(6).fill(success(PROBED)), released(8))
      const failed: HealthEvent = { kind: 'failure', ...fresh, reason: 'failed' }
      expect(after(wide, PROBED + 60_000, failed)).toMatchObject({
        state: 'half_open',
        releaseLimit: Math.floor(wide.releaseLimit / 2),
        released: wide.released,
      })
      const narrow = { ...answering, releaseLimit: 1 }
      expect(after(narrow, PROBED + 60_000, failed).state).toBe('half_open')
      expect(after(narrow, PROBED + 60_000, ...Array<HealthEvent>(5).fill(failed))).toMatchObject({
        state: 'open',
        freshAfter: null,
      })
    })
  })

  test('takes a refusal for an answer: the endpoint is there', () => {
    expect(after(probed, PROBED, refusal(PROBED))).toMatchObject({ state: 'half_open', releaseLimit: 2 })
  })

  test('does not listen to what was under way before its probe', () => {
    expect(after(probed, PROBED, failure(PROBED - 1))).toMatchObject({ state: 'half_open', releaseLimit: 1 })
    expect(after(probed, PROBED, success(PROBED - 1))).toMatchObject({ state: 'half_open', releaseLimit: 1 })
  })

  test('slows down by half with a failure among successes', () => {
    const health = after(probed, PROBED, ...Array<HealthEvent>(15).fill(success(PROBED)))
    expect(health.releaseLimit).toBe(16)
    expect(after(health, PROBED, failure(PROBED))).toMatchObject({ state: 'half_open', releaseLimit: 8 })
  })

  test('closes when nothing waits any more, and it is as if it had never been open', () => {
    const closed = after(probed, PROBED, success(PROBED), released(0, true))
    expect(closed).toEqual({ ...HEALTHY, sinceMs: PROBED })
  })

  test('with nothing to probe with it stays to be probed', () => {
    const health = after(opened, PROBED, { kind: 'probeDue' }, released(0, true))
    expect(health).toMatchObject({ state: 'open', probeAtMs: PROBED, openings: 1 })
  })

  test('is probed again when nothing is heard of the probe', () => {
    const nowMs = PROBED + policy.newsMs
    expect(after(probed, nowMs - 1, { kind: 'probeDue' })).toEqual(probed)
    expect(releaseRoom(after(probed, nowMs, { kind: 'probeDue' }))).toBe(1)
  })
})

test('jitter moves the time by at most a tenth', () => {
  const events = Array<HealthEvent>(5).fill(failure())
  const openMs = (random: number) =>
    events.reduce((health, event) => nextHealth(health, event, { nowMs: START, policy, random }), HEALTHY)
      .probeAtMs! - START
  expect([openMs(0), openMs(1 - Number.EPSILON)]).toEqual([27_000, 33_000])
})

describe('disabling', () => {
  const failing = after(HEALTHY, START, refusal(), failure())

  test('is for an endpoint that did nothing but fail for the whole time', () => {
    expect(disableReason(failing, START + 5 * DAY_MS - 1, policy)).toBeUndefined()
    expect(disableReason(failing, START + 5 * DAY_MS, policy)).toBe(
      'Every attempt since 2026-11-22T12:00:00.000Z failed.',
    )
    const later = START + 5 * DAY_MS
    expect(disableReason(after(failing, later, success()), later, policy)).toBeUndefined()
  })

  test('can be turned off', () => {
    expect(disableReason(failing, START + 500 * DAY_MS, { ...policy, disableAfterMs: null })).toBeUndefined()
  })
})

describe('whatever happens, in any order', () => {
  const anyDelivery = fc.integer({ min: START - 1_000, max: START + 1e7 }).map(lowestId)
  const anyEvent: fc.Arbitrary<HealthEvent> = fc.oneof(
    fc.record({
      kind: fc.constant('success' as const),
      deliveryId: anyDelivery,
      startedAtMs: fc.integer({ min: START, max: START + 1e6 }),
    }),
    fc.record({
      kind: fc.constant('refusal' as const),
      deliveryId: anyDelivery,
      startedAtMs: fc.integer({ min: START, max: START + 1e6 }),
      reason: fc.constant('refused'),
    }),
    fc.record(
      {
        kind: fc.constant('failure' as const),
        deliveryId: anyDelivery,
        startedAtMs: fc.integer({ min: START, max: START + 1e6 }),
        reason: fc.constant('failed'),
        holdMs: fc.integer({ min: 1, max: DAY_MS }),
      },
      { requiredKeys: ['kind', 'deliveryId', 'startedAtMs', 'reason'] },
    ),
    fc.constant<HealthEvent>({ kind: 'probeDue' }),
  )
  const anySteps = fc.array(fc.record({ event: anyEvent, passMs: fc.nat(100_000), waiting: fc.nat(20) }), {
    maxLength: 200,
  })

  test('what holds deliveries back has a time, within a day, and never more is let go than there is room for', () => {
    fc.assert(
      fc.property(
        anySteps,
        fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
        (steps, random) => {
          let health: EndpointHealth = HEALTHY
          let nowMs = START
          for (const { event, passMs, waiting } of steps) {
            nowMs += passMs
            health = nextHealth(health, event, { nowMs, policy, random })
            const room = releaseRoom(health)
            if (room > 0) {
              const count = Math.min(room, waiting)
              const given: HealthEvent = {
                ...released(count),
                kind: 'released',
                count,
                through: 'x',
                drained: count < room,
              }
              health = nextHealth(health, given, { nowMs, policy, random })
            }
            if (health.state === 'closed') {
              expect(health).toMatchObject({
                probeAtMs: null,
                released: 0,
                releasedThrough: null,
                freshAfter: null,
                openings: 0,
              })
            } else {
              expect(health.probeAtMs! - nowMs).toBeLessThanOrEqual(DAY_MS)
              expect(health.reason).not.toBeNull()
            }
            if (health.state === 'half_open') {
              expect(health.released).toBeGreaterThanOrEqual(0)
              expect(health.releaseLimit).toBeGreaterThanOrEqual(1)
              expect(health.releaseLimit).toBeLessThanOrEqual(policy.releaseMax)
            }
          }
        },
      ),
    )
  })

  test('an endpoint that answers from now on is closed in the end', () => {
    fc.assert(
      fc.property(anySteps, (steps) => {
        let health: EndpointHealth = HEALTHY
        let nowMs = START
        for (const { event, passMs } of steps) {
          nowMs += passMs
          health = after(health, nowMs, event)
        }
        let waiting = 50
        for (let round = 0; round < 200 && health.state !== 'closed'; round++) {
          nowMs = Math.max(nowMs, health.state === 'open' ? health.probeAtMs! : nowMs + policy.newsMs)
          health = after(health, nowMs, { kind: 'probeDue' })
          const count = Math.min(releaseRoom(health), waiting)
          waiting -= count
          health = after(health, nowMs, released(count, count < releaseRoom(health)))
          health = after(health, nowMs, ...Array<HealthEvent>(count).fill(success(nowMs)))
          if (waiting === 0 && health.state === 'half_open') health = after(health, nowMs, released(0, true))
        }
        expect(health.state).toBe('closed')
        expect(after(health, nowMs + policy.windowMs, success(nowMs))).toMatchObject({ failingSinceMs: null })
      }),
    )
  })
})

import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { type AdmissionLimits, decideAdmission, type Load } from '../src/index.ts'

const idle: Load = {
  waitingEmits: 0,
  waitingBytes: 0,
  waitingForConnection: 0,
  eventLoopDelayMs: 0,
  due: 0,
  oldestDueMs: 0,
}
const limits: AdmissionLimits = {
  waitingEmitsMax: 100,
  waitingBytesMax: 10_000,
  waitingForConnectionMax: 20,
  eventLoopDelayMaxMs: 500,
  backlogMax: 1_000,
  ownerShare: 0.25,
  oldestDueMaxMs: 60_000,
}

describe('an emit', () => {
  test.each<[string, Partial<Load>, number, string]>([
    ['with nothing waiting', {}, 0, 'admitted'],
    [
      'just below every limit',
      { waitingEmits: 99, waitingBytes: 9_999, eventLoopDelayMs: 499 },
      0,
      'admitted',
    ],
    ['with too many emits before it', { waitingEmits: 100 }, 0, 'waiting-emits'],
    ['with too many bytes before it', { waitingBytes: 10_000 }, 0, 'waiting-emits'],
    ['with too many waiting for a connection', { waitingForConnection: 20 }, 0, 'database-connections'],
    ['in a process that is busy', { eventLoopDelayMs: 500 }, 0, 'event-loop'],
    ['with the whole backlog due', { due: 1_000 }, 0, 'backlog'],
    ['of an owner who has all that is due, less than half of what may be', { due: 499 }, 499, 'admitted'],
    ['of an owner within its share of half the backlog', { due: 500 }, 125, 'admitted'],
    ['of an owner over its share of half the backlog', { due: 500 }, 126, 'owner-over-share'],
    ['of an owner without a backlog among such that have one', { due: 999 }, 0, 'admitted'],
    ['of an owner over its share, with all of the backlog due', { due: 1_000 }, 900, 'backlog'],
    [
      'of an owner over its share of a backlog that is old',
      { due: 100, oldestDueMs: 60_000 },
      26,
      'owner-over-share',
    ],
    [
      'of an owner over its share of a backlog that is not old yet',
      { due: 100, oldestDueMs: 59_999 },
      100,
      'admitted',
    ],
    [
      'of an owner over its share of a few that are old',
      { due: 99, oldestDueMs: 86_400_000 },
      99,
      'admitted',
    ],
  ])('%s: %o, of which %d the owner’s: %s', (_name, load, ownerDue, expected) => {
    const decided = decideAdmission({ ...idle, ...load }, limits, ownerDue)
    expect(decided.kind === 'overloaded' ? decided.reason : decided.kind).toBe(expected)
    if (decided.kind !== 'admitted') expect(decided.retryAfterMs).toBeGreaterThanOrEqual(1_000)
  })

  test('is not refused for a share that may be everything', () => {
    const decided = decideAdmission({ ...idle, due: 999 }, { ...limits, ownerShare: 1 }, 999)
    expect(decided).toEqual({ kind: 'admitted' })
  })

  test('that is refused is refused also with more load, and one that is admitted also with less', () => {
    const anyLoad = fc.record({
      waitingEmits: fc.nat(200),
      waitingBytes: fc.nat(20_000),
      waitingForConnection: fc.nat(40),
      eventLoopDelayMs: fc.nat(1_000),
      due: fc.nat(2_000),
      oldestDueMs: fc.nat(120_000),
    })
    const refuses = (load: Load, ownerDue: number) =>
      decideAdmission(load, limits, ownerDue).kind !== 'admitted'
    fc.assert(
      fc.property(
        anyLoad,
        fc.nat(2_000),
        fc.nat(100),
        fc.constantFrom(...keysOf(idle)),
        (load, owned, more, key) => {
          // More that is due of others makes an owner's part smaller.
          const grown = { ...load, [key]: load[key] + more }
          const ownerDue = key === 'due' ? owned + more : owned
          if (owned <= load.due && refuses(load, owned)) expect(refuses(grown, ownerDue)).toBe(true)
        },
      ),
    )
  })
})

function keysOf<T extends object>(value: T): (keyof T)[] {
  return Object.keys(value) as (keyof T)[]
}

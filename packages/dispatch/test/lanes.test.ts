import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { createLanes, PARKED } from '../src/lanes.ts'

const PARK_AFTER_MS = 1_000

/** A task that ends when told to. */
interface Handle {
  lane: string
  end(): void
  fail(error: Error): void
}

/** Lanes with a record of what runs. */
function observeLanes(total: number, waitingMax = 1_000) {
  const lanes = createLanes({ total, parkAfterMs: PARK_AFTER_MS, waitingMax })
  const running: Handle[] = []
  const started: string[] = []
  const startedOverLimit: string[] = []
  /** The newest of each lane is what counts. */
  const limits = new Map<string, number>()
  return {
    lanes,
    running,
    started,
    startedOverLimit,
    /** A lane `a/1` is of the owner `a`. */
    run(
      lane: string,
      limit: number,
      name = lane,
      { isLate = false }: { isLate?: boolean } = {},
    ): Promise<string | typeof PARKED> {
      limits.set(lane, limit)
      return lanes.run({ lane, owner: lane.split('/')[0]!, limit, isLate }, () => {
        started.push(name)
        const inLane = running.filter((handle) => handle.lane === lane).length
        if (inLane >= limits.get(lane)!) startedOverLimit.push(name)
        const { promise, resolve, reject } = Promise.withResolvers<string>()
        const handle: Handle = {
          lane,
          end() {
            running.splice(running.indexOf(handle), 1)
            resolve(name)
          },
          fail(error) {
            running.splice(running.indexOf(handle), 1)
            reject(error)
          },
        }
        running.push(handle)
        return promise
      })
    },
  }
}

/** Lets everything that is decided by now happen. */
const settle = () => vi.advanceTimersByTimeAsync(0)

beforeEach(() => {
  vi.useFakeTimers()
})
afterEach(() => {
  vi.useRealTimers()
})

describe('any work in any order', () => {
  type Step =
    | { kind: 'run'; lane: string; limit: number; isLate: boolean }
    | { kind: 'end' | 'fail'; at: number }
    | { kind: 'pass'; ms: number }
  const anyStep: fc.Arbitrary<Step> = fc.oneof(
    {
      weight: 5,
      arbitrary: fc.record({
        kind: fc.constant('run' as const),
        lane: fc.constantFrom('a/1', 'a/2', 'b/1', 'b/2', 'c/1'),
        isLate: fc.boolean(),
        // An endpoint's limit may be changed at any time.
        limit: fc.integer({ min: 1, max: 4 }),
      }),
    },
    {
      weight: 3,
      arbitrary: fc.record({ kind: fc.constantFrom('end' as const, 'fail' as const), at: fc.nat(100) }),
    },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant('pass' as const), ms: fc.nat(1_500) }) },
  )

  test('never more at once than the limits of the lane and of the whole; everything ends or is parked', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 1, max: 6 }),
        fc.array(anyStep, { maxLength: 80 }),
        async (total, steps) => {
          const { lanes, running, started, startedOverLimit, run } = observeLanes(total)
          const results: Promise<unknown>[] = []
          const check = () => {
            expect(running.length).toBeLessThanOrEqual(total)
            expect(lanes.inFlight).toBe(running.length)
            expect(startedOverLimit).toEqual([])
          }
          for (const step of steps) {
            if (step.kind === 'run') {
              results.push(run(step.lane, step.limit, step.lane, step).catch((error: Error) => error.message))
            } else if (step.kind === 'pass') {
              await vi.advanceTimersByTimeAsync(step.ms)
            } else if (running.length > 0) {
              const handle = running[step.at % running.length]!
              if (step.kind === 'end') handle.end()
              else handle.fail(new Error('failed'))
            }
            await settle()
            check()
          }
          while (running.length > 0) {
            running[0]!.end()
            await settle()
            check()
          }
          const settled = await Promise.all(results)
          expect(settled.filter((result) => result !== PARKED)).toHaveLength(started.length)
          expect(lanes.inFlight).toBe(0)
        },
      ),
      { numRuns: 200 },
    )
  })
})

test('a task that fails gives its place to the next one', async () => {
  const { running, run, started } = observeLanes(1)
  const first = run('a', 1, 'first')
  const second = run('a', 1, 'second')
  running[0]!.fail(new Error('no'))
  await expect(first).rejects.toThrow('no')
  expect(started).toEqual(['first', 'second'])
  running[0]!.end()
  expect(await second).toBe('second')
})

test('lanes of one owner take turns', async () => {
  const { running, run, started } = observeLanes(1)
  const all = ['o/a', 'o/a', 'o/a', 'o/a', 'o/b', 'o/b', 'o/c'].map((lane) => run(lane, 10))
  while (running.length > 0) {
    running[0]!.end()
    await settle()
  }
  await Promise.all(all)
  expect(started).toEqual(['o/a', 'o/a', 'o/b', 'o/c', 'o/a', 'o/b', 'o/a'])
})

/** Lets what waits run one after another; @returns in which order it began */
async function runAll({ running, started }: ReturnType<typeof observeLanes>): Promise<string[]> {
  while (running.length > 0) {
    running[0]!.end()
    await settle()
  }
  return started
}

test('owners who had the fewest places go first, and then take turns, however many lanes and tasks they have', async () => {
  const observed = observeLanes(1)
  for (const lane of ['loud/1', 'loud/2', 'loud/3']) for (let n = 0; n < 4; n++) void observed.run(lane, 10)
  for (const lane of ['calm/1', 'mild/1', 'calm/1']) void observed.run(lane, 10)
  const started = await runAll(observed)
  expect(started.slice(0, 7)).toEqual(['loud/1', 'calm/1', 'mild/1', 'loud/1', 'calm/1', 'loud/2', 'loud/3'])
  expect(started).toHaveLength(15)
})

test('within a lane first attempts go before retries, and one in four is a retry', async () => {
  const observed = observeLanes(1)
  void observed.run('a', 1, 'running')
  for (let n = 0; n < 4; n++) void observed.run('a', 1, 'retry', { isLate: true })
  for (let n = 0; n < 7; n++) void observed.run('a', 1, 'first')
  const [, ...started] = await runAll(observed)
  const round = ['first', 'first', 'first', 'retry']
  expect(started).toEqual([...round, ...round, 'first', 'retry', 'retry'])
})

test('a lane where only retries wait has one place in four while first attempts wait in others', async () => {
  const observed = observeLanes(1)
  void observed.run('a', 1, 'running')
  for (let n = 0; n < 6; n++) void observed.run('b', 1, 'retry', { isLate: true })
  for (let n = 0; n < 6; n++) void observed.run('c', 1, 'first')
  const [, ...started] = await runAll(observed)
  const round = ['first', 'first', 'first', 'retry']
  expect(started).toEqual([...round, ...round, ...Array(4).fill('retry')])
})

test('late deliveries never take all places of a lane, so that a fresh one starts at once', async () => {
  const observed = observeLanes(100)
  for (let n = 0; n < 12; n++) void observed.run('a', 10, 'late', { isLate: true })
  await settle()
  expect(observed.started).toEqual(Array(8).fill('late'))
  void observed.run('a', 10, 'fresh')
  await settle()
  expect(observed.started.at(-1)).toBe('fresh')
  observed.running[0]!.end()
  await settle()
  expect(observed.started).toEqual([...Array(8).fill('late'), 'fresh', 'late'])
})

test('where a lane has few places, late deliveries may have them all', async () => {
  const observed = observeLanes(100)
  for (let n = 0; n < 5; n++) void observed.run('a', 4, 'late', { isLate: true })
  await settle()
  expect(observed.started).toEqual(Array(4).fill('late'))
})

test('a burst to a lane that has just begun waits for its turn, however slow its first tasks are', async () => {
  const observed = observeLanes(100)
  const first = observed.run('a', 1)
  await vi.advanceTimersByTimeAsync(400)
  const burst = Array.from({ length: 50 }, () => observed.run('a', 1))
  observed.running[0]!.end()
  await first
  await runAll(observed)
  expect(await Promise.all(burst)).toEqual(Array(50).fill('a'))
})

test('a pause in which nothing ended does not put off what comes to a lane that is fast', async () => {
  const observed = observeLanes(100)
  const many = Array.from({ length: 700 }, () => observed.run('a', 1))
  // A task each millisecond, …
  for (let n = 0; n < 600; n++) {
    await vi.advanceTimersByTimeAsync(1)
    observed.running[0]!.end()
  }
  // … and then none for a while.
  await vi.advanceTimersByTimeAsync(PARK_AFTER_MS / 4)
  const newcomer = observed.run('a', 1)
  await runAll(observed)
  expect(await newcomer).toBe('a')
  expect(await Promise.all(many)).not.toContain(PARKED)
})

test('no retry waits for ever, whatever else comes', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(fc.constantFrom('a/1', 'a/2', 'b/1'), { minLength: 60 }), async (coming) => {
      const observed = observeLanes(1, 1_000_000)
      void observed.run('b/1', 1, 'running')
      void observed.run('a/1', 1, 'the retry', { isLate: true })
      for (const lane of coming) {
        void observed.run(lane, 1, 'first')
        void observed.run(lane, 1, 'first')
        observed.running[0]!.end()
        await settle()
      }
      expect(observed.started).toContain('the retry')
    }),
    { numRuns: 50 },
  )
})

test('an owner with more than its share of what waits has the rest parked while others wait', async () => {
  const { lanes, run } = observeLanes(1, 10)
  void run('running', 1)
  const loud = Array.from({ length: 6 }, () => run('loud/1', 10))
  const calm = run('calm/1', 10)
  expect(await run('loud/2', 10)).toBe(PARKED)
  const more = run('calm/1', 10)
  lanes.close()
  expect(await Promise.all([...loud, calm, more])).toEqual(Array(8).fill(PARKED))
})

test('surplus is let in only while few wait, and others before it', async () => {
  const { lanes, running, run } = observeLanes(1, 1_000)
  const told: string[] = []
  const tasks = Array.from({ length: 51 }, () => run('a', 1))
  void lanes.room(10, true).then(() => told.push('surplus'))
  await lanes.room(10)
  lanes.brought(10)
  await settle()
  expect(told).toEqual([])
  running[0]!.end()
  await settle()
  expect(told).toEqual(['surplus'])
  lanes.close()
  running[0]!.end()
  await Promise.all(tasks)
})

test('while all places are taken, no more is let in than has its turn before it would be parked', async () => {
  const { lanes, running, run } = observeLanes(1, 1_000)
  const tasks = Array.from({ length: 101 }, () => run('a', 1))
  const told: string[] = []
  void lanes.room(10).then(() => told.push('room'))
  await settle()
  // Nothing is known of its pace.
  expect(told).toEqual([])
  running[0]!.end()
  await settle()
  expect(told).toEqual(['room'])

  // Ten tasks a second would take fifteen seconds for those that wait; …
  lanes.brought(10)
  const more = Array.from({ length: 60 }, () => run('a', 1))
  void lanes.room(10).then(() => told.push('more'))
  for (let n = 0; n < 10; n++) {
    await vi.advanceTimersByTimeAsync(100)
    running[0]!.end()
  }
  await settle()
  expect(told).toEqual(['room'])
  // … once there are fewer, more may come.
  for (let n = 0; n < 50; n++) {
    running[0]!.end()
    await settle()
  }
  expect(told).toEqual(['room', 'more'])
  lanes.close()
  running[0]!.end()
  await Promise.all([...tasks, ...more])
})

test('a lane that hangs parks what waits for it and nobody else’s', async () => {
  const { running, run } = observeLanes(10)
  void run('hanging', 1)
  const parked = [run('hanging', 1), run('hanging', 1)]
  void run('healthy', 1)
  const waiting = run('healthy', 1)
  await vi.advanceTimersByTimeAsync(PARK_AFTER_MS / 2)
  running.find(({ lane }) => lane === 'healthy')!.end()
  await vi.advanceTimersByTimeAsync(PARK_AFTER_MS)
  expect(await Promise.all(parked)).toEqual([PARKED, PARKED])
  // While it hangs, what comes is not even made to wait.
  expect(await run('hanging', 1)).toBe(PARKED)
  running.find(({ lane }) => lane === 'healthy')!.end()
  expect(await waiting).toBe('healthy')
  expect(running.map(({ lane }) => lane)).toEqual(['hanging'])
})

test('a lane that moves keeps its waiters for twice the time, and parks the rest', async () => {
  const { running, run } = observeLanes(10)
  const results = Array.from({ length: 5 }, () => run('slow', 1))
  for (let ended = 0; ended < 2; ended += 1) {
    await vi.advanceTimersByTimeAsync(PARK_AFTER_MS * 0.9)
    running[0]!.end()
  }
  await vi.advanceTimersByTimeAsync(PARK_AFTER_MS * 0.9)
  running[0]!.end()
  expect(await Promise.all(results)).toEqual(['slow', 'slow', 'slow', PARKED, PARKED])
})

test('what comes to a slow lane is parked at once when its turn would come too late', async () => {
  const { running, run } = observeLanes(10)
  void run('slow', 1)
  await vi.advanceTimersByTimeAsync(PARK_AFTER_MS / 2)
  const waiting = run('slow', 1)
  // Half the time for the one that runs, so at least as much for each that waits: the third is too late.
  const third = run('slow', 1)
  expect(await run('slow', 1)).toBe(PARKED)
  for (let left = 3; left > 0; left -= 1) {
    running[0]!.end()
    await settle()
  }
  expect(await Promise.all([waiting, third])).toEqual(['slow', 'slow'])
})

test('a fast lane may have any number waiting', async () => {
  const { running, run } = observeLanes(10)
  const results = Array.from({ length: 500 }, () => run('fast', 2))
  while (running.length > 0) {
    running[0]!.end()
    await settle()
  }
  expect(await Promise.all(results)).toEqual(Array.from({ length: 500 }, () => 'fast'))
})

test('what waits because the whole is full is parked after twice the time', async () => {
  const { running, run } = observeLanes(1)
  void run('hanging', 2)
  const waiting = run('healthy', 1)
  await vi.advanceTimersByTimeAsync(PARK_AFTER_MS)
  const later = run('healthy', 1)
  await vi.advanceTimersByTimeAsync(PARK_AFTER_MS * 1.5)
  expect(await waiting).toBe(PARKED)
  running[0]!.end()
  await settle()
  running[0]!.end()
  expect(await later).toBe('healthy')
})

test('there is room while few wait, and those who asked are told one at a time', async () => {
  const { lanes, running, run } = observeLanes(1, 2)
  await lanes.room(3)
  const tasks = Array.from({ length: 3 }, () => run('a', 1))
  lanes.brought(3)
  const told: number[] = []
  for (const caller of [1, 2]) void lanes.room(1).then(() => told.push(caller))
  await settle()
  expect(told).toEqual([])
  running[0]!.end()
  await settle()
  // One waits, and one is on its way.
  expect(told).toEqual([1])
  lanes.brought(1)
  await settle()
  expect(told).toEqual([1, 2])
  running[0]!.end()
  await settle()
  running[0]!.end()
  await Promise.all(tasks)
})

test('who asks for room for a while is told when there is none by then, and nothing is kept for it', async () => {
  const { lanes, running, run } = observeLanes(1, 2)
  const tasks = Array.from({ length: 3 }, () => run('a', 1))
  const told: unknown[] = []
  void lanes.room(1, false, 100).then((isThere) => told.push('short', isThere))
  void lanes.room(1, false, 1_000).then((isThere) => told.push('long', isThere))
  void lanes.room(1).then((isThere) => told.push('whenever', isThere))
  await vi.advanceTimersByTimeAsync(99)
  expect(told).toEqual([])
  await vi.advanceTimersByTimeAsync(1)
  expect(told).toEqual(['short', false])
  running[0]!.end()
  await settle()
  expect(told).toEqual(['short', false, 'long', true])
  await vi.advanceTimersByTimeAsync(1_000)
  lanes.brought(1)
  await settle()
  expect(told).toEqual(['short', false, 'long', true, 'whenever', true])
  for (const _ of [1, 2]) {
    running[0]!.end()
    await settle()
  }
  await Promise.all(tasks)
})

test('all that ask for room get it, though what the first of them brings takes none', async () => {
  const { lanes, run } = observeLanes(10, 2)
  void run('hanging', 1)
  const waiting = [run('hanging', 1), run('hanging', 1)]
  const told: number[] = []
  for (const caller of [1, 2, 3]) {
    void lanes.room(1).then(() => {
      told.push(caller)
      lanes.brought(1)
    })
  }
  await settle()
  expect(told).toEqual([])
  await vi.advanceTimersByTimeAsync(PARK_AFTER_MS)
  expect(await Promise.all(waiting)).toEqual([PARKED, PARKED])
  expect(told).toEqual([1, 2, 3])
})

test('a lane that hung works again after something in it ended', async () => {
  const { running, run } = observeLanes(10)
  void run('a', 1)
  await vi.advanceTimersByTimeAsync(PARK_AFTER_MS)
  expect(await run('a', 1)).toBe(PARKED)
  running[0]!.end()
  await settle()
  const again = run('a', 1)
  running[0]!.end()
  expect(await again).toBe('a')
})

test('close parks all that wait and all that come, and lets what runs end', async () => {
  const { lanes, running, run } = observeLanes(2)
  const first = run('a', 1)
  const waiting = [run('a', 1), run('b', 1), run('b', 1), run('c', 1)]
  lanes.close()
  running.find(({ lane }) => lane === 'b')!.end()
  expect(await Promise.all(waiting)).toEqual([PARKED, 'b', PARKED, PARKED])
  expect(await run('d', 1)).toBe(PARKED)
  running[0]!.end()
  expect(await first).toBe('a')
  expect(lanes.inFlight).toBe(0)
})

test('who is parked comes again one after the other, at the pace of the lane and within a bound', async () => {
  const { lanes, run, running } = observeLanes(100)
  const hanging = Array.from({ length: 10 }, () => run('hanging', 10))
  await vi.advanceTimersByTimeAsync(2 * PARK_AFTER_MS)
  expect(await run('hanging', 10)).toBe(PARKED)
  // Nothing ended for two seconds, in ten places: a turn every 200 ms, or later.
  const turns = Array.from({ length: 400 }, () => lanes.turnInMs('hanging', 60_000))
  expect(turns.slice(0, 3)).toEqual([200, 400, 600])
  expect(turns.at(-1)).toBe(60_000)
  expect(lanes.turnInMs('another', 60_000)).toBe(0)
  while (running.length > 0) running[0]!.end()
  await Promise.all(hanging)
})

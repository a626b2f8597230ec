import { setImmediate as endOfTurn } from 'node:timers/promises'
import fc from 'fast-check'
import { expect, onTestFinished, test, vi } from 'vitest'
import { type CoalesceOptions, coalesce } from '../src/index.ts'

test('what comes in one turn goes together at its end; what comes meanwhile goes together when that ends', async () => {
  const gate = gatedRuns<number>()
  const coalescer = coalesce({ run: gate.run, itemsMax: 100 })

  const first = [coalescer.add(1), coalescer.add(2)]
  await endOfTurn()
  expect(gate.runs.map((run) => run.items)).toEqual([[1, 2]])
  const later = [coalescer.add(3), coalescer.add(4), coalescer.add(5)]
  await endOfTurn()
  expect(gate.runs).toHaveLength(1)
  expect(coalescer.pending).toBe(5)

  gate.runs[0]!.resolve(['one', 'two'])
  expect(await Promise.all(first)).toEqual(['one', 'two'])
  await expect
    .poll(() => gate.runs.map((run) => run.items))
    .toEqual([
      [1, 2],
      [3, 4, 5],
    ])
  gate.runs[1]!.resolve(['three', 'four', 'five'])
  expect(await Promise.all(later)).toEqual(['three', 'four', 'five'])
  await coalescer.flush()
  expect(coalescer.pending).toBe(0)
})

test('a run beside another waits until enough have gathered for it', async () => {
  const gate = gatedRuns<number>()
  const coalescer = coalesce({ run: gate.run, itemsMax: 100, concurrency: 2, besideMin: 3 })
  const first = coalescer.add(1)
  await endOfTurn()
  const later = [coalescer.add(2), coalescer.add(3)]
  await endOfTurn()
  expect(gate.runs).toHaveLength(1)

  later.push(coalescer.add(4))
  await endOfTurn()
  expect(gate.runs.map((run) => run.items)).toEqual([[1], [2, 3, 4]])

  // The one that is left when both are busy goes as soon as nothing is in flight.
  const last = coalescer.add(5)
  gate.runs[1]!.resolve(['two', 'three', 'four'])
  expect(await Promise.all(later)).toEqual(['two', 'three', 'four'])
  await endOfTurn()
  expect(gate.runs).toHaveLength(2)
  gate.runs[0]!.resolve(['one'])
  expect(await first).toBe('one')
  await expect.poll(() => gate.runs.length).toBe(3)
  gate.runs[2]!.resolve(['five'])
  expect(await last).toBe('five')
})

test('when a run fails, its items fail with that error and the next run goes on', async () => {
  const gate = gatedRuns<number>()
  const coalescer = coalesce({ run: gate.run, itemsMax: 2 })
  const settled = Promise.allSettled([1, 2, 3, 4].map((item) => coalescer.add(item)))
  const error = new Error('the database went away')

  await endOfTurn()
  gate.runs[0]!.reject(error)
  await expect.poll(() => gate.runs.length).toBe(2)
  gate.runs[1]!.resolve(['three', 'four'])

  expect(await settled).toEqual([
    { status: 'rejected', reason: error },
    { status: 'rejected', reason: error },
    { status: 'fulfilled', value: 'three' },
    { status: 'fulfilled', value: 'four' },
  ])
})

test('a run that throws before its first await, or answers with too few outputs, fails its items', async () => {
  const throwing = coalesce<number, number>({
    run: () => {
      throw new Error('at once')
    },
    itemsMax: 10,
  })
  await expect(throwing.add(1)).rejects.toThrow('at once')

  const short = coalesce<number, number>({ run: async () => [], itemsMax: 10 })
  await expect(short.add(1)).rejects.toThrow('1 items gave 0 outputs')
})

test('an item over the byte limit still goes, alone', async () => {
  const batches: number[][] = []
  const coalescer = coalesce<number, number>({
    run: async (items) => {
      batches.push(items)
      return items
    },
    itemsMax: 10,
    bytesMax: 100,
    bytesOf: (item) => item,
  })
  await Promise.all([1, 60, 40, 500, 1].map((item) => coalescer.add(item)))
  expect(batches).toEqual([[1, 60], [40], [500], [1]])
})

test('flush waits for what was added before it, not for what comes after', async () => {
  const gate = gatedRuns<number>()
  const coalescer = coalesce({ run: gate.run, itemsMax: 1 })
  const before = [coalescer.add(1), coalescer.add(2)]
  let flushed = false
  const flushing = coalescer.flush().then(() => {
    flushed = true
  })
  const after = coalescer.add(3)
  await endOfTurn()

  gate.runs[0]!.resolve(['one'])
  await expect.poll(() => gate.runs.length).toBe(2)
  expect(flushed).toBe(false)
  gate.runs[1]!.resolve(['two'])
  await flushing
  expect(await Promise.all(before)).toEqual(['one', 'two'])
  expect(coalescer.pending).toBe(1)
  await expect.poll(() => gate.runs.length).toBe(3)
  gate.runs[2]!.resolve(['three'])
  expect(await after).toBe('three')
})

test('close settles what was added and refuses more', async () => {
  const gate = gatedRuns<number>()
  const coalescer = coalesce({ run: gate.run, itemsMax: 10 })
  const added = coalescer.add(1)
  const closing = coalescer.close()
  await expect(coalescer.add(2)).rejects.toThrow('after close')
  await endOfTurn()
  gate.runs[0]!.resolve(['one'])
  await closing
  expect(await added).toBe('one')
})

test('every item settles exactly once with its own output, in order within a run, within all limits', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(
        fc.record({ bytes: fc.nat({ max: 50 }), yieldsBefore: fc.nat({ max: 3 }), poison: fc.boolean() }),
        { maxLength: 80 },
      ),
      fc.integer({ min: 1, max: 7 }),
      fc.integer({ min: 1, max: 100 }),
      fc.integer({ min: 1, max: 4 }),
      fc.integer({ min: 1, max: 9 }),
      fc.scheduler(),
      async (items, itemsMax, bytesMax, concurrency, besideMin, scheduler) => {
        const seen: number[] = []
        let active = 0
        const coalescer = coalesce<{ index: number; bytes: number; poison: boolean }, number>({
          run: async (batch) => {
            active += 1
            expect(active).toBeLessThanOrEqual(concurrency)
            expect(batch.length).toBeGreaterThan(0)
            expect(batch.length).toBeLessThanOrEqual(itemsMax)
            const bytes = batch.reduce((sum, item) => sum + item.bytes, 0)
            expect(batch.length === 1 || bytes <= bytesMax).toBe(true)
            seen.push(...batch.map((item) => item.index))
            await scheduler.schedule(Promise.resolve())
            active -= 1
            if (batch.some((item) => item.poison)) throw batch
            return batch.map((item) => item.index)
          },
          itemsMax,
          bytesMax,
          bytesOf: (item) => item.bytes,
          concurrency,
          besideMin,
        })

        const settled: Promise<void>[] = []
        for (const [index, { bytes, yieldsBefore, poison }] of items.entries()) {
          for (let yields = 0; yields < yieldsBefore; yields += 1) await Promise.resolve()
          settled.push(
            coalescer.add({ index, bytes, poison }).then(
              (output) => expect(output).toBe(index),
              (batch: { index: number }[]) => expect(batch.some((item) => item.index === index)).toBe(true),
            ),
          )
        }
        const closing = coalescer.close()
        await scheduler.waitFor(Promise.all(settled))
        await closing
        expect(seen).toEqual(items.map((_, index) => index))
        expect(coalescer.pending).toBe(0)
        expect(coalescer.pendingBytes).toBe(0)
      },
    ),
  )
})

/** Runs that end when the test says so. */
function gatedRuns<I>() {
  const runs: { items: I[]; resolve: (outputs: string[]) => void; reject: (error: unknown) => void }[] = []
  const run: CoalesceOptions<I, string>['run'] = (items) =>
    new Promise((resolve, reject) => runs.push({ items, resolve, reject }))
  return { runs, run }
}

/** On a clock that only `pass` moves. */
function timedCoalescer(everyMs: number, take: () => Promise<void>) {
  vi.useFakeTimers()
  onTestFinished(() => void vi.useRealTimers())
  const runs: number[][] = []
  const coalescer = coalesce<number, number>({
    run: async (items) => {
      runs.push(items)
      await take()
      return items
    },
    itemsMax: 100,
    everyMs,
  })
  return { coalescer, runs, pass: (ms: number) => vi.advanceTimersByTimeAsync(ms) }
}

test('runs are as far apart as everyMs, but for what comes after a pause, and for the last ones', async () => {
  const { coalescer, runs, pass } = timedCoalescer(20, async () => {})
  void coalescer.add(1)
  await pass(1)
  expect(runs).toEqual([[1]])
  void coalescer.add(2)
  void coalescer.add(3)
  await pass(17)
  expect(runs).toEqual([[1]])
  await pass(5)
  expect(runs).toEqual([[1], [2, 3]])

  await pass(100)
  void coalescer.add(4)
  await pass(1)
  expect(runs).toEqual([[1], [2, 3], [4]])
  const last = coalescer.add(5)
  await pass(1)
  const closed = coalescer.close()
  void coalescer.add(6).catch(() => {})
  await pass(20)
  await closed
  expect(await last).toBe(5)
  expect(runs).toEqual([[1], [2, 3], [4], [5]])
})

test('a run is followed by a rest of twice as long as it took, and of 20 ms at most', async () => {
  let runMs = 5
  const { coalescer, runs, pass } = timedCoalescer(1, () => new Promise((ok) => setTimeout(ok, runMs)))
  void coalescer.add(1)
  await pass(6)
  for (const item of [2, 3]) {
    void coalescer.add(item)
    await pass(4)
  }
  expect(runs).toEqual([[1]])
  runMs = 1_000
  await pass(5)
  expect(runs).toEqual([[1], [2, 3]])

  void coalescer.add(4)
  await pass(1_010)
  expect(runs).toHaveLength(2)
  await pass(20)
  expect(runs).toEqual([[1], [2, 3], [4]])
  const closed = coalescer.close()
  await pass(1_000)
  await closed
})

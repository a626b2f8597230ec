import fc from 'fast-check'
import { expect, test } from 'vitest'
import { type CoalesceOptions, coalesce } from '../src/index.ts'

test('the first item goes at once, alone; what comes meanwhile goes together when it ends', async () => {
  const gate = gatedRuns<number>()
  const coalescer = coalesce({ run: gate.run, itemsMax: 100, concurrency: 1 })

  const first = coalescer.add(1)
  expect(gate.runs.map((run) => run.items)).toEqual([[1]])
  const later = [coalescer.add(2), coalescer.add(3), coalescer.add(4)]
  expect(gate.runs).toHaveLength(1)
  expect(coalescer.pending).toBe(4)

  gate.runs[0]!.resolve(['one'])
  expect(await first).toBe('one')
  await expect.poll(() => gate.runs.map((run) => run.items)).toEqual([[1], [2, 3, 4]])
  gate.runs[1]!.resolve(['two', 'three', 'four'])
  expect(await Promise.all(later)).toEqual(['two', 'three', 'four'])
  await coalescer.flush()
  expect(coalescer.pending).toBe(0)
})

test('when a run fails, its items fail with that error and the next run goes on', async () => {
  const gate = gatedRuns<number>()
  const coalescer = coalesce({ run: gate.run, itemsMax: 2, concurrency: 1 })
  const settled = Promise.allSettled([1, 2, 3, 4].map((item) => coalescer.add(item)))
  const error = new Error('the database went away')

  gate.runs[0]!.resolve(['one'])
  await expect.poll(() => gate.runs.length).toBe(2)
  gate.runs[1]!.reject(error)
  await expect.poll(() => gate.runs.length).toBe(3)
  gate.runs[2]!.resolve(['four'])

  expect(await settled).toEqual([
    { status: 'fulfilled', value: 'one' },
    { status: 'rejected', reason: error },
    { status: 'rejected', reason: error },
    { status: 'fulfilled', value: 'four' },
  ])
})

test('a run that throws before its first await, or answers with too few outputs, fails its items', async () => {
  const throwing = coalesce<number, number>({
    run: () => {
      throw new Error('at once')
    },
    itemsMax: 10,
    concurrency: 1,
  })
  await expect(throwing.add(1)).rejects.toThrow('at once')

  const short = coalesce<number, number>({ run: async () => [], itemsMax: 10, concurrency: 1 })
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
    concurrency: 1,
  })
  await Promise.all([1, 60, 40, 500, 1].map((item) => coalescer.add(item)))
  expect(batches).toEqual([[1], [60, 40], [500], [1]])
})

test('flush waits for what was added before it, not for what comes after', async () => {
  const gate = gatedRuns<number>()
  const coalescer = coalesce({ run: gate.run, itemsMax: 1, concurrency: 1 })
  const before = [coalescer.add(1), coalescer.add(2)]
  let flushed = false
  const flushing = coalescer.flush().then(() => {
    flushed = true
  })
  const after = coalescer.add(3)

  gate.runs[0]!.resolve(['one'])
  await expect.poll(() => gate.runs.length).toBe(2)
  expect(flushed).toBe(false)
  gate.runs[1]!.resolve(['two'])
  await flushing
  expect(await Promise.all(before)).toEqual(['one', 'two'])
  expect(coalescer.pending).toBe(1)
  gate.runs[2]!.resolve(['three'])
  expect(await after).toBe('three')
})

test('close settles what was added and refuses more', async () => {
  const gate = gatedRuns<number>()
  const coalescer = coalesce({ run: gate.run, itemsMax: 10, concurrency: 1 })
  const added = coalescer.add(1)
  const closing = coalescer.close()
  await expect(coalescer.add(2)).rejects.toThrow('after close')
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
      fc.scheduler(),
      async (items, itemsMax, bytesMax, concurrency, scheduler) => {
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

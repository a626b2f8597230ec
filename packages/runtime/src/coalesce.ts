export interface CoalesceOptions<I, O> {
  /**
   * Does the work for all items at once and answers with one output for each, in their order.
   * If it rejects, every item of that run rejects with the same error.
   */
  run: (items: I[]) => Promise<O[]>
  /** Most items in one run. */
  itemsMax: number
  /** Most bytes in one run, as told by `bytesOf`. An item over it still goes, alone. */
  bytesMax?: number
  bytesOf?: (item: I) => number
  /** Most runs in flight at once. Default 1. */
  concurrency?: number
  /** Fewest items that are worth a run beside one that is in flight. Default 1. */
  besideMin?: number
  /**
   * Fewest milliseconds from the start of a run to that of the next. With it, a run is also followed by a rest
   * of twice as long as it took, of 20 ms at most. Default 0: neither.
   */
  everyMs?: number
}

export interface Coalescer<I, O> {
  /** Settles with this item's own output, or with the error of the run that it went in. */
  add(item: I): Promise<O>
  /** Resolves when everything added before the call has settled. Never rejects: each `add` tells. */
  flush(): Promise<void>
  /** Refuses further items, then flushes. */
  close(): Promise<void>
  /** Items not settled yet, waiting or in flight. */
  readonly pending: number
  /** Their bytes, as told by `bytesOf`. */
  readonly pendingBytes: number
}

const REST_TIMES = 2
const REST_MAX_MS = 20

interface Entry<I, O> {
  item: I
  bytes: number
  resolve: (output: O) => void
  reject: (error: unknown) => void
}

/**
 * Makes concurrent callers share one operation (a commit, a batched insert, a pipelined command).
 *
 * An item that finds nothing in flight goes at the end of the event loop's turn, with all that came in that
 * turn, so an idle system adds no delay; while runs are in flight, items gather and go together as soon as one
 * ends. Batches therefore grow exactly as far as the operation is slow, without a timer. What an operation
 * costs is mostly its own and not its items': a second one beside it waits until `besideMin` have gathered.
 * With `everyMs`, runs that are short are as few as that: what comes after a pause still goes at once. The rest
 * is for a busy machine, where a run takes long because everything does: with a third of the time for runs, fewer
 * and larger ones cost so much less that what waits for them comes earlier.
 */
export function coalesce<I, O>(options: CoalesceOptions<I, O>): Coalescer<I, O> {
  const { run, itemsMax, bytesMax = Number.POSITIVE_INFINITY, bytesOf = () => 0 } = options
  const { concurrency = 1, besideMin = 1, everyMs = 0 } = options
  const active = new Set<Promise<void>>()
  let waiting: Entry<I, O>[] = []
  let inFlight = 0
  let pendingBytes = 0
  let addedCount = 0
  let startedCount = 0
  let starting = false
  let closed = false
  let nextStartMs = 0

  function add(item: I): Promise<O> {
    if (closed) return Promise.reject(new Error('coalesce: add() after close()'))
    return new Promise<O>((resolve, reject) => {
      const bytes = bytesOf(item)
      waiting.push({ item, bytes, resolve, reject })
      addedCount += 1
      pendingBytes += bytes
      startSoon()
    })
  }

  function isTime(): boolean {
    if (waiting.length === 0 || active.size >= concurrency) return false
    return active.size === 0 || waiting.length >= besideMin
  }

  function startSoon(): void {
    if (starting || !isTime()) return
    starting = true
    const waitMs = closed ? 0 : nextStartMs - performance.now()
    if (waitMs > 0) setTimeout(start, waitMs)
    // After whatever else this turn of the event loop brings.
    else setImmediate(start)
  }

  function start(): void {
    starting = false
    if (isTime()) nextStartMs = performance.now() + everyMs
    while (isTime()) startRun()
  }

  function startRun(): void {
    const entries = takeBatch()
    inFlight += entries.length
    startedCount += entries.length
    const startedMs = performance.now()
    const running = settle(entries).then(() => {
      if (everyMs > 0) rest(startedMs)
      inFlight -= entries.length
      for (const { bytes } of entries) pendingBytes -= bytes
      active.delete(running)
      startSoon()
    })
    active.add(running)
  }

  function rest(startedMs: number): void {
    const nowMs = performance.now()
    const restMs = Math.min(REST_TIMES * (nowMs - startedMs), REST_MAX_MS)
    nextStartMs = Math.max(nextStartMs, nowMs + restMs)
  }

  function takeBatch(): Entry<I, O>[] {
    let count = 0
    let bytes = 0
    for (const entry of waiting) {
      bytes += entry.bytes
      if (count > 0 && (count === itemsMax || bytes > bytesMax)) break
      count += 1
    }
    if (count < waiting.length) return waiting.splice(0, count)
    const all = waiting
    waiting = []
    return all
  }

  /** Never rejects: what goes wrong is the items' to tell. */
  async function settle(entries: Entry<I, O>[]): Promise<void> {
    try {
      const outputs = await run(entries.map((entry) => entry.item))
      if (outputs.length !== entries.length) {
        throw new Error(`coalesce: ${entries.length} items gave ${outputs.length} outputs`)
      }
      for (let index = 0; index < entries.length; index += 1) entries[index]!.resolve(outputs[index]!)
    } catch (error) {
      for (const entry of entries) entry.reject(error)
    }
  }

  async function flush(): Promise<void> {
    const target = addedCount
    while (startedCount < target) {
      if (active.size > 0) await Promise.race(active)
      else await new Promise((resolve) => setImmediate(resolve))
    }
    await Promise.all(active)
  }

  return {
    add,
    flush,
    close() {
      closed = true
      return flush()
    },
    get pending() {
      return waiting.length + inFlight
    },
    get pendingBytes() {
      return pendingBytes
    },
  }
}

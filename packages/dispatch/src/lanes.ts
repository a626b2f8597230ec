/** Given instead of a result: the lane is full and does not move. */
export const PARKED = Symbol('parked')

export interface Lanes {
  /**
   * Runs `task` when its lane and the whole have room; or answers PARKED, without having run it, when
   * the lane is full and nothing in it ended for `parkAfterMs`.
   */
  run<T>(lane: string, limit: number, task: () => Promise<T>): Promise<T | typeof PARKED>
  /** Parks all that wait, and from now on all that come. */
  close(): void
  readonly inFlight: number
}

interface Waiter {
  start(): void
  park(): void
}

interface Lane {
  limit: number
  inFlight: number
  waiting: Waiter[]
  /** When a task of the lane last ended, or began where it had been empty. */
  movedAtMs: number
}

/**
 * Lets at most `total` tasks run, and of each lane (an endpoint) at most its limit. Lanes with work
 * waiting take turns. A lane that hangs keeps its own slots and nobody else's: what waits for it is
 * handed back.
 */
export function createLanes(options: { total: number; parkAfterMs: number; nowMs?: () => number }): Lanes {
  const { total, parkAfterMs, nowMs = Date.now } = options
  const lanes = new Map<string, Lane>()
  /** Lanes that have somebody waiting and room in themselves; only the whole was full. */
  const turns = new Map<string, Lane>()
  let inFlight = 0
  let closed = false
  let timer: NodeJS.Timeout | undefined

  function run<T>(name: string, limit: number, task: () => Promise<T>): Promise<T | typeof PARKED> {
    if (closed) return Promise.resolve(PARKED)
    let lane = lanes.get(name)
    if (lane === undefined) {
      lane = { limit, inFlight: 0, waiting: [], movedAtMs: nowMs() }
      lanes.set(name, lane)
    }
    lane.limit = limit
    if (inFlight < total && lane.inFlight < limit) return start(name, lane, task)
    if (isStuck(lane)) return Promise.resolve(PARKED)
    return new Promise((resolve, reject) => {
      lane.waiting.push({
        start: () => start(name, lane, task).then(resolve, reject),
        park: () => resolve(PARKED),
      })
      if (lane.inFlight < limit) turns.set(name, lane)
      timer ??= setInterval(parkStuck, parkAfterMs / 2).unref()
    })
  }

  async function start<T>(name: string, lane: Lane, task: () => Promise<T>): Promise<T> {
    if (lane.inFlight === 0) lane.movedAtMs = nowMs()
    lane.inFlight += 1
    inFlight += 1
    try {
      return await task()
    } finally {
      lane.inFlight -= 1
      inFlight -= 1
      lane.movedAtMs = nowMs()
      if (lane.waiting.length > 0) turns.set(name, lane)
      else if (lane.inFlight === 0) lanes.delete(name)
      startNext()
    }
  }

  function startNext(): void {
    for (const [name, lane] of turns) {
      if (inFlight >= total) return
      turns.delete(name)
      const waiter = lane.inFlight < lane.limit ? lane.waiting.shift() : undefined
      if (waiter === undefined) continue
      waiter.start()
      // To the back of the line: lanes take turns.
      if (lane.waiting.length > 0 && lane.inFlight < lane.limit) turns.set(name, lane)
    }
  }

  function isStuck(lane: Lane): boolean {
    return lane.inFlight >= lane.limit && nowMs() - lane.movedAtMs >= parkAfterMs
  }

  function parkStuck(): void {
    let waiting = 0
    for (const lane of lanes.values()) {
      if (isStuck(lane)) for (const waiter of lane.waiting.splice(0)) waiter.park()
      waiting += lane.waiting.length
    }
    if (waiting === 0) {
      clearInterval(timer)
      timer = undefined
    }
  }

  function close(): void {
    closed = true
    clearInterval(timer)
    turns.clear()
    for (const lane of lanes.values()) for (const waiter of lane.waiting.splice(0)) waiter.park()
  }

  return {
    run,
    close,
    get inFlight() {
      return inFlight
    },
  }
}

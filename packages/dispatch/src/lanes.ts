/** Given instead of a result: the lane is full and does not move. */
export const PARKED = Symbol('parked')

export interface Lanes {
  /**
   * Runs `task` when its lane and the whole have room; or answers PARKED, without having run it, when
   * that would take too long: see `createLanes`.
   */
  run<T>(lane: string, limit: number, task: () => Promise<T>): Promise<T | typeof PARKED>
  /**
   * When a task that was just parked would have its turn by its lane's pace, at most `maxMs` from now. Who
   * asks next is behind it: not all of them have to come again at once.
   */
  turnInMs(lane: string, maxMs: number): number
  /** Resolves when fewer than `waitingMax` tasks wait: the time to bring more. */
  room(): Promise<void>
  /** To be called when what came of `room` is in its lanes, be it nothing: lets the next one in. */
  brought(): void
  /** Parks all that wait, and from now on all that come. */
  close(): void
  readonly inFlight: number
}

export interface LanesOptions {
  /** Tasks in flight at once. */
  total: number
  /** The longest that a task should wait for its turn. */
  parkAfterMs: number
  /** See `room`. */
  waitingMax: number
  nowMs?: () => number
}

interface Waiter {
  sinceMs: number
  start(): void
  park(): void
}

interface Lane {
  limit: number
  inFlight: number
  waiting: Waiter[]
  /** When a task of the lane last ended, or began where it had been empty. */
  movedAtMs: number
  /** Moving average of how long its tasks take. */
  durationMs: number
  /** When the last of those that were parked would have its turn: see `turnInMs`. */
  lastTurnAtMs: number
}

/** Weight of the newest duration: a lane that turns slow or fast is known as such within a few tasks. */
const NEWEST_WEIGHT = 0.2

/**
 * Lets at most `total` tasks run, and of each lane (an endpoint) at most its limit. Lanes with work
 * waiting take turns.
 *
 * A lane that hangs keeps its own slots and nobody else's: what waits for it is parked when nothing in
 * it ended for `parkAfterMs`, and what comes is parked at once when by the lane's pace its turn would
 * not come within that time. A fast lane may therefore have thousands waiting, a slow one few.
 */
export function createLanes(options: LanesOptions): Lanes {
  const { total, parkAfterMs, waitingMax, nowMs = Date.now } = options
  const lanes = new Map<string, Lane>()
  /** Lanes that have somebody waiting and room in themselves; only the whole was full. */
  const turns = new Map<string, Lane>()
  const awaitingRoom: (() => void)[] = []
  let inFlight = 0
  let waiting = 0
  let closed = false
  let timer: NodeJS.Timeout | undefined

  function run<T>(name: string, limit: number, task: () => Promise<T>): Promise<T | typeof PARKED> {
    if (closed) return Promise.resolve(PARKED)
    let lane = lanes.get(name)
    if (lane === undefined) {
      lane = { limit, inFlight: 0, waiting: [], movedAtMs: nowMs(), durationMs: 0, lastTurnAtMs: 0 }
      lanes.set(name, lane)
    }
    lane.limit = limit
    if (inFlight < total && lane.inFlight < limit) return start(name, lane, task)
    if (isTooSlow(lane)) return Promise.resolve(PARKED)
    return new Promise((resolve, reject) => {
      waiting += 1
      lane.waiting.push({
        sinceMs: nowMs(),
        start: () => start(name, lane, task).then(resolve, reject),
        park: () => resolve(PARKED),
      })
      if (lane.inFlight < limit) turns.set(name, lane)
      timer ??= setInterval(parkStuck, parkAfterMs / 4).unref()
    })
  }

  async function start<T>(name: string, lane: Lane, task: () => Promise<T>): Promise<T> {
    const startedAtMs = nowMs()
    if (lane.inFlight === 0) lane.movedAtMs = startedAtMs
    lane.inFlight += 1
    inFlight += 1
    try {
      return await task()
    } finally {
      lane.inFlight -= 1
      inFlight -= 1
      lane.movedAtMs = nowMs()
      lane.durationMs += NEWEST_WEIGHT * (lane.movedAtMs - startedAtMs - lane.durationMs)
      if (lane.waiting.length > 0) turns.set(name, lane)
      else if (lane.inFlight === 0) lanes.delete(name)
      startNext()
    }
  }

  function startNext(): void {
    for (const [name, lane] of turns) {
      if (inFlight >= total) break
      turns.delete(name)
      const waiter = lane.inFlight < lane.limit ? lane.waiting.shift() : undefined
      if (waiter === undefined) continue
      waiting -= 1
      waiter.start()
      // To the back of the line: lanes take turns.
      if (lane.waiting.length > 0 && lane.inFlight < lane.limit) turns.set(name, lane)
    }
    tellOfRoom()
  }

  function isStuck(lane: Lane): boolean {
    return lane.inFlight >= lane.limit && nowMs() - lane.movedAtMs >= parkAfterMs
  }

  /** Would who comes now wait too long? While nothing ends, the wait so far is the best guess of a duration. */
  function isTooSlow(lane: Lane): boolean {
    if (lane.inFlight < lane.limit) return false
    return isStuck(lane) || waitMs(lane) >= parkAfterMs
  }

  function waitMs(lane: Lane): number {
    return (lane.waiting.length / lane.limit) * expectedDurationMs(lane)
  }

  function expectedDurationMs(lane: Lane): number {
    return Math.max(lane.durationMs, nowMs() - lane.movedAtMs)
  }

  function turnInMs(name: string, maxMs: number): number {
    const lane = lanes.get(name)
    if (lane === undefined) return 0
    const earliestMs = Math.max(lane.lastTurnAtMs, nowMs() + waitMs(lane))
    lane.lastTurnAtMs = Math.min(earliestMs + expectedDurationMs(lane) / lane.limit, nowMs() + maxMs)
    return lane.lastTurnAtMs - nowMs()
  }

  function parkStuck(): void {
    // Of a lane that moves, those that waited twice as long as they should: all slots are taken by others.
    const sinceMaxMs = nowMs() - 2 * parkAfterMs
    for (const [name, lane] of lanes) {
      const stays = isStuck(lane) ? -1 : lane.waiting.findIndex(({ sinceMs }) => sinceMs > sinceMaxMs)
      park(lane, stays < 0 ? lane.waiting.length : stays)
      if (lane.inFlight === 0 && lane.waiting.length === 0) {
        lanes.delete(name)
        turns.delete(name)
      }
    }
    tellOfRoom()
    if (waiting > 0) return
    clearInterval(timer)
    timer = undefined
  }

  function park(lane: Lane, count: number): void {
    waiting -= count
    for (const waiter of lane.waiting.splice(0, count)) waiter.park()
  }

  function room(): Promise<void> {
    if (waiting < waitingMax || closed) return Promise.resolve()
    return new Promise((resolve) => awaitingRoom.push(resolve))
  }

  /** One at a time: what each brings is counted before the next is asked. */
  function tellOfRoom(): void {
    if (waiting < waitingMax || closed) awaitingRoom.shift()?.()
  }

  function close(): void {
    closed = true
    clearInterval(timer)
    turns.clear()
    for (const lane of lanes.values()) park(lane, lane.waiting.length)
    for (const resolve of awaitingRoom.splice(0)) resolve()
  }

  return {
    run,
    turnInMs,
    room,
    brought: tellOfRoom,
    close,
    get inFlight() {
      return inFlight
    },
  }
}

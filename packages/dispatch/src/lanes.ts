/** Given instead of a result: the lane is full and does not move. */
export const PARKED = Symbol('parked')

/** Whose turn it is about. */
interface Place {
  /** An endpoint. */
  lane: string
  owner: string
  /** Tasks of the lane in flight at once. The newest counts. */
  limit: number
  /** A retry, or what waited until its endpoint was well again: new deliveries do not wait behind it. */
  isLate: boolean
}

export interface Lanes {
  /**
   * Runs `task` when its lane and the whole have room; or answers PARKED, without having run it, when
   * that would take too long: see `createLanes`.
   */
  run<T>(place: Place, task: () => Promise<T>): Promise<T | typeof PARKED>
  /**
   * When a task that was just parked would have its turn by its lane's pace, at most `maxMs` from now. Who
   * asks next is behind it: not all of them have to come again at once.
   */
  turnInMs(lane: string, maxMs: number): number
  /**
   * Resolves with true when few enough tasks wait: the time to bring at most `count` more.
   *
   * @param isSurplus of an owner who has more than its share: only a few of these may wait
   * @param withinMs false after so long, and then nothing is to be brought; forever where left out
   */
  room(count: number, isSurplus?: boolean, withinMs?: number): Promise<boolean>
  /** To be called when what came of `room` is in its lanes, be it nothing: lets the next one in. */
  brought(count: number): void
  /** Parks all that wait, and from now on all that come. */
  close(): void
  readonly inFlight: number
}

export interface LanesOptions {
  /** Tasks in flight at once. */
  total: number
  /** The longest that a task should wait for its turn. */
  parkAfterMs: number
  /** Tasks that wait and that are being brought. See `room`. */
  waitingMax: number
  nowMs?: () => number
}

interface Waiter {
  sinceMs: number
  start(): void
  park(): void
}

interface Lane {
  name: string
  owner: string
  limit: number
  inFlight: number
  lateInFlight: number
  fresh: Waiter[]
  late: Waiter[]
  /** Fresh ones that were started while a late one waited. */
  sinceLate: number
  /** When a task of the lane last ended, or began where it had been empty. */
  movedAtMs: number
  /** Moving average of how long its tasks take. */
  durationMs: number
  /** When it last began to have tasks. */
  busySinceMs: number
  ends: Ends
  /** When the last of those that were parked would have its turn: see `turnInMs`. */
  lastTurnAtMs: number
}

/** Weight of the newest duration: a lane that turns slow or fast is known as such within a few tasks. */
const NEWEST_WEIGHT = 0.2
/** Of places that both want, so many go to fresh deliveries for one that goes to a late one. */
const FRESH_PER_LATE = 3
/** One place of so many in a lane is kept for fresh deliveries: the late ones of a slow endpoint come in bursts. */
const PLACES_PER_FRESH = 5
/** What a lane did lately is counted by windows of this length. */
const WINDOW_MS = 1_000
/** What ended in a shorter time than this counts as if it had taken that long. */
const WINDOW_MIN_MS = 100
/** What a lane does in its first moments, connecting and warming up, says nothing about its pace. */
const UNKNOWN_FOR_MS = 500
/** The places that an owner had count half as much after this time. */
const USAGE_HALVED_EVERY_MS = 1_000
/** Owners that are looked at for each place: with more of them, turns alone are fair enough. */
const OWNERS_COMPARED = 16
/** Surplus that waits, for each place: enough that none stays empty while more is claimed. */
const SURPLUS_PER_PLACE = 2
const SURPLUS_MIN = 50

/**
 * Lets at most `total` tasks run, and of each lane (an endpoint) at most its limit. When the whole is full, a
 * place goes to the owner who had the fewest lately; owners who had as many take turns, and so do the lanes
 * of an owner. Fresh deliveries go before late ones, which still get one
 * place in four, but never all of a lane's.
 *
 * A lane that hangs keeps its own slots and nobody else's: what waits for it is parked when nothing in
 * it ended for `parkAfterMs`, and what comes is parked at once when by the lane's pace its turn would
 * not come within that time. A fast lane may therefore have thousands waiting, a slow one few. And when
 * half of all that may wait does, an owner with more than its share of it has what comes parked.
 */
export function createLanes(options: LanesOptions): Lanes {
  const { total, parkAfterMs, waitingMax, nowMs = Date.now } = options
  const surplusMax = Math.min(waitingMax, Math.max(SURPLUS_PER_PLACE * total, SURPLUS_MIN))
  // However slow all is, more than of surplus.
  const roomMin = 2 * surplusMax
  const lanes = new Map<string, Lane>()
  // Lanes that have somebody waiting and room in themselves; only the whole was full.
  const usage = createUsage(nowMs)
  const ahead = createTurns(usage)
  /** Those of them where only late ones can be started. */
  const behind = createTurns(usage)
  let sinceBehind = 0
  const ends = createEnds(nowMs)
  const waitingOf = new Map<string, number>()
  const awaitingRoom: { count: number; letIn(): void }[] = []
  const surplusAwaitingRoom: typeof awaitingRoom = []
  let inFlight = 0
  let waiting = 0
  let coming = 0
  let closed = false
  let timer: NodeJS.Timeout | undefined

  function run<T>(place: Place, task: () => Promise<T>): Promise<T | typeof PARKED> {
    if (closed) return Promise.resolve(PARKED)
    const { lane: name, owner, limit, isLate } = place
    let lane = lanes.get(name)
    if (lane === undefined) {
      lane = {
        name,
        owner,
        limit,
        inFlight: 0,
        lateInFlight: 0,
        fresh: [],
        late: [],
        sinceLate: 0,
        movedAtMs: nowMs(),
        durationMs: 0,
        busySinceMs: nowMs(),
        ends: createEnds(nowMs),
        lastTurnAtMs: 0,
      }
      lanes.set(name, lane)
    }
    if (lane.limit !== limit) {
      lane.limit = limit
      giveTurn(lane)
      startNext()
    }
    if (inFlight < total && hasRoom(lane, isLate)) return start(lane, isLate, task)
    if (isTooSlow(lane, isLate) || isOverShare(owner)) return Promise.resolve(PARKED)
    return new Promise((resolve, reject) => {
      count(owner, 1)
      const queue = isLate ? lane.late : lane.fresh
      queue.push({
        sinceMs: nowMs(),
        start: () => start(lane, isLate, task).then(resolve, reject),
        park: () => resolve(PARKED),
      })
      giveTurn(lane)
      timer ??= setInterval(parkStuck, parkAfterMs / 4).unref()
    })
  }

  function count(owner: string, change: number): void {
    waiting += change
    const left = (waitingOf.get(owner) ?? 0) + change
    if (left === 0) waitingOf.delete(owner)
    else waitingOf.set(owner, left)
  }

  /** Puts a lane where it belongs, keeping its turn if it has one there. */
  function giveTurn(lane: Lane): void {
    const isAhead = lane.fresh.length > 0 && hasRoom(lane, false)
    const isBehind = !isAhead && lane.late.length > 0 && hasRoom(lane, true)
    if (isAhead) ahead.add(lane)
    else ahead.remove(lane)
    if (isBehind) behind.add(lane)
    else behind.remove(lane)
  }

  function hasRoom({ inFlight: ofLane, lateInFlight, limit }: Lane, isLate: boolean): boolean {
    return ofLane < limit && !(isLate && lateInFlight >= limit - Math.floor(limit / PLACES_PER_FRESH))
  }

  async function start<T>(lane: Lane, isLate: boolean, task: () => Promise<T>): Promise<T> {
    const startedAtMs = nowMs()
    if (lane.inFlight === 0) lane.movedAtMs = startedAtMs
    lane.inFlight += 1
    if (isLate) lane.lateInFlight += 1
    inFlight += 1
    usage.add(lane.owner)
    giveTurn(lane)
    try {
      return await task()
    } finally {
      lane.inFlight -= 1
      if (isLate) lane.lateInFlight -= 1
      inFlight -= 1
      lane.movedAtMs = nowMs()
      lane.ends.add()
      ends.add()
      lane.durationMs += NEWEST_WEIGHT * (lane.movedAtMs - startedAtMs - lane.durationMs)
      giveTurn(lane)
      if (isIdle(lane)) lanes.delete(lane.name)
      startNext()
    }
  }

  function startNext(): void {
    while (inFlight < total) {
      const lane = nextLane()
      if (lane === undefined) break
      const waiter = nextOf(lane)
      count(lane.owner, -1)
      waiter.start()
    }
    tellOfRoom()
  }

  function nextLane(): Lane | undefined {
    const isTurnOfLate = sinceBehind >= FRESH_PER_LATE && !behind.isEmpty
    if (ahead.isEmpty || isTurnOfLate) {
      sinceBehind = 0
      return behind.take()
    }
    sinceBehind = behind.isEmpty ? 0 : sinceBehind + 1
    return ahead.take()
  }

  function nextOf(lane: Lane): Waiter {
    const canBeLate = lane.late.length > 0 && hasRoom(lane, true)
    if (lane.fresh.length === 0 || (canBeLate && lane.sinceLate >= FRESH_PER_LATE)) {
      lane.sinceLate = 0
      return lane.late.shift()!
    }
    lane.sinceLate = canBeLate ? lane.sinceLate + 1 : 0
    return lane.fresh.shift()!
  }

  function isIdle(lane: Lane): boolean {
    return lane.inFlight === 0 && lane.fresh.length + lane.late.length === 0
  }

  function isOverShare(owner: string): boolean {
    if (waiting < waitingMax / 2) return false
    const own = waitingOf.get(owner) ?? 0
    const owners = waitingOf.size + (own === 0 ? 1 : 0)
    return owners > 1 && own >= waitingMax / owners
  }

  function isStuck(lane: Lane, isLate: boolean): boolean {
    return !hasRoom(lane, isLate) && nowMs() - lane.movedAtMs >= parkAfterMs
  }

  /** Would who comes now wait too long? While nothing ends, the wait so far is the best guess of a duration. */
  function isTooSlow(lane: Lane, isLate: boolean): boolean {
    if (hasRoom(lane, isLate)) return false
    if (isStuck(lane, isLate)) return true
    return nowMs() - lane.busySinceMs >= UNKNOWN_FOR_MS && waitMs(lane) >= parkAfterMs
  }

  /**
   * By how long its tasks take, or by how many ended lately, whichever says less: a pause of this process makes
   * tasks seem slow, and a lane that had little to do seem idle.
   */
  function waitMs(lane: Lane): number {
    const waiters = lane.fresh.length + lane.late.length
    return waiters * Math.min(expectedDurationMs(lane) / lane.limit, lane.ends.msBetween())
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
    for (const lane of lanes.values()) {
      for (const isLate of [false, true]) {
        const waiters = isLate ? lane.late : lane.fresh
        const stays = isStuck(lane, isLate) ? -1 : waiters.findIndex(({ sinceMs }) => sinceMs > sinceMaxMs)
        park(lane, waiters, stays < 0 ? waiters.length : stays)
      }
      giveTurn(lane)
      if (isIdle(lane)) lanes.delete(lane.name)
    }
    tellOfRoom()
    if (waiting > 0) return
    clearInterval(timer)
    timer = undefined
  }

  function park(lane: Lane, waiters: Waiter[], parked: number): void {
    if (parked === 0) return
    count(lane.owner, -parked)
    for (const waiter of waiters.splice(0, parked)) waiter.park()
  }

  function room(countMax: number, isSurplus = false, withinMs?: number): Promise<boolean> {
    return new Promise((resolve) => {
      const queue = isSurplus ? surplusAwaitingRoom : awaitingRoom
      let patience: NodeJS.Timeout | undefined
      const one = {
        count: countMax,
        letIn() {
          clearTimeout(patience)
          resolve(true)
        },
      }
      if (withinMs !== undefined) {
        patience = setTimeout(() => {
          queue.splice(queue.indexOf(one), 1)
          resolve(false)
        }, withinMs)
      }
      queue.push(one)
      tellOfRoom()
    })
  }

  function tellOfRoom(): void {
    while (awaitingRoom.length > 0 && (waiting + coming < roomMax() || closed)) letIn(awaitingRoom)
    while (surplusAwaitingRoom.length > 0 && (waiting + coming < surplusMax || closed)) {
      letIn(surplusAwaitingRoom)
    }
  }

  /** While all places are taken, what would wait for one too long stays where it is: it would only be parked. */
  function roomMax(): number {
    if (inFlight < total) return waitingMax
    return Math.min(waitingMax, Math.max(roomMin, parkAfterMs / ends.msBetween()))
  }

  /** What it brings counts as waiting already. */
  function letIn(queue: typeof awaitingRoom): void {
    const next = queue.shift()!
    coming += next.count
    next.letIn()
  }

  function brought(countMax: number): void {
    coming -= countMax
    tellOfRoom()
  }

  function close(): void {
    closed = true
    clearInterval(timer)
    for (const lane of lanes.values()) {
      for (const waiters of [lane.fresh, lane.late]) park(lane, waiters, waiters.length)
      giveTurn(lane)
    }
    tellOfRoom()
  }

  return {
    run,
    turnInMs,
    room,
    brought,
    close,
    get inFlight() {
      return inFlight
    },
  }
}

/** How often tasks end, by what ended lately. */
interface Ends {
  add(): void
  /** Infinity where none did. */
  msBetween(): number
}

/** Counts in windows of time: this one, and the part of the one before that makes it whole. */
function createEnds(nowMs: () => number): Ends {
  let count = 0
  let sinceMs = nowMs()
  let countBefore = 0
  let lengthBeforeMs = 0

  function turn(): void {
    const lengthMs = nowMs() - sinceMs
    if (lengthMs < WINDOW_MS) return
    const isLongAgo = lengthMs >= 2 * WINDOW_MS
    countBefore = isLongAgo ? 0 : count
    lengthBeforeMs = isLongAgo ? 0 : lengthMs
    count = 0
    sinceMs = nowMs()
  }

  return {
    add() {
      turn()
      count += 1
    },
    msBetween() {
      turn()
      const lengthMs = nowMs() - sinceMs
      const ofBeforeMs = Math.max(0, lengthBeforeMs - lengthMs)
      const ended = count + (ofBeforeMs === 0 ? 0 : (countBefore * ofBeforeMs) / lengthBeforeMs)
      return ended === 0 ? Number.POSITIVE_INFINITY : Math.max(lengthMs + ofBeforeMs, WINDOW_MIN_MS) / ended
    },
  }
}

interface Turns {
  /** At the back, where it is not there yet. */
  add(lane: Lane): void
  remove(lane: Lane): void
  /** The first lane of the owner whose turn it is; both go to the back. */
  take(): Lane | undefined
  readonly isEmpty: boolean
}

function createTurns(usage: Usage): Turns {
  const owners = new Map<string, Set<Lane>>()

  /** Of those that waited longest for a turn, who had the fewest places lately. */
  function next(): string | undefined {
    let found: string | undefined
    let fewest = Number.POSITIVE_INFINITY
    let looks = OWNERS_COMPARED
    for (const owner of owners.keys()) {
      const places = usage.of(owner)
      if (places < fewest) {
        found = owner
        fewest = places
      }
      if (--looks === 0) break
    }
    return found
  }

  return {
    add(lane) {
      const lanes = owners.get(lane.owner)
      if (lanes === undefined) owners.set(lane.owner, new Set([lane]))
      else lanes.add(lane)
    },
    remove(lane) {
      const lanes = owners.get(lane.owner)
      if (lanes?.delete(lane) && lanes.size === 0) owners.delete(lane.owner)
    },
    take() {
      const owner = next()
      if (owner === undefined) return undefined
      const lanes = owners.get(owner)!
      owners.delete(owner)
      const [lane] = lanes
      lanes.delete(lane!)
      if (lanes.size > 0) owners.set(owner, lanes)
      return lane
    },
    get isEmpty() {
      return owners.size === 0
    },
  }
}

/** How many places owners had lately. */
interface Usage {
  add(owner: string): void
  of(owner: string): number
}

function createUsage(nowMs: () => number): Usage {
  let places = new Map<string, number>()
  let halvedAtMs = nowMs()
  return {
    add(owner) {
      if (nowMs() - halvedAtMs >= USAGE_HALVED_EVERY_MS) {
        halvedAtMs = nowMs()
        places = new Map(
          [...places].map(([name, had]) => [name, had / 2] as const).filter(([, had]) => had >= 1),
        )
      }
      places.set(owner, (places.get(owner) ?? 0) + 1)
    },
    of: (owner) => places.get(owner) ?? 0,
  }
}

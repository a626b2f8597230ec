import { setTimeout as delay } from 'node:timers/promises'
import { waitFor } from '@posthorn/testkit'
import {
  type Attempted,
  byEndpoint,
  emitTo,
  OF_PACE,
  TRIES_MAX,
  targetUrls,
  waitForAttempts,
} from './deliver-to.ts'
import { type Mark, NOTE, nothingFound } from './mark.ts'
import { EXPIRED, responders } from './responders.ts'
import type { Holdings, Platform } from './start-platform.ts'
import { type RunningResponder, startResponder } from './start-responder.ts'

/** What an attempt may take beyond its deadline until it is recorded. */
const LATE_MS = 1_000
const RSS_GROWTH_MAX_MB = 50
/** Idle connections are closed after four seconds. */
const IDLE_MS = 6_000
const BODY_BYTES_MAX = 16_384
const HEADER_BYTES_MAX = 8_192
/** As many as may be in flight to one endpoint. */
const ALONE = 10
/** Connections to the database and the queue come and go with the load, up to this. */
const SOCKETS_OF_POOLS = 30

export interface RespondersOptions {
  /** To each responder. */
  requests: number
  /** To the one with the certificate that is bad. */
  badCertificates: number
  /** These alone. */
  only?: readonly string[] | undefined
  /** In a short run memory says nothing: what is warm is not yet. */
  isMemoryJudged: boolean
  /** Called with what came of each. */
  say: (line: string) => void
}

/** Hostile endpoints in bulk: what became of each attempt, and what the worker holds afterwards. */
export async function tryResponders(
  platform: Platform,
  { requests, badCertificates, only, isMemoryJudged, say }: RespondersOptions,
): Promise<{ responses: number; slotsLeaked: number; marks: Mark[] }> {
  await using stack = new AsyncDisposableStack()
  const chosen = responders.filter(({ name }) => only === undefined || only.includes(name))
  const running = await Promise.all(chosen.map(startResponder))
  stack.defer(async () => {
    await Promise.all(running.map((one) => one.close()))
  })
  const target = await targetUrls(
    platform,
    running.map(({ url }) => url),
  )
  const cold = await platform.workerHolds()
  const expired = running.find(({ responder }) => responder.name === EXPIRED)
  const leak = expired === undefined ? undefined : await targetUrls(platform, [expired.url])
  // The first of them warm up what stays: code, pools of buffers, prepared statements, and what a burst of handshakes
  // leaves to the garbage collector. That matters to memory only.
  const warmUp = isMemoryJudged ? Math.floor(requests / 10) : 0
  if (isMemoryJudged) {
    await emitTo(platform, target, 1)
    await waitForAttempts(platform, target, 1)
    await emitTo(platform, target, warmUp - 1)
    await waitForAttempts(platform, target, warmUp)
    if (leak !== undefined) {
      await emitTo(platform, leak, badCertificates / 10)
      await waitForAttempts(platform, leak, badCertificates / 10)
    }
  }
  const before = isMemoryJudged ? await settled(platform, cold.sockets + SOCKETS_OF_POOLS) : cold
  await emitTo(platform, target, requests - warmUp)
  const attempts = await waitForAttempts(platform, target, requests, 2 * platform.patienceMs)
  const crowded = await settled(platform, cold.sockets + SOCKETS_OF_POOLS)
  const judged = byEndpoint(target, attempts).map((made, at) => judge(platform, running[at]!, made, requests))

  for (const [at, made] of byEndpoint(target, attempts).entries()) {
    const counts = [...Map.groupBy(made, ({ outcome }) => outcome)].map(
      ([name, { length }]) => `${name} ${length}`,
    )
    const slowest = Math.max(0, ...made.map(({ durationMs }) => durationMs))
    say(`${chosen[at]!.name}: ${counts.join(', ')}; at most ${slowest} ms`)
  }
  const refused: Attempted[] = []
  if (expired !== undefined && leak !== undefined) {
    await emitTo(platform, leak, isMemoryJudged ? badCertificates - badCertificates / 10 : badCertificates)
    refused.push(...(await waitForAttempts(platform, leak, badCertificates, 2 * platform.patienceMs)))
    judged.push(judge(platform, expired, refused, badCertificates))
  }
  const slow = judged.filter(({ ofPace }) => ofPace.length > 0)
  const heardAgain = await hearAgain(platform, [...new Set(slow.map((one) => one.running))])

  const after = await settled(platform, cold.sockets + SOCKETS_OF_POOLS)
  const areClosed = () => running.every(({ open }) => open === 0)
  await waitFor(areClosed, { timeoutMs: 2 * IDLE_MS, message: 'idle connections to end' }).catch(() => {})
  const still = running.flatMap(({ open, responder }) =>
    open === 0 ? [] : [`${responder.name}: ${open} open`],
  )
  const inUse = (after.inUseMb - before.inUseMb).toFixed(0)
  const growthMb = after.rssMb - before.rssMb
  const responses = attempts.length + refused.length
  const all = [...judged, ...heardAgain]
  const leaked = after.sockets - cold.sockets - SOCKETS_OF_POOLS
  return {
    responses,
    slotsLeaked: after.inFlight,
    marks: [
      {
        what: 'hostile responders',
        found: `${chosen.length} × ${requests}`,
        mark: 'at least 40',
        held: chosen.length >= 40 || only !== undefined,
        findings: [],
      },
      nothingFound(
        'attempts without a record',
        responses,
        all.flatMap(({ missing }) => missing),
      ),
      nothingFound(
        'attempts with another outcome than theirs',
        responses,
        all.flatMap(({ wrong }) => wrong),
      ),
      nothingFound(
        'attempts that ended too late',
        responses,
        all.flatMap(({ late }) => late),
      ),
      nothingFound(
        'answers that were kept beyond the limits',
        responses,
        all.flatMap(({ large }) => large),
      ),
      nothingFound(
        'bodies that were not kept as they were sent',
        responses,
        all.flatMap(({ altered }) => altered),
      ),
      {
        what: 'too late in a crowd, tried again alone',
        found: `${slow.length} of ${chosen.length}`,
        mark: NOTE,
        held: true,
        findings: slow.map(
          ({ ofPace }) => `${ofPace[0]}${ofPace.length > 1 ? `, and ${ofPace.length - 1} more` : ''}`,
        ),
      },
      {
        what: 'longest that the worker stood still',
        found: `${crowded.stallMs} ms`,
        mark: NOTE,
        held: true,
        findings: [],
      },
      nothingFound(
        'slots not given back',
        responses,
        after.inFlight === 0 ? [] : [`${after.inFlight} in flight`],
      ),
      nothingFound('connections left open', responses, still),
      nothingFound(
        'sockets not given back',
        responses,
        leaked > 0 ? [`${leaked} more than before, beyond those of the pools`] : [],
      ),
      {
        what: 'memory at rest: cold, warm, after the crowd, after the certificates',
        found: `${[cold, before, crowded, after].map(({ rssMb }) => rssMb.toFixed(0)).join(', ')} MB`,
        mark: NOTE,
        held: true,
        findings: [],
      },
      {
        what: 'memory before V8 gave back free pages: the same',
        found: `${[cold, before, crowded, after].map(({ rssFoundMb }) => rssFoundMb.toFixed(0)).join(', ')} MB`,
        mark: NOTE,
        held: true,
        findings: [],
      },
      {
        what: 'growth of memory',
        found: `${growthMb.toFixed(0)} MB (in use ${inUse} MB)`,
        mark: isMemoryJudged ? `< ${RSS_GROWTH_MAX_MB} MB` : 'judged in a full run',
        held: !isMemoryJudged || growthMb < RSS_GROWTH_MAX_MB,
        findings: [],
      },
    ],
  }
}

interface Judged {
  running: RunningResponder
  missing: string[]
  wrong: string[]
  late: string[]
  large: string[]
  altered: string[]
  /** What a machine that is busy with the others explains as well. */
  ofPace: string[]
}

/** @param isAlone nothing else goes on, so that nothing else explains what is late */
function judge(
  platform: Platform,
  running: RunningResponder,
  made: readonly Attempted[],
  count: number,
  isAlone = false,
): Judged {
  const { responder } = running
  const deadlineMs = platform.attemptTimeoutMs + LATE_MS
  const say = (attempt: Attempted) =>
    `${responder.name}: ${attempt.outcome} after ${attempt.durationMs} ms (${attempt.detail})`
  const isWrong = ({ outcome }: Attempted) => !responder.outcomes.includes(outcome)
  const isLate = ({ durationMs }: Attempted) => durationMs > deadlineMs
  const isOfPace = (one: Attempted) => !isAlone && (isWrong(one) ? OF_PACE.has(one.outcome) : isLate(one))
  const judged = made.filter((one) => !isOfPace(one))
  const { bodyStart } = responder
  return {
    running,
    missing: made.length === count ? [] : [`${responder.name}: ${made.length} of ${count}`],
    wrong: judged.filter(isWrong).map(say),
    late: judged.filter(isLate).map(say),
    large: made
      .filter(({ bodyBytes, headerBytes }) => bodyBytes > BODY_BYTES_MAX || headerBytes > HEADER_BYTES_MAX)
      .map((one) => `${responder.name}: ${one.headerBytes} of headers, ${one.bodyBytes} of body`),
    altered: made
      .filter((one) => bodyStart !== undefined && one.bodyBytes > 0 && one.bodyStart !== bodyStart)
      .map((one) => `${responder.name}: begins with ${one.bodyStart}`),
    ofPace: made.filter(isOfPace).map(say),
  }
}

/** Tries again those that were late in the crowd: all of them by themselves, and what is late still each alone. */
async function hearAgain(platform: Platform, slow: readonly RunningResponder[]): Promise<Judged[]> {
  if (slow.length === 0) return []
  const target = await targetUrls(
    platform,
    slow.map(({ url }) => url),
  )
  await emitTo(platform, target, ALONE)
  const attempts = await waitForAttempts(platform, target, ALONE)
  const heard = byEndpoint(target, attempts).map((made, at) => judge(platform, slow[at]!, made, ALONE))
  for (const { running } of heard.filter(({ ofPace }) => ofPace.length > 0)) {
    heard.push(await hearAlone(platform, running))
  }
  return heard
}

/** With nothing beside it. What is late at each of a few tries is late because of what it does. */
async function hearAlone(platform: Platform, running: RunningResponder): Promise<Judged> {
  for (let tries = 1; ; tries++) {
    const target = await targetUrls(platform, [running.url])
    await emitTo(platform, target, ALONE)
    const made = await waitForAttempts(platform, target, ALONE)
    const judged = judge(platform, running, made, ALONE, true)
    if (tries === TRIES_MAX || judged.wrong.length + judged.late.length === 0) return judged
  }
}

/**
 * What the worker holds once it is idle, or after a while of waiting for that; how long it stood still, and what
 * memory it had taken, until then.
 */
async function settled(platform: Platform, socketsMax: number): Promise<Holdings> {
  const until = Date.now() + 2 * IDLE_MS
  const { stallMs, rssFoundMb } = await platform.workerHolds()
  for (;;) {
    const holds = await platform.workerHolds()
    if ((holds.inFlight === 0 && holds.sockets <= socketsMax) || Date.now() > until) {
      return { ...holds, stallMs, rssFoundMb }
    }
    await delay(500)
  }
}

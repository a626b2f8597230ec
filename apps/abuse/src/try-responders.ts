import { setTimeout as delay } from 'node:timers/promises'
import { waitFor } from '@posthorn/testkit'
import { byEndpoint, emitTo, targetUrls, waitForAttempts } from './deliver-to.ts'
import { type Mark, nothingFound } from './mark.ts'
import { EXPIRED, responders } from './responders.ts'
import type { Holdings, Platform } from './start-platform.ts'
import { type RunningResponder, startResponder } from './start-responder.ts'

/** What an attempt may take beyond its deadline until it is recorded. */
const LATE_MS = 1_000
const RSS_GROWTH_MAX_MB = 50
/** Idle connections are closed after four seconds. */
const IDLE_MS = 6_000
const BODY_BYTES_MAX = 16_384
/** Connections to the database and the queue come and go with the load, up to this. */
const SOCKETS_OF_POOLS = 30

export interface RespondersOptions {
  /** To each responder. */
  requests: number
  /** To the one with the certificate that is bad. */
  badCertificates: number
  /** In a short run memory says nothing: what is warm is not yet. */
  isMemoryJudged: boolean
  /** Called with what came of each. */
  say: (line: string) => void
}

/** Hostile endpoints in bulk: what became of each attempt, and what the worker holds afterwards. */
export async function tryResponders(
  platform: Platform,
  { requests, badCertificates, isMemoryJudged, say }: RespondersOptions,
): Promise<{ responses: number; slotsLeaked: number; marks: Mark[] }> {
  await using stack = new AsyncDisposableStack()
  const running = await Promise.all(responders.map(startResponder))
  stack.defer(async () => {
    await Promise.all(running.map((one) => one.close()))
  })
  const target = await targetUrls(
    platform,
    running.map(({ url }) => url),
  )
  const cold = await platform.workerHolds()
  // The first of them warm up what stays: code, pools of buffers, prepared statements.
  const warmUp = Math.max(5, Math.floor(requests / 10))
  await emitTo(platform, target, 1)
  await waitForAttempts(platform, target, 1)
  await emitTo(platform, target, warmUp - 1)
  await waitForAttempts(platform, target, warmUp)
  const before = await settled(platform, cold.sockets + SOCKETS_OF_POOLS)
  await emitTo(platform, target, requests - warmUp)
  const attempts = await waitForAttempts(platform, target, requests, 60_000)
  const judged = byEndpoint(target, attempts).map((made, at) => judge(platform, running[at]!, made, requests))

  for (const [at, made] of byEndpoint(target, attempts).entries()) {
    const counts = [...Map.groupBy(made, ({ outcome }) => outcome)].map(
      ([name, { length }]) => `${name} ${length}`,
    )
    const slowest = Math.max(0, ...made.map(({ durationMs }) => durationMs))
    say(`${responders[at]!.name}: ${counts.join(', ')}; at most ${slowest} ms`)
  }
  const expired = running.find(({ responder }) => responder.name === EXPIRED)!
  const leak = await targetUrls(platform, [expired.url])
  await emitTo(platform, leak, badCertificates)
  const refused = await waitForAttempts(platform, leak, badCertificates, 60_000)
  const certificates = judge(platform, expired, refused, badCertificates)

  const after = await settled(platform, cold.sockets + SOCKETS_OF_POOLS)
  const areClosed = () => running.every(({ open }) => open === 0)
  await waitFor(areClosed, { timeoutMs: 2 * IDLE_MS, message: 'idle connections to end' }).catch(() => {})
  const still = running.flatMap(({ open, responder }) =>
    open === 0 ? [] : [`${responder.name}: ${open} open`],
  )
  const growthMb = Math.round(after.rssMb - before.rssMb)
  const responses = attempts.length + refused.length
  const all = [...judged, certificates]
  const leaked = after.sockets - cold.sockets - SOCKETS_OF_POOLS
  return {
    responses,
    slotsLeaked: after.inFlight,
    marks: [
      {
        what: 'hostile responders',
        found: `${responders.length} × ${requests}`,
        mark: 'at least 40',
        held: responders.length >= 40,
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
        'bodies that were kept beyond the limit',
        responses,
        all.flatMap(({ large }) => large),
      ),
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
        what: 'growth of memory',
        found: `${growthMb} MB`,
        mark: isMemoryJudged ? `< ${RSS_GROWTH_MAX_MB} MB` : 'judged in a full run',
        held: !isMemoryJudged || growthMb < RSS_GROWTH_MAX_MB,
        findings: [],
      },
    ],
  }
}

function judge(
  platform: Platform,
  { responder }: RunningResponder,
  made: Awaited<ReturnType<typeof waitForAttempts>>,
  count: number,
) {
  const deadlineMs = platform.attemptTimeoutMs + LATE_MS
  const say = (attempt: (typeof made)[number]) =>
    `${responder.name}: ${attempt.outcome} after ${attempt.durationMs} ms (${attempt.detail})`
  return {
    missing: made.length === count ? [] : [`${responder.name}: ${made.length} of ${count}`],
    wrong: made.filter(({ outcome }) => !responder.outcomes.includes(outcome)).map(say),
    late: made.filter(({ durationMs }) => durationMs > deadlineMs).map(say),
    large: made.filter(({ bodyBytes }) => bodyBytes > BODY_BYTES_MAX).map(say),
  }
}

/** What the worker holds once it is idle, or after a while of waiting for that. */
async function settled(platform: Platform, socketsMax: number): Promise<Holdings> {
  const until = Date.now() + 2 * IDLE_MS
  for (;;) {
    const holds = await platform.workerHolds()
    if ((holds.inFlight === 0 && holds.sockets <= socketsMax) || Date.now() > until) return holds
    await delay(500)
  }
}

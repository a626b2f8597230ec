import { setTimeout as delay } from 'node:timers/promises'
import { decodeId } from '@posthorn/contracts'
import type { Platform } from './start-platform.ts'

/** A failed delivery is not attempted again while the suite looks: each has one attempt. */
const ONE_ATTEMPT = { delaysMs: [2_592_000_000] }

export interface Attempted {
  endpoint: string
  outcome: string
  status: number | null
  detail: string | null
  durationMs: number
  bodyBytes: number
  /** Of the body's first four bytes, in hex. */
  bodyStart: string
  /** Names and values together. */
  headerBytes: number
}

/**
 * Outcomes that a machine which is busy with something else has, too. Whatever depends on one of these is tried
 * again, alone: a guard that is gone is gone then, too.
 */
export const OF_PACE: ReadonlySet<string> = new Set([
  ...['dns_failed', 'connect_timeout', 'timeout', 'body_timeout'],
])
export const TRIES_MAX = 3

/** A group of endpoints that get the same events. */
export interface Target {
  eventType: string
  owner: string
  /** Ids (UUID), in the order of the URLs. */
  endpoints: string[]
}

let targets = 0

/**
 * Registers an endpoint for each URL, with a URL that the first gate lets through, and then puts the real one
 * straight into the database, where only the second gate stands before it.
 */
export async function targetUrls(
  platform: Platform,
  urls: readonly string[],
  headers: Record<string, string> = {},
): Promise<Target> {
  const name = `abuse.target_${++targets}`
  const owner = `owner-${targets}`
  await platform.make('POST', '/v1/event-types', { name })
  await platform.make('POST', '/v1/owners', { uid: owner })
  const endpoints: string[] = []
  for (const url of urls) {
    const made = await platform.make('POST', `/v1/owners/${owner}/endpoints`, {
      url: 'http://127.77.0.1:9/',
      eventTypes: [name],
      retryPolicy: ONE_ATTEMPT,
    })
    const id = decodeId('ep', made.id)!
    endpoints.push(id)
    await platform.query('UPDATE endpoints SET url = $1, headers = $2 WHERE id = $3', [url, headers, id])
  }
  return { eventType: name, owner, endpoints }
}

/** Emits `count` events to each endpoint. */
export async function emitTo(platform: Platform, target: Target, count: number): Promise<void> {
  const batchMax = 1_000
  for (let sent = 0; sent < count; sent += batchMax) {
    const messages = Array.from({ length: Math.min(batchMax, count - sent) }, (_, at) => ({
      owner: target.owner,
      type: target.eventType,
      data: { at: sent + at },
    }))
    const answer = await platform.make('POST', '/v1/messages/batch', { messages })
    const refused = (answer.data as { status: number }[]).filter(({ status }) => status !== 202)
    if (refused.length > 0)
      throw new Error(`${refused.length} messages were not taken: ${JSON.stringify(refused[0])}`)
  }
}

/** Resolves when there are `count` attempts of each endpoint, or when none came for `patienceMs`. */
export async function waitForAttempts(
  platform: Platform,
  target: Target,
  count: number,
  patienceMs = platform.patienceMs,
): Promise<Attempted[]> {
  const expected = count * target.endpoints.length
  let seen = 0
  let seenAt = Date.now()
  for (;;) {
    const [row] = await platform.query<{ count: number }>(
      `SELECT count(*)::int AS count FROM attempts_all a JOIN deliveries d ON d.id = a.delivery_id
       WHERE d.event_type = $1`,
      [target.eventType],
    )
    if (row!.count > seen) {
      seen = row!.count
      seenAt = Date.now()
    }
    if (seen >= expected || Date.now() - seenAt > patienceMs) break
    await delay(100)
  }
  return await platform.query<Attempted & { [name: string]: unknown }>(
    `SELECT d.endpoint_id AS endpoint, a.outcome, a.status, a.detail, round(a.duration_ms)::int AS "durationMs",
       coalesce(octet_length(a.response_body), 0) AS "bodyBytes",
       coalesce(encode(substr(a.response_body, 1, 4), 'hex'), '') AS "bodyStart",
       (SELECT coalesce(sum(octet_length(pair->>0) + octet_length(pair->>1)), 0)::int
        FROM json_array_elements(a.response_headers) pair) AS "headerBytes"
     FROM attempts_all a JOIN deliveries d ON d.id = a.delivery_id WHERE d.event_type = $1`,
    [target.eventType],
  )
}

/** One event to one endpoint, again while it ends as a busy machine makes it end. @returns the outcome */
export async function deliverOnce(
  platform: Platform,
  url: string,
  headers: Record<string, string> = {},
  onSend: () => void = () => {},
): Promise<string> {
  for (let tries = 1; ; tries++) {
    const target = await targetUrls(platform, [url], headers)
    onSend()
    await emitTo(platform, target, 1)
    const [made] = await waitForAttempts(platform, target, 1)
    if (made === undefined || tries === TRIES_MAX || !OF_PACE.has(made.outcome)) {
      return made?.outcome ?? 'no attempt'
    }
  }
}

/** By the place of their endpoint in the target. */
export function byEndpoint({ endpoints }: Target, attempts: readonly Attempted[]): Attempted[][] {
  const groups = Map.groupBy(attempts, ({ endpoint }) => endpoint)
  return endpoints.map((id) => groups.get(id) ?? [])
}

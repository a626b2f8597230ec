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
}

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
  patienceMs = 20_000,
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
       coalesce(octet_length(a.response_body), 0) AS "bodyBytes"
     FROM attempts_all a JOIN deliveries d ON d.id = a.delivery_id WHERE d.event_type = $1`,
    [target.eventType],
  )
}

/** By the place of their endpoint in the target. */
export function byEndpoint({ endpoints }: Target, attempts: readonly Attempted[]): Attempted[][] {
  const groups = Map.groupBy(attempts, ({ endpoint }) => endpoint)
  return endpoints.map((id) => groups.get(id) ?? [])
}

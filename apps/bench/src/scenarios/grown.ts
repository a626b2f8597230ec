import { statfs } from 'node:fs/promises'
import { encodeId } from '@posthorn/contracts'
import pg from 'pg'
import { growLog, type LogEndpoint } from '../grow-log.ts'
import {
  type ChosenFilter,
  type ListRequest,
  listRequests,
  type OpenApi,
  type ParameterValues,
} from '../list-requests.ts'
import { measureThroughput } from '../measure-throughput.ts'
import { percentile } from '../percentile.ts'
import type { Figures, Scenario } from '../scenario.ts'
import { type Owner, type Stage, TYPE } from '../stage.ts'

const DELIVERIES = 10_000_000
const DELIVERIES_QUICK = 100_000
/** Of disk, while it is made: with its indexes, and with what is written ahead. */
const BYTES_PER_DELIVERY = 1_500
const WARM_EVENTS = 20_000
const OWNERS = 9
const ENDPOINTS = 10
const RARE_TYPE = 'bench.rare'
const UNUSED_TYPE = 'bench.unused'
/** Pages of each list, first ones and second ones. */
const REQUESTS = 20
/** A list that takes longer than this is asked less often, and no less than so often. */
const LIST_MS_MAX = 10_000
const REQUESTS_MIN = 4

/** What a log of days costs: `single` before and after, and lists of what is in it. */
export const grown: Scenario = {
  name: 'grown',
  quick: false,
  ofLogOnly: true,
  async run(stage, options) {
    const { platform } = stage
    const owner = await stage.addOwner(1)
    const events = options.quick ? 5_000 : 15_000
    // What comes first must not be the slower one for being compiled in it.
    await stage.closed(owner, { entrance: 'rest', callers: 64, events: WARM_EVENTS })
    const single = (variant: string) =>
      measureThroughput(stage, { scenario: 'grown', variant }, options, () =>
        stage.closed(owner, { entrance: 'rest', callers: 64, events }),
      )
    const empty = await single('single, empty log')

    const deliveries = await deliveriesThatFit(
      stage,
      options.quick ? DELIVERIES_QUICK : DELIVERIES,
      options.say,
    )
    for (const name of [RARE_TYPE, UNUSED_TYPE]) {
      await platform.request('POST', '/v1/event-types', { name })
    }
    const owners = await Promise.all(Array.from({ length: OWNERS }, () => stage.addOwner(ENDPOINTS)))
    const smallOwner = await stage.addOwner(1)
    const endpoints = await endpointsOf(stage, owners)
    const [largeEndpoint] = await endpointsOf(stage, owners.slice(0, 1))
    const [smallEndpoint] = await endpointsOf(stage, [smallOwner])
    const client = new pg.Client({ connectionString: platform.databaseUrl })
    await client.connect()
    const startedAt = performance.now()
    await growLog(client, {
      ...{ deliveries, endpoints, smallEndpoint: smallEndpoint!, eventType: TYPE, rareEventType: RARE_TYPE },
    })
    await client.end()
    const size = deliveries.toLocaleString('en')
    options.say(`grown: ${size} deliveries after ${Math.round((performance.now() - startedAt) / 1_000)} s`)

    const full = await single(`single, ${size} deliveries`)
    const figures: Figures[] = [
      empty,
      {
        ...{ ...full, deliveries },
        singleRatio: round3(full.ratio / empty.ratio),
        singleRateRatio: round3(full.deliveriesPerSecond / empty.deliveriesPerSecond),
      },
    ]
    const values = await parameterValues(stage, owners[0]!, largeEndpoint!, smallOwner, smallEndpoint!)
    const lists = await measureLists(stage, values)
    const slowest = lists.reduce((a, b) => (b.p95Ms > a.p95Ms ? b : a))
    options.say(`grown: the slowest list is ${slowest.name}, p95 ${slowest.p95Ms} ms`)
    const line = { scenario: 'grown', backend: stage.backend, deliveries }
    for (const { name, ...list } of lists) figures.push({ ...line, variant: name, ...list })
    const { name: slowestList, p95Ms: slowestP95Ms } = slowest
    figures.push({ ...line, variant: 'slowest list', slowestList, slowestP95Ms })
    return figures
  },
}

async function deliveriesThatFit(
  { platform }: Stage,
  wanted: number,
  say: (line: string) => void,
): Promise<number> {
  const [database] = await platform.query<{ directory: string }>(
    `SELECT current_setting('data_directory') AS directory`,
  )
  const { bavail, bsize } = await statfs(database!.directory)
  const fitting = Math.floor((bavail * bsize) / BYTES_PER_DELIVERY / 100_000) * 100_000
  if (fitting >= wanted) return wanted
  say(`grown: there is room for ${fitting.toLocaleString('en')} deliveries only`)
  return fitting
}

function endpointsOf({ platform }: Stage, owners: readonly Owner[]): Promise<LogEndpoint[]> {
  const uids = owners.map(({ uid }) => `'${uid}'`).join()
  return platform.query<{ id: string; ownerId: string }>(
    `SELECT e.id, e.owner_id AS "ownerId" FROM endpoints e JOIN owners o ON o.id = e.owner_id
     WHERE o.uid IN (${uids})`,
  )
}

/** Of each filter and of each part of a path: what much is found by, and what little or nothing is. */
async function parameterValues(
  { platform }: Stage,
  owner: Owner,
  endpoint: LogEndpoint,
  smallOwner: Owner,
  smallEndpoint: LogEndpoint,
): Promise<ParameterValues> {
  const [dead] = await platform.query<{ id: string; messageId: string }>(
    `SELECT id, message_id AS "messageId" FROM deliveries_ended WHERE state = 'dead'
      AND owner_id = '${endpoint.ownerId}' ORDER BY id LIMIT 1`,
  )
  const daysAgo = (days: number) => new Date(Date.now() - days * 86_400_000).toISOString()
  return {
    owner: { large: owner.uid, small: smallOwner.uid },
    endpoint: { large: encodeId('ep', endpoint.id), small: encodeId('ep', smallEndpoint.id) },
    delivery: { dead: encodeId('dlv', dead!.id) },
    message: { any: encodeId('msg', dead!.messageId) },
    eventType: { common: TYPE, rare: RARE_TYPE, unused: UNUSED_TYPE },
    state: Object.fromEntries(
      ['pending', 'delivered', 'dead', 'cancelled', 'skipped'].map((state) => [state, state]),
    ),
    actor: { root: 'root', cli: 'cli' },
    after: { 'a day ago': daysAgo(1) },
    before: { '5 days ago': daysAgo(5) },
  }
}

interface ListFigures {
  name: string
  requests: number
  p50Ms: number
  p95Ms: number
}

async function measureLists({ platform }: Stage, values: ParameterValues): Promise<ListFigures[]> {
  const document = await platform.request<OpenApi>('GET', '/openapi.json')
  // An owner has no endpoint of another.
  const fits = (one: ChosenFilter, other: ChosenFilter) =>
    one.name !== 'owner' || other.name !== 'endpoint' || one.of === other.of
  const lists: ListFigures[] = []
  for (const request of listRequests(document, values, fits)) {
    lists.push(await measureList(platform, request))
  }
  return lists
}

/** First and second pages in turn; lists that have no second one are asked for their first again. */
async function measureList(platform: Stage['platform'], { name, path }: ListRequest): Promise<ListFigures> {
  const timesMs: number[] = []
  let cursor: string | null = null
  let spentMs = 0
  while (timesMs.length < REQUESTS && (spentMs < LIST_MS_MAX || timesMs.length < REQUESTS_MIN)) {
    const page: string = cursor === null ? '' : `${path.includes('?') ? '&' : '?'}cursor=${cursor}`
    const startedAt = performance.now()
    const { next } = await platform.request<{ next: string | null }>('GET', path + page)
    const tookMs = performance.now() - startedAt
    timesMs.push(tookMs)
    spentMs += tookMs
    cursor = cursor === null ? next : null
  }
  const at = (share: number) => Math.round(percentile(timesMs, share) * 10) / 10
  return { name, requests: timesMs.length, p50Ms: at(0.5), p95Ms: at(0.95) }
}

const round3 = (value: number) => Math.round(value * 1_000) / 1_000

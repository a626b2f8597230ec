import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { encodeId } from '@posthorn/contracts'
import {
  type DatabaseProxy,
  freePort,
  type NodeProcess,
  platformNodeOptions,
  spawnNode,
  startPostgres,
  startProxy,
  startRedis,
  TEST_MASTER_KEY,
  type TestPostgres,
  type TestRedis,
  waitFor,
} from '@posthorn/testkit'
import { Redis } from 'ioredis'
import pg from 'pg'
import { driveLoad, type Load, type Subscription } from './drive-load.ts'
import { type LedgerReceiver, startLedgerReceiver } from './ledger-receiver.ts'
import { mountSmallDisk, type SmallDisk } from './small-disk.ts'
import type { Recorded } from './verdict.ts'

export type Backend = 'postgres' | 'redis'

/** A script and its arguments. */
type Program = readonly [script: string, ...args: string[]]

/** One place in the platform, and the process that has it now. */
interface Slot {
  name: string
  /** Of the process that runs now. */
  readonly pid: number | undefined
  /** Resolves when it is ready. */
  start(env?: Record<string, string>): Promise<void>
  /** SIGKILL; resolves when it is gone. */
  kill(): Promise<void>
  /** SIGTERM; resolves when it is gone. */
  stop(): Promise<void>
  signal(signal: 'SIGSTOP' | 'SIGCONT'): void
  /** Lines of all its processes so far that hold `text`. */
  linesWith(text: string): string[]
}

/** The real processes. */
export interface Platform {
  backend: Backend
  /** Of the API. */
  url: string
  apiKey: string
  api: Slot
  workers: [Slot, Slot]
  postgres: TestPostgres
  /** Between the platform and its database. */
  proxy: DatabaseProxy
  /** On the Redis backend only. @returns what Redis answered */
  redisCommand(...command: [string, ...string[]]): Promise<unknown>
  readonly redis: TestRedis
  /** What the platform's tables are on; undefined where there may be none. */
  disk: SmallDisk | undefined
  /** To the API, as its operator. @returns the answer, whatever its status */
  request(method: string, path: string, body?: object): Promise<{ status: number; body: unknown }>
  /** Straight to the database, on a connection of its own. */
  query<Row extends pg.QueryResultRow>(text: string, values?: unknown[]): Promise<Row[]>
  /** Connections that the caller ends. */
  connectToDatabase(): Promise<pg.Client>
  readDatabaseLedger(): Promise<Recorded[]>
  close(): Promise<void>
}

/** The real processes, a receiver and a load: what faults are injected into. */
export interface Field extends Platform {
  receiver: LedgerReceiver
  load: Load
  subscriptions: readonly Subscription[]
  leaseMs: number
  attemptTimeoutMs: number
}

export interface PlatformOptions {
  backend: Backend
  /** In the place of the production's: see planted-worker.ts and planted-api.ts. */
  workerProgram?: Program
  apiProgram?: Program
  settings?: Record<string, string>
  /** False: straight to the database, not through `proxy`, and on no small disk: where time is measured. */
  isBreakable?: boolean
}

export interface FieldOptions extends PlatformOptions {
  seed: number
  perSecond: number
}

const CLI = fileURLToPath(new URL('../../cli/src/main.ts', import.meta.url))
const API_KEY = 'phk_faults_0123456789abcdef'
const OWNERS = 4
/** What each endpoint of an owner subscribes to. */
const ENDPOINT_TYPES = [['fault.common', 'fault.rare'], ['fault.common', 'fault.rare'], ['fault.common']]

/** Short, so that what a dead worker held is free again soon, and a run does not wait for retries. */
const LEASE_MS = 4_000
const ATTEMPT_TIMEOUT_MS = 2_000
const SETTINGS = {
  POSTHORN_LEASE: `${LEASE_MS}ms`,
  POSTHORN_ATTEMPT_TIMEOUT: `${ATTEMPT_TIMEOUT_MS}ms`,
  POSTHORN_CONNECT_TIMEOUT: '1s',
  POSTHORN_BREAKER_PAUSE: '500ms',
  POSTHORN_RETRY_DELAYS: ['300ms', '500ms', ...Array.from({ length: 48 }, () => '1s')].join(','),
}

export async function startPlatform(options: PlatformOptions): Promise<Platform> {
  const { backend, isBreakable = true } = options
  await using stack = new AsyncDisposableStack()
  // Commits are as durable as in production: the timing of faults should be too.
  const postgres = await startPostgres({
    settings: { fsync: 'on', full_page_writes: 'on', max_connections: '120' },
  })
  stack.defer(() => postgres.stop())
  const disk = isBreakable ? await putTablesOnSmallDisk(postgres) : undefined
  // Before PostgreSQL stops: what it holds open goes with it.
  stack.defer(async () => await disk?.unmount())
  const proxy = await startProxy(postgres.url)
  stack.defer(() => proxy.close())
  const redis = backend === 'redis' ? await startRedis() : undefined
  stack.defer(async () => await redis?.stop())

  const port = await freePort()
  const url = `http://127.0.0.1:${port}`
  const env: Record<string, string | undefined> = {
    ...withoutSettings(process.env),
    DATABASE_URL: isBreakable ? proxy.url : postgres.url,
    REDIS_URL: redis?.url,
    POSTHORN_PORT: String(port),
    POSTHORN_API_KEY: API_KEY,
    POSTHORN_MASTER_KEY: TEST_MASTER_KEY,
    POSTHORN_EGRESS_ALLOW: '127.0.0.0/8',
    ...options.settings,
  }
  const migrated = await spawnNode(CLI, ['migrate'], { env }).exited
  if (migrated.code !== 0) throw new Error('The database could not be migrated.')

  const workerProgram = options.workerProgram ?? [CLI, 'worker']
  const workers: [Slot, Slot] = [
    createSlot('worker 1', workerProgram, env, /worker\.ready/),
    createSlot('worker 2', workerProgram, env, /worker\.ready/),
  ]
  const api = createSlot('api', options.apiProgram ?? [CLI, 'api'], env, /api\.ready/)
  const slots = [api, ...workers]
  stack.defer(async () => {
    await Promise.all(slots.map((slot) => slot.kill()))
  })
  await Promise.all(slots.map((slot) => slot.start()))

  const connectToDatabase = async () => {
    const client = new pg.Client({ connectionString: postgres.url, connectionTimeoutMillis: 5_000 })
    client.on('error', () => {})
    await client.connect()
    return client
  }
  const query = async <Row extends pg.QueryResultRow>(text: string, values: unknown[] = []) => {
    const client = await connectToDatabase()
    try {
      return (await client.query<Row>(text, values)).rows
    } finally {
      await client.end().catch(() => {})
    }
  }

  const owned = stack.move()
  return {
    ...{ backend, url, apiKey: API_KEY, api, workers, postgres, proxy, disk },
    request: (method, path, body) => requestApi(url, method, path, body),
    get redis() {
      if (redis === undefined) throw new Error('There is no Redis on this backend.')
      return redis
    },
    async redisCommand(...[name, ...args]) {
      const client = new Redis(redis!.url, { maxRetriesPerRequest: 1 })
      client.on('error', () => {})
      try {
        return await client.call(name, ...args)
      } finally {
        client.disconnect()
      }
    },
    query,
    connectToDatabase,
    readDatabaseLedger: () => readDatabaseLedger(query),
    close: () => owned.disposeAsync(),
  }
}

export async function startField(options: FieldOptions): Promise<Field> {
  const { perSecond, seed } = options
  await using stack = new AsyncDisposableStack()
  const platform = await startPlatform({ ...options, settings: { ...SETTINGS, ...options.settings } })
  stack.defer(platform.close)
  const { url, apiKey, request } = platform

  let load: Load | undefined
  const receiver = await startLedgerReceiver({
    isUnaltered: (id, body) => load!.isUnaltered(id, body),
    onTaken: (key) => load!.taken(key),
  })
  stack.defer(() => receiver.close())
  const subscriptions = await register(request, receiver)
  load = driveLoad({ url, apiKey, subscriptions, perSecond, seed })
  const started = load
  stack.defer(() => started.close())

  const owned = stack.move()
  return Object.assign(platform, {
    ...{ receiver, load, subscriptions },
    leaseMs: LEASE_MS,
    attemptTimeoutMs: ATTEMPT_TIMEOUT_MS,
    close: () => owned.disposeAsync(),
  })
}

/** Of the tables that are made from now on; the write-ahead log is where it was. */
async function putTablesOnSmallDisk({ url, dataDir }: TestPostgres): Promise<SmallDisk | undefined> {
  const disk = await mountSmallDisk(dataDir)
  if (disk === undefined) return undefined
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  try {
    await client.query(`CREATE TABLESPACE small LOCATION '${disk.dir}'`)
    await client.query('ALTER ROLE ALL SET default_tablespace = small')
    return disk
  } catch (error) {
    await disk.unmount()
    throw error
  } finally {
    await client.end()
  }
}

function withoutSettings(env: NodeJS.ProcessEnv): Record<string, undefined> {
  const names = Object.keys(env).filter((name) => name.startsWith('POSTHORN_'))
  return Object.fromEntries(names.map((name) => [name, undefined]))
}

function createSlot(
  name: string,
  [script, ...args]: Program,
  env: Record<string, string | undefined>,
  ready: RegExp,
): Slot {
  let current: NodeProcess | undefined
  const earlier: string[] = []
  const end = async (signal: 'SIGKILL' | 'SIGTERM') => {
    const ending = current
    if (ending === undefined) return
    current = undefined
    ending.kill(signal)
    if (signal === 'SIGTERM') await Promise.race([ending.exited, delay(40_000, undefined, { ref: false })])
    ending.kill('SIGKILL')
    await ending.exited
    // A run of an hour starts many processes: of each, the last words are enough.
    earlier.push((ending.stdout() + ending.stderr()).slice(-200_000))
    if (earlier.length > 5) earlier.shift()
  }
  return {
    name,
    get pid() {
      return current?.pid
    },
    async start(more = {}) {
      const started = spawnNode(script, args, {
        env: { NODE_OPTIONS: platformNodeOptions(), ...env, ...more },
      })
      current = started
      await started.waitForLine(ready, 60_000)
    },
    kill: () => end('SIGKILL'),
    stop: () => end('SIGTERM'),
    signal(signal) {
      current?.kill(signal)
    },
    linesWith(text) {
      const all = [...earlier, current === undefined ? '' : current.stdout() + current.stderr()]
      return all.flatMap((output) => output.split('\n')).filter((line) => line.includes(text))
    },
  }
}

async function requestApi(url: string, method: string, path: string, body: object | undefined) {
  const response = await fetch(`${url}${path}`, {
    method,
    headers: { authorization: `Bearer ${API_KEY}`, 'content-type': 'application/json' },
    ...(body !== undefined && { body: JSON.stringify(body) }),
  })
  return { status: response.status, body: (await response.json()) as unknown }
}

async function register(request: Platform['request'], receiver: LedgerReceiver): Promise<Subscription[]> {
  const post = async (path: string, body: object) => {
    const answer = await request('POST', path, body)
    if (answer.status >= 300) throw new Error(`${path}: ${answer.status} ${JSON.stringify(answer.body)}`)
    return answer.body as { id: string; secret: string }
  }
  const types = ENDPOINT_TYPES[0]!
  for (const name of types) await post('/v1/event-types', { name })
  const subscriptions: Subscription[] = []
  for (let ownerAt = 0; ownerAt < OWNERS; ownerAt++) {
    const owner = `owner-${ownerAt}`
    await post('/v1/owners', { uid: owner })
    const endpoints: { id: string; eventTypes: string[] }[] = []
    for (const [endpointAt, eventTypes] of ENDPOINT_TYPES.entries()) {
      const path = `/${ownerAt}/${endpointAt}`
      const endpoint = await post(`/v1/owners/${owner}/endpoints`, { url: receiver.url + path, eventTypes })
      receiver.trust(path, endpoint)
      endpoints.push({ id: endpoint.id, eventTypes })
    }
    for (const type of types) {
      const matching = endpoints.filter(({ eventTypes }) => eventTypes.includes(type))
      subscriptions.push({ owner, type, endpoints: matching.map(({ id }) => id) })
    }
  }
  return subscriptions
}

interface LedgerRow {
  message_id: string
  endpoint_id: string
  state: string
  attempts: number
  logged: number
  unanswered: number
  last_outcome: string | null
  overdue_ms: number | null
}

async function readDatabaseLedger(
  query: <Row extends pg.QueryResultRow>(text: string) => Promise<Row[]>,
): Promise<Recorded[]> {
  const rows = await query<LedgerRow>(
    `SELECT d.message_id, d.endpoint_id, d.state::text, d.attempts, coalesce(a.logged, 0)::int AS logged,
       coalesce(a.unanswered, 0)::int AS unanswered,
       a.last_outcome, extract(epoch FROM now() - d.due_at)::float8 * 1000 AS overdue_ms
     FROM deliveries d
     LEFT JOIN (
       SELECT delivery_id, count(*) AS logged,
         count(*) FILTER (WHERE outcome NOT IN ('delivered', 'rejected')) AS unanswered, (array_agg(outcome ORDER BY number DESC))[1] AS last_outcome
       FROM attempts_all GROUP BY delivery_id
     ) a ON a.delivery_id = d.id`,
  )
  return rows.map((row) => ({
    id: encodeId('msg', row.message_id),
    endpoint: encodeId('ep', row.endpoint_id),
    state: row.state,
    attempts: row.attempts,
    logged: row.logged,
    unanswered: row.unanswered,
    lastOutcome: row.last_outcome ?? undefined,
    overdueMs: row.overdue_ms ?? undefined,
  }))
}

/** Resolves when nothing waits any more, or rejects after `boundMs`. */
export async function settle(field: Field, boundMs: number): Promise<void> {
  field.load.pause()
  await waitFor(
    async () => {
      if (field.load.unanswered > 0 || field.load.outstanding > 0) return false
      const [row] = await field.query<{ pending: number }>(
        'SELECT count(*)::int AS pending FROM deliveries_pending',
      )
      return row!.pending === 0
    },
    { timeoutMs: boundMs, message: () => `${field.load.outstanding} deliveries` },
  )
}

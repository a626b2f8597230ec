import { randomBytes } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import {
  freePort,
  type NodeProcess,
  platformNodeOptions,
  processSize,
  spawnNode,
  startPostgres,
  startRedis,
  waitFor,
} from '@posthorn/testkit'
import { Redis } from 'ioredis'
import pg from 'pg'
import { ALLOWED_CIDR, WORKER_PORTS } from './addresses.ts'
import { type Guard, TAKEN_OUT } from './guards.ts'

export type Backend = 'postgres' | 'redis'

/** What the operator of the platform keeps secret, with a mark in it by which it is found again. */
interface OperatorSecrets {
  apiKey: string
  masterKey: string
  proxyPassword: string
}

interface Answer {
  status: number
  headers: Headers
  text: string
  // biome-ignore lint/suspicious/noExplicitAny: the suite looks into it freely
  body: any
}

export interface Holdings {
  /** Slots. */
  inFlight: number
  rssMb: number
  /** As it was before the garbage collection. */
  rssFoundMb: number
  /** Of the heap and of what it has outside, such as buffers. */
  inUseMb: number
  sockets: number
  /** The longest that the worker stood still since it was asked before. */
  stallMs: number
}

/** The real processes, on stores of their own. */
export interface Platform {
  backend: Backend
  /** Of the API that lets endpoints on 127.77.0.0/16 through. */
  url: string
  /** Of one with no exceptions at all, on the same database. */
  strictUrl: string
  /** Of one that is set up as SECURITY.md says under "A hardened set-up", with low limits of requests. */
  hardenedUrl: string
  secrets: OperatorSecrets
  /** Its settings, as the worker has them. */
  attemptTimeoutMs: number
  payloadBytesMax: number
  /** How long nothing may come of what was sent, until it is taken for lost. */
  patienceMs: number
  /** @param options.key null: none */
  request(
    method: string,
    path: string,
    options?: {
      body?: unknown
      headers?: Record<string, string>
      key?: string | null
      /** Default: the one that lets endpoints on 127.77.0.0/16 through. */
      at?: 'strict' | 'hardened'
      signal?: AbortSignal
    },
  ): Promise<Answer>
  /** As `request`, for what has to succeed. */
  make(method: string, path: string, body?: unknown): Promise<Answer['body']>
  query<Row extends pg.QueryResultRow>(text: string, values?: unknown[]): Promise<Row[]>
  /** What the worker holds now; when nothing is in flight, after a garbage collection that gives back free pages. */
  workerHolds(): Promise<Holdings>
  /** Runs something while the worker stands still. */
  withoutWorker<T>(act: () => Promise<T>): Promise<T>
  /** Of the processes that deliver: API, worker and PostgreSQL. */
  pids: { api: number; worker: number; postgres: number }
  /** Runs a script of the suite with the settings of the worker, and these. @returns what it printed */
  run(script: string, args: readonly string[], settings?: Record<string, string>): Promise<string>
  /** All that its processes said. */
  logs(): string
  /** Every key and value of the queue's store, as text. */
  dumpQueue(): Promise<string>
  /** Every row of every table, as text. */
  dumpTables(): Promise<string>
  close(): Promise<void>
}

export interface PlatformOptions {
  backend: Backend
  /** Of the DNS server. */
  dnsPort: number
  /** Is taken out of its processes. */
  without?: Guard | undefined
}

const CLI = fileURLToPath(new URL('../../cli/src/main.ts', import.meta.url))
const TAKE_OUT = new URL('./take-out-guard.ts', import.meta.url)
const WORKER = fileURLToPath(new URL('./abused-worker.ts', import.meta.url))
const AUTHORITY = fileURLToPath(new URL('./certificates/ca.pem', import.meta.url))
const ATTEMPT_TIMEOUT_MS = 3_000
const CONNECT_TIMEOUT_MS = 2_000
const CUT_MAX = 20
const PAYLOAD_BYTES_MAX = 16_777_216
const PATIENCE_MS = 30_000
/** Without a guard, what is lost is expected to be. */
const PATIENCE_WITHOUT_MS = 8_000

export async function startPlatform({ backend, dnsPort, without }: PlatformOptions): Promise<Platform> {
  await using stack = new AsyncDisposableStack()
  const postgres = await startPostgres()
  stack.defer(() => postgres.stop())
  const redis = backend === 'redis' ? await startRedis() : undefined
  stack.defer(async () => await redis?.stop())

  const dir = mkdtempSync(join(tmpdir(), 'posthorn-abuse-'))
  stack.defer(() => rmSync(dir, { recursive: true, force: true }))
  const workerLog = join(dir, 'worker.log')

  const secrets: OperatorSecrets = {
    apiKey: `phk_canary${randomBytes(16).toString('hex')}`,
    masterKey: randomBytes(32).toString('base64'),
    proxyPassword: `canary${randomBytes(16).toString('hex')}`,
  }
  const base: Record<string, string | undefined> = {
    ...Object.fromEntries(
      Object.keys(process.env)
        .filter((name) => name.startsWith('POSTHORN_'))
        .map((name) => [name, undefined]),
    ),
    NODE_OPTIONS: `${platformNodeOptions()}${without === undefined ? '' : ` --import ${TAKE_OUT}`}`,
    POSTHORN_TEST_WITHOUT: without?.name,
    DATABASE_URL: postgres.url,
    REDIS_URL: redis?.url,
    POSTHORN_API_KEY: secrets.apiKey,
    POSTHORN_MASTER_KEY: secrets.masterKey,
    POSTHORN_PAYLOAD_MAX: String(PAYLOAD_BYTES_MAX),
    POSTHORN_ATTEMPT_TIMEOUT: `${ATTEMPT_TIMEOUT_MS}ms`,
    POSTHORN_CONNECT_TIMEOUT: `${CONNECT_TIMEOUT_MS}ms`,
    POSTHORN_ENDPOINT_CONCURRENCY: '10',
    POSTHORN_WORKER_CONCURRENCY: '200',
    POSTHORN_DISABLE_AFTER: 'off',
    // Of which the suite makes more than anybody else.
    POSTHORN_AUTH_FAILURE_LIMIT: 'off',
    POSTHORN_API_RATE_LIMIT: 'off',
    // Everything is said: what leaks at some level leaks.
    POSTHORN_LOG_LEVEL: 'trace',
    // Trusted like the system's own, so that a certificate is refused for what is wrong with it.
    NODE_EXTRA_CA_CERTS: AUTHORITY,
  }
  const exempted = { ...base, POSTHORN_EGRESS_ALLOW: ALLOWED_CIDR }
  const hardened = {
    ...base,
    POSTHORN_EGRESS_HTTPS_ONLY: 'true',
    POSTHORN_EGRESS_PORTS: '443',
    POSTHORN_AUTH_FAILURE_LIMIT: '10',
    POSTHORN_API_RATE_LIMIT: '1',
  }
  const [port, strictPort, hardenedPort] = [await freePort(), await freePort(), await freePort()]
  const processes: NodeProcess[] = []
  let closing = false
  stack.defer(async () => {
    closing = true
    await Promise.all(processes.map((running) => running.stop()))
  })
  const start = async (script: string, args: string[], env: typeof base, ready: RegExp) => {
    const running = spawnNode(script, args, { env })
    processes.push(running)
    await running.waitForLine(ready, 120_000)
    void running.exited.then(({ code, signal }) => {
      if (!closing)
        process.stderr.write(`${script} ended by itself (${code ?? signal}):\n${lastLines(running)}\n`)
    })
    return running
  }
  const migrated = spawnNode(CLI, ['migrate'], { env: base })
  processes.push(migrated)
  if ((await migrated.exited).code !== 0) throw new Error(`migrate failed: ${migrated.stderr()}`)
  const [worker, api] = await Promise.all([
    start(
      WORKER,
      [],
      {
        ...exempted,
        POSTHORN_TEST_DNS: `127.0.0.1:${dnsPort}`,
        POSTHORN_TEST_LOG: workerLog,
        POSTHORN_EGRESS_PORTS: WORKER_PORTS,
      },
      /worker\.ready/,
    ),
    start(
      CLI,
      ['api'],
      {
        ...exempted,
        POSTHORN_PORT: String(port),
        // An API sends nothing, so the proxy need not be there; its password is.
        POSTHORN_EGRESS_PROXY: `http://operator:${secrets.proxyPassword}@127.0.0.1:9`,
      },
      /api\.ready/,
    ),
    start(CLI, ['api'], { ...base, POSTHORN_PORT: String(strictPort) }, /api\.ready/),
    start(CLI, ['api'], { ...hardened, POSTHORN_PORT: String(hardenedPort) }, /api\.ready/),
  ])
  for (const file of new Set(without?.edits.map((edit) => edit.file))) {
    const isOut = processes.some((running) => running.stderr().includes(`${TAKEN_OUT} ${file}\n`))
    if (!isOut) throw new Error(`No process reads ${file}: ${without?.name} was not taken out.`)
  }
  const pool = new pg.Pool({ connectionString: postgres.url, max: 4 })
  pool.on('error', () => {})
  stack.defer(() => pool.end())
  const queue = redis === undefined ? undefined : new Redis(redis.url, { maxRetriesPerRequest: 1 })
  queue?.on('error', () => {})
  stack.defer(async () => queue?.disconnect())

  const url = `http://127.0.0.1:${port}`
  const strictUrl = `http://127.0.0.1:${strictPort}`
  const hardenedUrl = `http://127.0.0.1:${hardenedPort}`
  const query = async <Row extends pg.QueryResultRow>(text: string, values: unknown[] = []) =>
    (await pool.query<Row>(text, values)).rows

  const request: Platform['request'] = async (method, path, options = {}) => {
    const { body, key = secrets.apiKey, headers = {}, at, signal } = options
    const isRaw = body === undefined || typeof body === 'string' || body instanceof Uint8Array
    const send = () =>
      fetch(`${at === undefined ? url : { strict: strictUrl, hardened: hardenedUrl }[at]}${path}`, {
        method,
        headers: {
          ...(body !== undefined && { 'content-type': 'application/json' }),
          ...(key !== null && { authorization: `Bearer ${key}` }),
          ...headers,
        },
        ...(body !== undefined && { body: isRaw ? (body as string) : JSON.stringify(body) }),
        redirect: 'manual',
        signal: signal ?? AbortSignal.timeout(30_000),
      })
    const response = await whileNotCut(send)
    const text = await response.text()
    const isJson = /json/.test(response.headers.get('content-type') ?? '')
    return {
      status: response.status,
      headers: response.headers,
      text,
      body: isJson ? (JSON.parse(text) as unknown) : undefined,
    }
  }

  const tables = async (schemas: string) => {
    const found = await query<{ name: string }>(
      `SELECT format('%I.%I', n.nspname, c.relname) AS name FROM pg_class c
       JOIN pg_namespace n ON n.oid = c.relnamespace
       WHERE c.relkind = 'r' AND n.nspname ${schemas}`,
    )
    const rows = await Promise.all(
      found.map(({ name }) => query<{ row: string }>(`SELECT t::text AS row FROM ${name} t`)),
    )
    return rows.flat().map(({ row }) => row)
  }

  const owned = stack.move()
  return {
    ...{ backend, url, strictUrl, hardenedUrl, secrets, request, query },
    pids: { api: api.pid, worker: worker.pid, postgres: postgres.pid },
    patienceMs: without === undefined ? PATIENCE_MS : PATIENCE_WITHOUT_MS,
    attemptTimeoutMs: ATTEMPT_TIMEOUT_MS,
    payloadBytesMax: PAYLOAD_BYTES_MAX,
    async make(method, path, body) {
      const answer = await request(method, path, { body })
      if (answer.status >= 300) throw new Error(`${method} ${path}: ${answer.status} ${answer.text}`)
      return answer.body as unknown
    },
    async workerHolds() {
      const said = () =>
        worker
          .stdout()
          .split('\n')
          .filter((line) => line.startsWith('{"holds"'))
      const before = said().length
      process.kill(worker.pid, 'SIGWINCH')
      await waitFor(() => said().length > before, { message: 'the worker to say what it holds' })
      const { holds } = JSON.parse(said().at(-1)!) as {
        holds: { inFlight: number; rss: number; rssFound: number; inUse: number; stallMs: number }
      }
      const { inFlight, rss, rssFound, inUse, stallMs } = holds
      const sockets = processSize(worker.pid).sockets
      const megabytes = { rssMb: rss / 1e6, rssFoundMb: rssFound / 1e6, inUseMb: inUse / 1e6 }
      return { inFlight, stallMs, sockets, ...megabytes }
    },
    async withoutWorker(act) {
      process.kill(worker.pid, 'SIGSTOP')
      try {
        return await act()
      } finally {
        process.kill(worker.pid, 'SIGCONT')
      }
    },
    async run(script, args, settings = {}) {
      const env = { ...exempted, ...settings }
      const running = spawnNode(fileURLToPath(new URL(script, import.meta.url)), [...args], { env })
      processes.push(running)
      const { code } = await running.exited
      if (code !== 0) throw new Error(`${script} ended with ${code}: ${running.stderr()}`)
      return running.stdout()
    },
    logs: () =>
      [
        readFileSync(workerLog, 'utf8'),
        ...processes.map((running) => running.stdout() + running.stderr()),
      ].join('\n'),
    async dumpQueue() {
      if (queue === undefined) return (await tables("LIKE 'posthorn\\_queue%'")).join('\n')
      const dumped: string[] = []
      for (const key of await queue.keys('*')) {
        const value = await queue.dumpBuffer(key)
        const readable = await readRedis(queue, key)
        dumped.push(`${key} ${readable} ${value?.toString('latin1') ?? ''}`)
      }
      return dumped.join('\n')
    },
    dumpTables: async () => (await tables("NOT IN ('pg_catalog', 'information_schema')")).join('\n'),
    close: () => owned.disposeAsync(),
  }
}

/**
 * A request that is refused for its size is answered before all of it is sent, and then the connection is closed.
 * Whether the answer is read before the next write fails is chance.
 */
async function whileNotCut(send: () => Promise<Response>): Promise<Response> {
  for (let tries = 1; ; tries++) {
    try {
      return await send()
    } catch (error) {
      const { code } = ((error as Error).cause ?? {}) as NodeJS.ErrnoException
      if (tries === CUT_MAX || (code !== 'EPIPE' && code !== 'ECONNRESET')) throw error
    }
  }
}

function lastLines(running: NodeProcess): string {
  return `${running.stdout().slice(-2_000)}${running.stderr().slice(-4_000)}`
}

/** DUMP compresses long strings. */
async function readRedis(redis: Redis, key: string): Promise<string> {
  switch (await redis.type(key)) {
    case 'string':
      return (await redis.get(key)) ?? ''
    case 'hash':
      return JSON.stringify(await redis.hgetall(key))
    case 'list':
      return JSON.stringify(await redis.lrange(key, 0, -1))
    case 'set':
      return JSON.stringify(await redis.smembers(key))
    case 'zset':
      return JSON.stringify(await redis.zrange(key, '0', '-1'))
    case 'stream':
      return JSON.stringify(await redis.xrange(key, '-', '+'))
    default:
      return ''
  }
}

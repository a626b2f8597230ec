import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { startEmbeddedPostgres } from '@posthorn/embedded'
import type { QueueTarget } from '@posthorn/emitter'
import {
  cpuSeconds,
  freePort,
  type NodeProcess,
  platformNodeOptions,
  spawnNode,
  startRedis,
  TEST_MASTER_KEY,
  waitFor,
} from '@posthorn/testkit'
import pg from 'pg'

export type Backend = 'postgres' | 'redis'

/** CPU seconds so far, by what spent them. */
export type CpuSeconds = Record<'api' | 'worker' | 'postgres' | 'redis', number>

/** The real processes, as users run them: commits are flushed, and Redis flushes every second. */
export interface BenchPlatform {
  url: string
  /** Of every API there is now. */
  urls: readonly string[]
  apiKey: string
  /** For applications that emit straight into it. */
  queue: QueueTarget
  request<Answer>(method: string, path: string, body?: unknown): Promise<Answer>
  query<Row extends pg.QueryResultRow>(text: string): Promise<Row[]>
  pids: { api: number; worker: number }
  databaseUrl: string
  /** Where there is a Redis. */
  redisPort: number | undefined
  /** Of every API and every worker there is now. */
  cpuSeconds(): CpuSeconds
  /** One more of these processes, on the same stores. */
  start(name: 'api' | 'worker', settings: Record<string, string>): NodeProcess
  /** One more API, on a port of its own, and one more worker, which count until they are closed. */
  addProcesses(): Promise<AddedProcesses>
  close(): Promise<void>
}

interface AddedProcesses {
  cpuSeconds(): Pick<CpuSeconds, 'api' | 'worker'>
  close(): Promise<void>
}

export const CLI = fileURLToPath(new URL('../../cli/src/main.ts', import.meta.url))
const API_KEY = 'phk_bench_0123456789abcdef'

/** @param profileDir where CPU profiles of the API and the worker are written when they end */
export async function startPlatform(backend: Backend, profileDir?: string): Promise<BenchPlatform> {
  await using stack = new AsyncDisposableStack()
  const dir = await mkdtemp(join(tmpdir(), 'posthorn-bench-'))
  stack.defer(() => rm(dir, { recursive: true, force: true }))
  const postgres = await startEmbeddedPostgres({ dataDir: dir })
  // For root the data is not in there: the server runs as a user who cannot enter it.
  stack.defer(() => rm(postgres.dataDir, { recursive: true, force: true }))
  stack.defer(() => postgres.stop())
  const redis = backend === 'redis' ? await startRedis({ settings: { appendfsync: 'everysec' } }) : undefined
  stack.defer(async () => await redis?.stop())

  const port = await freePort()
  const env = {
    DATABASE_URL: postgres.url,
    REDIS_URL: redis?.url,
    POSTHORN_PORT: String(port),
    POSTHORN_API_KEY: API_KEY,
    POSTHORN_MASTER_KEY: TEST_MASTER_KEY,
    POSTHORN_EGRESS_ALLOW: '127.0.0.0/8',
    POSTHORN_LOG_LEVEL: 'warn',
    NODE_OPTIONS: platformNodeOptions(),
  }
  const migrated = await spawnNode(CLI, ['migrate'], { env }).exited
  if (migrated.code !== 0) throw new Error('The database could not be migrated.')
  const start: BenchPlatform['start'] = (name, settings) =>
    spawnNode(CLI, [name], { env: { ...env, ...settings } })
  const startMeasured = (name: 'api' | 'worker') => {
    const profiling = `--cpu-prof --cpu-prof-dir=${profileDir} --cpu-prof-name=${name}.cpuprofile`
    return start(name, profileDir === undefined ? {} : { NODE_OPTIONS: `${env.NODE_OPTIONS} ${profiling}` })
  }
  const worker = startMeasured('worker')
  stack.defer(() => worker.stop())
  const api = startMeasured('api')
  stack.defer(() => api.stop())
  const url = `http://127.0.0.1:${port}`
  await untilReady(url)

  const database = new pg.Client({ connectionString: postgres.url })
  await database.connect()
  stack.defer(() => database.end())
  const urls = [url]
  const pids = { api: [api.pid], worker: [worker.pid] }
  const sumOf = (some: readonly number[]) => some.reduce((sum, pid) => sum + cpuSeconds(pid), 0)

  async function addProcesses(): Promise<AddedProcesses> {
    const addedPort = await freePort()
    const addedUrl = `http://127.0.0.1:${addedPort}`
    const added = {
      api: start('api', { POSTHORN_PORT: String(addedPort) }),
      worker: start('worker', {}),
    }
    await untilReady(addedUrl)
    urls.push(addedUrl)
    pids.api.push(added.api.pid)
    pids.worker.push(added.worker.pid)
    return {
      cpuSeconds: () => ({ api: cpuSeconds(added.api.pid), worker: cpuSeconds(added.worker.pid) }),
      async close() {
        urls.splice(urls.indexOf(addedUrl), 1)
        for (const name of ['api', 'worker'] as const)
          pids[name].splice(pids[name].indexOf(added[name].pid), 1)
        await Promise.all([added.api.stop(), added.worker.stop()])
      },
    }
  }

  const owned = stack.move()
  return {
    ...{ url, urls, apiKey: API_KEY, pids: { api: api.pid, worker: worker.pid }, start, addProcesses },
    queue: redis === undefined ? { databaseUrl: postgres.url } : { redisUrl: redis.url },
    ...{ databaseUrl: postgres.url, redisPort: redis?.port },
    async request<Answer>(method: string, path: string, body?: unknown) {
      const response = await fetch(url + path, {
        method,
        headers: { authorization: `Bearer ${API_KEY}`, 'content-type': 'application/json' },
        ...(body !== undefined && { body: JSON.stringify(body) }),
      })
      if (!response.ok) throw new Error(`${path}: ${response.status} ${await response.text()}`)
      const text = await response.text()
      return (text === '' ? undefined : JSON.parse(text)) as Answer
    },
    query: async (text) => (await database.query(text)).rows,
    cpuSeconds: () => ({
      api: sumOf(pids.api),
      worker: sumOf(pids.worker),
      postgres: cpuSeconds(postgres.pid),
      redis: redis?.pid === undefined ? 0 : cpuSeconds(redis.pid),
    }),
    close: () => owned.disposeAsync(),
  }
}

async function untilReady(url: string): Promise<void> {
  const isReady = () =>
    fetch(`${url}/readyz`).then(
      ({ ok }) => ok,
      () => false,
    )
  await waitFor(isReady, { timeoutMs: 30_000, message: 'the API to be ready' })
}

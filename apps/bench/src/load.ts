// Emits through the SDK into a real platform (API and worker processes, PostgreSQL with durable commits,
// Redis where there is one) and says what arrived, how fast, and how much memory it took.
//
//   npx -y pnpm@12.21.0 load [--messages 10000] [--callers 64] [--backend postgres|redis]
//
// Ends non-zero when anything was lost or doubled, or is not `delivered` in the log.
import { execFileSync } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { startEmbeddedPostgres } from '@posthorn/embedded'
import { Posthorn } from '@posthorn/emitter'
import { freePort, ownRedisAvailable, spawnNode, startRedis, waitFor } from '@posthorn/testkit'
import pg from 'pg'

const CLI = fileURLToPath(new URL('../../cli/src/main.ts', import.meta.url))
const API_KEY = 'phk_load_0123456789abcdef'
const EVENT_TYPE = 'pay_info.paid'
const PAYLOAD_BYTES = 1_000

const { values } = parseArgs({
  options: {
    messages: { type: 'string', default: '10000' },
    callers: { type: 'string', default: '64' },
    backend: { type: 'string' },
  },
})
const messages = Number(values.messages)
const callers = Number(values.callers)
const backends = values.backend ? [values.backend] : ['postgres', ...(ownRedisAvailable() ? ['redis'] : [])]
if (!ownRedisAvailable()) print('There is no redis-server here: the Redis backend is left out.')

let failed = false
for (const backend of backends) {
  const report = await run(backend as 'postgres' | 'redis')
  failed ||= report.lost > 0 || report.doubled > 0 || report.notDelivered > 0
  print(JSON.stringify(report))
}
process.exit(failed ? 1 : 0)

async function run(backend: 'postgres' | 'redis') {
  await using stack = new AsyncDisposableStack()
  const dir = await mkdtemp(join(tmpdir(), 'posthorn-load-'))
  stack.defer(() => rm(dir, { recursive: true, force: true }))
  const postgres = await startEmbeddedPostgres({ dataDir: dir })
  stack.defer(() => postgres.stop())
  const redis = backend === 'redis' ? await startRedis({ settings: { appendfsync: 'everysec' } }) : undefined
  stack.defer(async () => await redis?.stop())

  const port = await freePort()
  const env = {
    DATABASE_URL: postgres.url,
    REDIS_URL: redis?.url,
    POSTHORN_PORT: String(port),
    POSTHORN_API_KEY: API_KEY,
    POSTHORN_EGRESS_ALLOW: '127.0.0.0/8',
    POSTHORN_LOG_LEVEL: 'warn',
  }
  await spawnNode(CLI, ['migrate'], { env }).exited
  const worker = spawnNode(CLI, ['worker'], { env })
  stack.defer(() => worker.stop())
  const api = spawnNode(CLI, ['api'], { env })
  stack.defer(() => api.stop())
  for (const child of [api, worker])
    void child.exited.then(() => process.stderr.write(child.stdout() + child.stderr()))
  const url = `http://127.0.0.1:${port}`
  await waitFor(
    () =>
      fetch(`${url}/readyz`).then(
        (response) => response.ok,
        () => false,
      ),
    { timeoutMs: 30_000 },
  )

  const received = await receive()
  stack.defer(() => received.close())
  await register(url, received.url)

  await using posthorn = new Posthorn({ url, apiKey: API_KEY })
  const data = { order_num: '1', text: 'x'.repeat(PAYLOAD_BYTES) }
  const emitted = new Set<string>()
  async function emitAll(count: number): Promise<void> {
    let left = count
    const caller = async () => {
      while (left-- > 0) emitted.add((await posthorn.emit(EVENT_TYPE, data, { owner: 'acme' })).id)
    }
    await Promise.all(Array.from({ length: callers }, caller))
  }
  const arrived = () => waitFor(() => received.ids.size >= emitted.size, { timeoutMs: 120_000 })

  // Warm: what a process allocates once is not growth.
  await emitAll(Math.ceil(messages / 5))
  await arrived()
  const before = {
    api: rssMb(api.pid),
    worker: rssMb(worker.pid),
  }
  const startedAt = performance.now()
  const firstCount = emitted.size
  await emitAll(messages)
  const emittedAt = performance.now()
  await arrived().catch(() => {})
  const arrivedAt = performance.now()
  const counted = emitted.size - firstCount

  const database = new pg.Client({ connectionString: postgres.url })
  await database.connect()
  const countNotDelivered = async () => {
    const { rows } = await database.query(`SELECT count(*)::int FROM deliveries WHERE state <> 'delivered'`)
    return rows[0].count as number
  }
  // The receiver knows of a delivery a moment before the log does.
  await waitFor(async () => (await countNotDelivered()) === 0, { timeoutMs: 20_000 }).catch(() => {})
  const notDelivered = await countNotDelivered()
  await database.end()
  return {
    backend,
    messages: counted,
    callers,
    lost: [...emitted].filter((id) => !received.ids.has(id)).length,
    doubled: received.doubled(),
    notDelivered,
    acceptedPerSecond: Math.round(counted / ((emittedAt - startedAt) / 1_000)),
    deliveredPerSecond: Math.round(counted / ((arrivedAt - startedAt) / 1_000)),
    apiRssMb: rssMb(api.pid),
    apiRssGrowthMb: rssMb(api.pid) - before.api,
    workerRssMb: rssMb(worker.pid),
    workerRssGrowthMb: rssMb(worker.pid) - before.worker,
  }
}

async function receive() {
  const ids = new Set<string>()
  let requests = 0
  const server = createServer((request, response) => {
    requests += 1
    ids.add(request.headers['webhook-id'] as string)
    request.resume().on('end', () => response.writeHead(204).end())
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    ids,
    doubled: () => requests - ids.size,
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    close: async () => {
      server.closeAllConnections()
      server.close()
    },
  }
}

async function register(url: string, receiverUrl: string): Promise<void> {
  const post = async (path: string, body: unknown) => {
    const response = await fetch(`${url}${path}`, {
      method: 'POST',
      headers: { authorization: `Bearer ${API_KEY}`, 'content-type': 'application/json' },
      body: JSON.stringify(body),
    })
    if (!response.ok) throw new Error(`${path}: ${response.status} ${await response.text()}`)
  }
  await post('/v1/event-types', { name: EVENT_TYPE })
  await post('/v1/owners', { uid: 'acme' })
  await post('/v1/owners/acme/endpoints', { url: receiverUrl, eventTypes: [EVENT_TYPE] })
}

function rssMb(pid: number): number {
  return Math.round(
    Number(execFileSync('ps', ['-o', 'rss=', '-p', String(pid)], { encoding: 'utf8' })) / 1024,
  )
}

function print(line: string): void {
  process.stdout.write(`${line}\n`)
}

// Emits through the SDK into a real platform (API and worker processes, PostgreSQL with durable commits,
// Redis where there is one) and says what arrived, how fast, and how much memory it took.
//
//   npx -y pnpm@12.21.0 load [--messages 10000] [--callers 64] [--backend postgres|redis]
//
// Ends non-zero when anything was lost or doubled, or is not `delivered` in the log.
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { parseArgs } from 'node:util'
import { Posthorn } from '@posthorn/emitter'
import { ownRedisAvailable, processSize, waitFor } from '@posthorn/testkit'
import { type Backend, startPlatform } from './start-platform.ts'

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
  const report = await run(backend as Backend)
  failed ||= report.lost > 0 || report.doubled > 0 || report.notDelivered > 0
  print(JSON.stringify(report))
}
process.exit(failed ? 1 : 0)

async function run(backend: Backend) {
  await using stack = new AsyncDisposableStack()
  const platform = await startPlatform(backend)
  stack.defer(platform.close)
  const { url, apiKey, pids } = platform

  const received = await receive()
  stack.defer(() => received.close())
  await platform.request('POST', '/v1/event-types', { name: EVENT_TYPE })
  await platform.request('POST', '/v1/owners', { uid: 'acme' })
  const endpoint = { url: received.url, eventTypes: [EVENT_TYPE] }
  await platform.request('POST', '/v1/owners/acme/endpoints', endpoint)

  await using posthorn = new Posthorn({ url, apiKey })
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
    api: processSize(pids.api).rssMb,
    worker: processSize(pids.worker).rssMb,
  }
  const startedAt = performance.now()
  const firstCount = emitted.size
  await emitAll(messages)
  const emittedAt = performance.now()
  await arrived().catch(() => {})
  const arrivedAt = performance.now()
  const counted = emitted.size - firstCount

  const countNotDelivered = async () => {
    const [row] = await platform.query<{ count: number }>(
      `SELECT count(*)::int FROM deliveries WHERE state <> 'delivered'`,
    )
    return row!.count
  }
  // The receiver knows of a delivery a moment before the log does.
  await waitFor(async () => (await countNotDelivered()) === 0, { timeoutMs: 20_000 }).catch(() => {})
  const notDelivered = await countNotDelivered()
  return {
    backend,
    messages: counted,
    callers,
    lost: [...emitted].filter((id) => !received.ids.has(id)).length,
    doubled: received.doubled(),
    notDelivered,
    acceptedPerSecond: Math.round(counted / ((emittedAt - startedAt) / 1_000)),
    deliveredPerSecond: Math.round(counted / ((arrivedAt - startedAt) / 1_000)),
    apiRssMb: processSize(pids.api).rssMb,
    apiRssGrowthMb: processSize(pids.api).rssMb - before.api,
    workerRssMb: processSize(pids.worker).rssMb,
    workerRssGrowthMb: processSize(pids.worker).rssMb - before.worker,
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

function print(line: string): void {
  process.stdout.write(`${line}\n`)
}

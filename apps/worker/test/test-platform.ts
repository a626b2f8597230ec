import { newUuid, type RetryPolicy } from '@posthorn/contracts'
import { type Accept, type AcceptResult, createAccept, type HealthPolicy } from '@posthorn/dispatch'
import {
  createDeliveryQueue,
  createQueueBackend,
  type DeliveryQueue,
  type QueueBackend,
} from '@posthorn/queue'
import { createLogger, type Logger, parseSettings, type Settings } from '@posthorn/runtime'
import { generateSecret, parseSecret } from '@posthorn/signing'
import {
  createStore,
  createVault,
  type DeliveryRecord,
  insertSecret,
  listDeliveries,
  migrate,
  runOf,
  type Store,
  type Vault,
} from '@posthorn/store'
import {
  createDatabase,
  TEST_MASTER_KEY,
  type TestBackend,
  type TestDatabase,
  templateDatabase,
} from '@posthorn/testkit'
import { type RunningWorker, startWorker } from '../src/start-worker.ts'

/** The delivery path on a fresh database: everything but the REST API. */
export interface TestPlatform {
  database: TestDatabase
  store: Store
  vault: Vault
  backend: QueueBackend
  queue: DeliveryQueue
  accept: Accept
  settings: Settings
  logger: Logger
  startWorker(overrides?: Partial<Settings>, policy?: Partial<HealthPolicy>): RunningWorker
  addOwner(uid: string): Promise<string>
  addEndpoint(
    ownerId: string,
    url: string,
    options?: {
      eventTypes?: string[]
      retryPolicy?: RetryPolicy
      inFlightMax?: number
      rateLimit?: number
      headers?: Record<string, string>
    },
  ): Promise<{ id: string; secret: string }>
  emit(type: string, data: unknown, options?: { owner?: string; id?: string }): Promise<AcceptResult>
  deliveries(): Promise<DeliveryRecord[]>
  close(): Promise<void>
}

export const EVENT_TYPE = 'pay_info.paid'

export async function startTestPlatform(
  backendKind: TestBackend,
  overrides: Partial<Settings> = {},
  options: { queuePrefix?: string } = {},
): Promise<TestPlatform> {
  const template = await templateDatabase('platform', async (url) => {
    const store = createStore(url)
    await migrate(store.pool)
    await createQueueBackend(
      { kind: 'postgres', url },
      createLogger({ level: 'warn', name: 'test' }),
    ).prepare()
    await store.close()
  })
  const database = await createDatabase({ template })
  const logger = createLogger({ level: (process.env.LOG as 'warn') ?? 'error', name: 'test' })
  const settings: Settings = {
    ...parseSettings({ POSTHORN_EGRESS_ALLOW: '127.0.0.0/8', POSTHORN_MASTER_KEY: TEST_MASTER_KEY }),
    ...overrides,
  }
  const store = createStore(database.url)
  const vault = createVault(settings.masterKeys!)
  const backend = createQueueBackend(
    backendKind.redisUrl === undefined
      ? { kind: 'postgres', url: database.url }
      : {
          kind: 'redis',
          url: backendKind.redisUrl,
          prefix: options.queuePrefix ?? `{${backendKind.queuePrefix}-${database.name}}`,
        },
    logger,
  )
  const queue = createDeliveryQueue(backend)
  const accept = createAccept({ pool: store.pool, queue, logger })
  const workers: RunningWorker[] = []
  await store.prisma.eventType.create({ data: { name: EVENT_TYPE } })

  return {
    database,
    store,
    vault,
    backend,
    queue,
    accept,
    settings,
    logger,
    startWorker(more = {}, policy = {}) {
      const worker = startWorker({
        store,
        vault,
        backend,
        settings: { ...settings, ...more },
        logger,
        policy,
      })
      workers.push(worker)
      return worker
    },
    async addOwner(uid) {
      const id = newUuid()
      await store.prisma.owner.create({ data: { id, uid } })
      return id
    },
    async addEndpoint(ownerId, url, options = {}) {
      const id = newUuid()
      const secret = generateSecret()
      await store.prisma.endpoint.create({
        data: {
          id,
          ownerId,
          url,
          eventTypes: options.eventTypes ?? [EVENT_TYPE],
          headers: options.headers ?? {},
          ...(options.retryPolicy && { retryPolicy: options.retryPolicy }),
          inFlightMax: options.inFlightMax ?? null,
          rateLimit: options.rateLimit ?? null,
        },
      })
      const endpoint = { ownerId, endpointId: id }
      await insertSecret(runOf(store.prisma), vault, endpoint, parseSecret(secret))
      return { id, secret }
    },
    emit: (type, data, options = {}) =>
      accept.accept({
        owner: options.owner ?? 'acme',
        type,
        data: Buffer.from(JSON.stringify(data)),
        ...(options.id !== undefined && { id: options.id }),
      }),
    deliveries: async () => (await listDeliveries(store.pool, {}, { limit: 1_000_000 })).items,
    async close() {
      await Promise.all(workers.map((worker) => worker.close()))
      await accept.close()
      await queue.close()
      await store.close()
      await database.drop()
    },
  }
}

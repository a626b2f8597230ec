import { newUuid } from '@posthorn/contracts'
import { createAddressRule, createPost } from '@posthorn/egress'
import {
  createDeliveryQueue,
  createDeliveryWorker,
  createQueueBackend,
  createSurplusWorker,
  type DeliveryQueue,
} from '@posthorn/queue'
import { createLogger, parseSettings } from '@posthorn/runtime'
import { generateSecret, parseSecret } from '@posthorn/signing'
import {
  createStore,
  createVault,
  insertSecret,
  migrate,
  runOf,
  type Store,
  type Vault,
} from '@posthorn/store'
import { createDatabase, TEST_MASTER_KEY, type TestBackend, templateDatabase } from '@posthorn/testkit'
import { type Accept, createAccept, createDeliver, startSweep } from '../src/index.ts'

/** The verbs of this package on a fresh database and a queue of their own. */
export interface DeliveryPath {
  /** Of the database. */
  url: string
  store: Store
  vault: Vault
  queue: DeliveryQueue
  accept: Accept
  /** Takes jobs from the queue (unless it is told not to), and sweeps, from now on. */
  startDelivering(options?: { vault?: Vault; takesJobs?: boolean }): void
  addEventTypes(...names: string[]): Promise<void>
  /** @returns the owner's UUID */
  addOwner(uid: string): Promise<string>
  addEndpoint(ownerId: string, url: string, eventTypes: string[]): Promise<{ id: string; secret: string }>
  close(): Promise<void>
}

export async function startDeliveryPath(backendKind: TestBackend): Promise<DeliveryPath> {
  const logger = createLogger({ level: 'error', name: 'test' })
  const template = await templateDatabase('platform', async (url) => {
    const store = createStore(url)
    await migrate(store.pool)
    await createQueueBackend({ kind: 'postgres', url }, logger).prepare()
    await store.close()
  })
  const database = await createDatabase({ template })
  const settings = parseSettings({
    POSTHORN_EGRESS_ALLOW: '127.0.0.0/8',
    POSTHORN_MASTER_KEY: TEST_MASTER_KEY,
  })
  const vault = createVault(settings.masterKeys!)
  const store = createStore(database.url)
  const { prisma, pool } = store
  const backend = createQueueBackend(
    backendKind.redisUrl === undefined
      ? { kind: 'postgres', url: database.url }
      : { kind: 'redis', url: backendKind.redisUrl, prefix: `{${backendKind.queuePrefix}-${database.name}}` },
    logger,
  )
  const queue = createDeliveryQueue(backend)
  const accept = createAccept({ pool, queue, logger })
  const closers: (() => Promise<unknown>)[] = []

  return {
    url: database.url,
    store,
    vault,
    queue,
    accept,
    startDelivering({ vault: by = vault, takesJobs = true } = {}) {
      const { post, close } = createPost({
        rule: createAddressRule({ allow: settings.egressAllow }),
        connectTimeoutMs: settings.connectTimeoutMs,
        attemptTimeoutMs: settings.attemptTimeoutMs,
        userAgent: 'Posthorn/test',
      })
      const deliver = createDeliver({ pool, vault: by, post, logger, queue, settings })
      const workers = takesJobs
        ? [
            createDeliveryWorker(backend, { concurrency: 8 }, deliver.deliver),
            createSurplusWorker(backend, { concurrency: 8 }, deliver.deliverSurplus),
          ]
        : []
      // What is parked comes back by it.
      const sweep = startSweep({ pool, queue, deliver, logger })
      closers.push(async () => {
        await Promise.all([sweep.stop(), deliver.close(1_000), ...workers.map((worker) => worker.close())])
        await close()
      })
    },
    async addEventTypes(...names) {
      await prisma.eventType.createMany({ data: names.map((name) => ({ name })) })
    },
    async addOwner(uid) {
      const id = newUuid()
      await prisma.owner.create({ data: { id, uid } })
      return id
    },
    async addEndpoint(ownerId, url, eventTypes) {
      const id = newUuid()
      const secret = generateSecret()
      await prisma.endpoint.create({ data: { id, ownerId, url, eventTypes } })
      await insertSecret(runOf(prisma), vault, { ownerId, endpointId: id }, parseSecret(secret))
      return { id, secret }
    },
    async close() {
      for (const close of closers) await close()
      await accept.close()
      await queue.close()
      await store.close()
      await database.drop()
    },
  }
}

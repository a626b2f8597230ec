import { createLogger } from '@posthorn/runtime'
import { createDatabase, startProxy, waitFor } from '@posthorn/testkit'
import { expect, onTestFinished, test } from 'vitest'
import { createDeliveryQueue, createDeliveryWorker, createQueueBackend } from '../src/index.ts'

const DELIVERY = '0199c0de-0000-7000-8000-000000000001'

test('a worker and a queue that began while the database was away work when it is back', async () => {
  const database = await createDatabase()
  onTestFinished(() => database.drop())
  const proxy = await startProxy(database.url)
  onTestFinished(() => proxy.close())
  const logger = createLogger({ level: 'silent', name: 'test' })
  await createQueueBackend({ kind: 'postgres', url: database.url }, logger).prepare()

  await proxy.cut()
  const backend = createQueueBackend({ kind: 'postgres', url: proxy.url }, logger)
  const queue = createDeliveryQueue(backend)
  onTestFinished(() => queue.close())
  const { promise, resolve } = Promise.withResolvers<string[]>()
  const worker = createDeliveryWorker(backend, { concurrency: 4 }, async (ids) => resolve(ids))
  onTestFinished(() => worker.close())
  await expect(queue.enqueue([DELIVERY])).rejects.toThrow('ECONNREFUSED')

  await proxy.restore()
  await waitFor(() =>
    queue.enqueue([DELIVERY]).then(
      () => true,
      () => false,
    ),
  )
  expect(await promise).toEqual([DELIVERY])
})

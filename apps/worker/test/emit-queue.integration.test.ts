import {
  EMIT_ATTEMPTS,
  EMIT_BACKOFF,
  EMIT_JOB,
  EMIT_QUEUE,
  type EmitJob,
  encodeId,
  newUuid,
} from '@posthorn/contracts'
import { createStore } from '@posthorn/store'
import { describeEachBackend, startProxy, startReceiver, waitFor } from '@posthorn/testkit'
import { expect, onTestFinished, test } from 'vitest'
import { startWorker } from '../src/start-worker.ts'
import { EVENT_TYPE, startTestPlatform } from './test-platform.ts'

describeEachBackend((backend) => {
  test('an event in the queue outlasts the absence of the database', async () => {
    const platform = await startTestPlatform(backend)
    onTestFinished(() => platform.close())
    const receiver = await startReceiver()
    onTestFinished(() => receiver.close())
    await platform.addEndpoint(await platform.addOwner('acme'), receiver.url)

    // The queue stays in reach, so that the worker takes the job and cannot accept it.
    const proxy = await startProxy(platform.database.url)
    onTestFinished(() => proxy.close())
    const store = createStore(proxy.url, { connectTimeoutMs: 500 })
    onTestFinished(() => store.close())
    await proxy.cut()
    const worker = startWorker({ ...platform, store })
    onTestFinished(() => worker.close())

    const queue = platform.backend.createQueue<EmitJob>(EMIT_QUEUE)
    onTestFinished(() => queue.close())
    const id = encodeId('msg', newUuid())
    const messages = [{ id, owner: 'acme', type: EVENT_TYPE, data: '{"n":1}' }]
    const options = { attempts: EMIT_ATTEMPTS, backoff: { type: EMIT_BACKOFF } }
    const job = await queue.add(EMIT_JOB, { messages }, options)
    await waitFor(async () => ((await queue.getJob(job.id!))?.attemptsMade ?? 0) >= 1)
    await proxy.restore()

    const [request] = await receiver.waitFor(1, 30_000)
    expect(request!.headers['webhook-id']).toBe(id)
    expect(JSON.parse(request!.body.toString())).toMatchObject({ data: { n: 1 } })
  })
})

import { describeEachBackend, type NodeProcess, ownRedisAvailable, type TestBackend } from '@posthorn/testkit'
import { type TestContext, test } from 'vitest'
import { type KillField, startKillField } from './start-kill-field.ts'

const PATIENCE = { timeout: 90_000, interval: 100 }
const TWO = { POSTHORN_WORKERS: '2' }
/** What is held unanswered stays in flight until it is released. */
const PATIENT = { POSTHORN_ATTEMPT_TIMEOUT: '5m', POSTHORN_LEASE: '10m' }

describeEachBackend((backend) => {
  if (backend.name === 'redis' && !ownRedisAvailable()) return

  test.concurrent('two workers deliver everything once, and both take part', async (context) => {
    const { expect } = context
    const field = await enter(backend, context)
    const { receiver, platform } = field
    await platform.addEndpoint(field.ownerId, receiver.url, { inFlightMax: 100 })
    const workers = await startTwo(field, { ...PATIENT, POSTHORN_LOG_LEVEL: 'debug' }, context)
    const [first, second] = pidsOf(workers, 'worker.ready')
    const hold = receiver.hold()
    // Each alone has some in flight.
    process.kill(first!, 'SIGSTOP')
    const ids = await field.emitMany(5)
    await receiver.waitFor(5)
    process.kill(second!, 'SIGSTOP')
    process.kill(first!, 'SIGCONT')
    ids.push(...(await field.emitMany(5)))
    await receiver.waitFor(10)
    process.kill(second!, 'SIGCONT')
    hold.release()
    ids.push(...(await field.emitMany(90)))
    await expect.poll(field.countStates, PATIENCE).toEqual({ delivered: 100 })
    expect(webhookIds(field).sort()).toEqual(ids.sort())
    const tookPart = () => new Set(pidsOf(workers, 'delivery.attempted'))
    await expect.poll(tookPart).toEqual(new Set([first, second]))
  })

  test.concurrent('a worker that is killed is started anew, and nothing is lost', async (context) => {
    const { expect } = context
    const field = await enter(backend, context)
    const { receiver, platform } = field
    await platform.addEndpoint(field.ownerId, receiver.url, { inFlightMax: 10 })
    const workers = await startTwo(field, {}, context)
    const [killed, other] = pidsOf(workers, 'worker.ready')
    const hold = receiver.hold()
    const ids = await field.emitMany(40)
    await receiver.waitFor(10)
    process.kill(killed!, 'SIGKILL')
    await workers.waitForLine(
      new RegExp(`"workerPid":${killed},"code":null,"signal":"SIGKILL".*worker\\.ended`),
    )
    await expect.poll(() => pidsOf(workers, 'worker.ready').length, PATIENCE).toBe(3)
    hold.release()
    await expect.poll(field.countStates, PATIENCE).toEqual({ delivered: 40 })
    expect(new Set(webhookIds(field))).toEqual(new Set(ids))
    expect(isRunning(other!)).toBe(true)

    // The new one is watched over as well.
    const startedAnew = pidsOf(workers, 'worker.ready')[2]!
    expect(isRunning(startedAnew)).toBe(true)
    workers.kill('SIGTERM')
    expect(await workers.exited).toEqual({ code: 0, signal: null })
    expect(isRunning(startedAnew)).toBe(false)
  })

  test.concurrent('SIGTERM lets all of them finish what is in flight, hand the rest back, and end', async (context) => {
    const { expect } = context
    const field = await enter(backend, context)
    const { receiver, platform } = field
    await platform.addEndpoint(field.ownerId, receiver.url, { inFlightMax: 10 })
    const workers = await startTwo(field, PATIENT, context)
    const pids = pidsOf(workers, 'worker.ready')
    const hold = receiver.hold()
    const ids = await field.emitMany(60)
    await receiver.waitFor(10)
    workers.kill('SIGTERM')
    await expect.poll(() => pidsOf(workers, 'shutting down')).toEqual(expect.arrayContaining(pids))
    // As a service manager does it, that signals each process of a service.
    for (const pid of pids) process.kill(pid, 'SIGTERM')
    hold.release()
    expect(await workers.exited).toEqual({ code: 0, signal: null })
    expect(pids.filter(isRunning)).toEqual([])
    expect(await field.countHeld()).toBe(0)
    const states = await field.countStates()
    expect(states.delivered).toBe(receiver.requests.length)
    expect(states.delivered! + states.pending!).toBe(ids.length)
    expect(new Set(webhookIds(field)).size).toBe(receiver.requests.length)
  })

  test.concurrent('kill -9 of the process that watches over them ends them all in order', async (context) => {
    const { expect } = context
    const field = await enter(backend, context)
    const { receiver, platform } = field
    await platform.addEndpoint(field.ownerId, receiver.url)
    const workers = await startTwo(field, PATIENT, context)
    const hold = receiver.hold()
    await field.emitMany(3)
    await receiver.waitFor(3)
    workers.kill('SIGKILL')
    await expect.poll(() => pidsOf(workers, 'shutting down')).toHaveLength(2)
    hold.release()
    // They write where it wrote: this is over when no process is left that could.
    expect(await workers.exited).toEqual({ code: null, signal: 'SIGKILL' })
    expect(await field.countStates()).toEqual({ delivered: 3 })
    expect(await field.countHeld()).toBe(0)
  })
})

async function enter(backend: TestBackend, { onTestFinished }: TestContext): Promise<KillField> {
  const field = await startKillField(backend)
  onTestFinished(() => field.close())
  return field
}

/** @returns the process that watches over them, when both are ready */
async function startTwo(
  field: KillField,
  env: Record<string, string>,
  { expect }: TestContext,
): Promise<NodeProcess> {
  const workers = await field.startWorkerProcess({ ...TWO, ...env })
  await expect.poll(() => pidsOf(workers, 'worker.ready'), PATIENCE).toHaveLength(2)
  return workers
}

/** Of the processes that logged this, a pid for each time. */
function pidsOf(workers: NodeProcess, message: string): number[] {
  const lines = workers.stdout().split('\n').slice(0, -1)
  return lines
    .map((line) => JSON.parse(line) as { pid: number; msg: string })
    .filter(({ msg }) => msg === message)
    .map(({ pid }) => pid)
}

function webhookIds({ receiver }: KillField): string[] {
  return receiver.requests.map(({ headers }) => headers['webhook-id'] as string)
}

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch {
    return false
  }
}

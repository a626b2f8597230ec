import { chmod, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { freePort, startReceiver, waitFor } from '@posthorn/testkit'
import { cloneAndInstall } from '../clone-and-install.ts'
import { timeFirstDelivery } from '../embedded-platform.ts'
import type { Scenario, ScenarioOptions } from '../scenario.ts'
import { spread } from '../spread.ts'
import { type BenchPlatform, CLI } from '../start-platform.ts'

/** From the start of a process, or from nothing but a repository, until it is of use. */
export const start: Scenario = {
  name: 'start',
  quick: false,
  async run(stage, options) {
    const apiReadyMs: number[] = []
    const workerReadyMs: number[] = []
    for (let repeat = 0; repeat < options.repeats; repeat++) {
      apiReadyMs.push(await timeApi(stage.platform))
      workerReadyMs.push(await timeWorker(stage.platform))
    }
    const ready = { ...spread('apiReadyMs', apiReadyMs), ...spread('workerReadyMs', workerReadyMs) }
    options.say(`start: API after ${ready.apiReadyMs} ms, worker after ${ready.workerReadyMs} ms`)
    const named = { scenario: 'start', variant: 'warm', backend: stage.backend, ...ready }
    // A platform with a database of its own has its queue in there too.
    if (stage.backend !== 'postgres') return [named]
    return [
      { ...named, ...(await timeEmbedded(options)), ...(options.quick ? {} : await timeClones(options)) },
    ]
  },
}

async function timeApi(platform: BenchPlatform): Promise<number> {
  const port = await freePort()
  const startedAtMs = performance.now()
  const api = platform.start('api', { POSTHORN_PORT: String(port) })
  try {
    const isReady = () =>
      fetch(`http://127.0.0.1:${port}/readyz`).then(
        ({ ok }) => ok,
        () => false,
      )
    await waitFor(isReady, { timeoutMs: 30_000, message: 'the API to be ready' })
    return performance.now() - startedAtMs
  } finally {
    await api.stop()
  }
}

async function timeWorker(platform: BenchPlatform): Promise<number> {
  const startedAtMs = performance.now()
  const worker = platform.start('worker', { POSTHORN_LOG_LEVEL: 'info' })
  try {
    await worker.waitForLine(/worker\.ready/)
    return performance.now() - startedAtMs
  } finally {
    await worker.stop()
  }
}

/** On a data folder that is there, with an endpoint in it. */
async function timeEmbedded({ repeats, say }: ScenarioOptions) {
  await using stack = new AsyncDisposableStack()
  const receiver = await startReceiver()
  stack.defer(() => receiver.close())
  const platform = { cli: CLI, dataDir: join(await makeDir(stack), 'data'), receiver }
  await timeFirstDelivery(platform, true)
  const timesMs: number[] = []
  for (let repeat = 0; repeat < repeats; repeat++) timesMs.push(await timeFirstDelivery(platform, false))
  const figures = spread('embeddedFirstDeliveryMs', timesMs)
  say(`start: embedded, first delivery after ${figures.embeddedFirstDeliveryMs} ms`)
  return figures
}

/** Each from a clone to its first delivery, the making of the database and all registering in it. */
async function timeClones({ repeats, say }: ScenarioOptions) {
  const timesMs: number[] = []
  for (let repeat = 0; repeat < repeats; repeat++) {
    await using stack = new AsyncDisposableStack()
    const receiver = await startReceiver()
    stack.defer(() => receiver.close())
    const clone = join(await makeDir(stack), 'clone')
    const startedAtMs = performance.now()
    try {
      await cloneAndInstall(clone)
    } catch (error) {
      const [reason] = (error as Error).message.split('\n')
      say(`start: no figure of a clone, which could not be made or installed: ${reason}`)
      return {}
    }
    const installedMs = performance.now() - startedAtMs
    const platform = { cli: join(clone, 'apps/cli/src/main.ts'), dataDir: join(clone, '.posthorn'), receiver }
    timesMs.push(installedMs + (await timeFirstDelivery(platform, true)))
  }
  const figures = spread('cloneToFirstDeliveryMs', timesMs)
  say(`start: clone to first delivery ${figures.cloneToFirstDeliveryMs} ms`)
  return figures
}

async function makeDir(stack: AsyncDisposableStack): Promise<string> {
  const dir = await mkdtemp(join(tmpdir(), 'posthorn-bench-'))
  stack.defer(() => rm(dir, { recursive: true, force: true }))
  // PostgreSQL of a program that root started runs as another user, who has to pass through.
  await chmod(dir, 0o711)
  return dir
}

import { setTimeout as delay } from 'node:timers/promises'
import type { Fault } from '../fault.ts'
import type { Field } from '../start-field.ts'

const SLOW_MS = 150

export const processFaults: Fault[] = [
  {
    // The statement is on its way to the database, or its commit is on its way back.
    name: 'api-killed-around-commit',
    async inject({ api, proxy, load }, random) {
      proxy.slow(SLOW_MS)
      await load.nextAccepted()
      await delay(random.between(0, 2 * SLOW_MS))
      await api.kill()
      proxy.slow(0)
      await delay(random.between(0, 500))
      await api.start()
    },
  },
  {
    // Answered with 202, and the job is not in the queue yet.
    name: 'api-killed-before-enqueue',
    async inject(field, random) {
      const { api, load } = field
      const free = await holdQueue(field)
      await load.nextAccepted()
      await delay(random.between(0, 20))
      await api.kill()
      await free()
      await api.start()
    },
  },
  {
    name: 'rolling-restart',
    async inject({ api, workers }, random) {
      for (const slot of random.shuffle([api, ...workers])) {
        await slot.stop()
        await slot.start()
      }
    },
  },
]

/** Jobs that are added now take a while. */
async function holdQueue({ backend, proxy, redisCommand }: Field): Promise<() => Promise<unknown>> {
  if (backend === 'postgres') {
    proxy.slow(SLOW_MS)
    return async () => proxy.slow(0)
  }
  await redisCommand('CLIENT', 'PAUSE', '5000', 'WRITE')
  return () => redisCommand('CLIENT', 'UNPAUSE')
}

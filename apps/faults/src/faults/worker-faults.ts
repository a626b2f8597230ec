import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { waitFor } from '@posthorn/testkit'
import type { Fault } from '../fault.ts'

const SKEWED_CLOCK = new URL('../skewed-clock.ts', import.meta.url)
const HOUR_MS = 3_600_000

/** The database answers late: between a commit and whoever made it there is time for a kill. */
const SLOW_MS = 150

export const workerFaults: Fault[] = [
  {
    // The claim is committed, and its answer on the way.
    name: 'worker-killed-before-post',
    async inject({ proxy, workers, query, load }, random) {
      const worker = random.pick(workers)
      proxy.slow(SLOW_MS)
      await load.nextAccepted()
      await waitFor(
        async () =>
          (await query('SELECT 1 FROM deliveries_pending WHERE claim IS NOT NULL LIMIT 1')).length > 0,
        { timeoutMs: 3_000 },
      ).catch(() => {})
      await delay(random.between(0, SLOW_MS))
      await worker.kill()
      proxy.slow(0)
      await worker.start()
    },
  },
  {
    name: 'worker-killed-in-post',
    async inject({ receiver, workers }, random) {
      const worker = random.pick(workers)
      // Of both workers, as likely as not.
      const hold = receiver.hold(6)
      await hold.held
      await worker.kill()
      hold.release()
      await worker.start()
    },
  },
  {
    // The receiver has taken it, and the result is on its way into the log.
    name: 'worker-killed-after-post',
    async inject({ proxy, receiver, workers }, random) {
      const worker = random.pick(workers)
      proxy.slow(SLOW_MS)
      await delay(random.between(0, 300))
      await receiver.nextTaken()
      await worker.kill()
      proxy.slow(0)
      await worker.start()
    },
  },
  {
    // With POSTs in flight; it wakes when others have long taken what it held.
    name: 'worker-stopped',
    async inject({ receiver, workers, leaseMs }, random) {
      const worker = random.pick(workers)
      const hold = receiver.hold(4)
      await hold.held
      worker.signal('SIGSTOP')
      hold.release()
      await delay(leaseMs + random.between(500, 2_500))
      worker.signal('SIGCONT')
    },
  },
  {
    name: 'clock-an-hour-off',
    async inject({ workers }, random) {
      const worker = random.pick(workers)
      await worker.stop()
      await worker.start({
        NODE_OPTIONS: `--import=${fileURLToPath(SKEWED_CLOCK)}`,
        FAULTS_CLOCK_SKEW_MS: String(random.pick([-HOUR_MS, HOUR_MS])),
      })
      await delay(random.between(1_000, 3_000))
      await worker.stop()
      await worker.start()
    },
  },
]

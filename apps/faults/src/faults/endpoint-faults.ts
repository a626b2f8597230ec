import { setTimeout as delay } from 'node:timers/promises'
import { decodeId } from '@posthorn/contracts'
import { waitFor } from '@posthorn/testkit'
import type { Fault } from '../fault.ts'
import type { Field } from '../start-field.ts'

const ROUNDS_MAX = 5
const REPLAY_MAX_MS = 15_000

export const endpointFaults: Fault[] = [
  {
    // What was skipped meanwhile is replayed: asked for by several at once, with a worker killed in the
    // middle, and once more when it is over. Each has to arrive, and once.
    name: 'endpoint-disabled',
    async inject(field, random) {
      const { owner, endpoints } = random.pick(field.subscriptions)
      const endpoint = random.pick(endpoints)
      const path = `/v1/owners/${owner}/endpoints/${endpoint}`
      await patch(field, path, { enabled: false })
      await delay(random.between(1_000, 3_000))
      await patch(field, path, { enabled: true })
      // Also of what was accepted before and not claimed yet.
      const asked = { state: 'skipped', after: new Date(0).toISOString(), perSecond: 40 }
      const worker = random.pick(field.workers)
      for (let round = 0; round < ROUNDS_MAX; round++) {
        await Promise.all([1, 2, 3].map(() => ask(field, `${path}/replays`, asked)))
        if (round === 0) {
          await delay(random.between(100, 600))
          await worker.kill()
          await worker.start()
        }
        // One that does not end leaves deliveries behind, which the verdict finds.
        await waitFor(async () => !(await isReplaying(field, endpoint)), { timeoutMs: REPLAY_MAX_MS }).catch(
          () => {},
        )
        // What was claimed before it was enabled may still have been skipped after the replay was asked for.
        if (round > 0 && (await countSkipped(field, endpoint)) === 0) break
      }
    },
  },
]

async function patch({ request }: Field, path: string, change: object): Promise<void> {
  const { status, body } = await request('PATCH', path, change)
  if (status !== 200) throw new Error(`${path}: ${status} ${JSON.stringify(body)}`)
}

async function ask({ request }: Field, path: string, asked: object): Promise<void> {
  const { status, body } = await request('POST', path, asked)
  // 409: somebody else was faster.
  if (status !== 202 && status !== 409) throw new Error(`${path}: ${status} ${JSON.stringify(body)}`)
}

async function isReplaying({ query }: Field, endpoint: string): Promise<boolean> {
  const running = "SELECT 1 FROM replays WHERE endpoint_id = $1 AND state = 'running'"
  return (await query(running, [decodeId('ep', endpoint)])).length > 0
}

async function countSkipped({ query }: Field, endpoint: string): Promise<number> {
  const skipped = "SELECT 1 FROM deliveries_ended WHERE endpoint_id = $1 AND state = 'skipped'"
  return (await query(skipped, [decodeId('ep', endpoint)])).length
}

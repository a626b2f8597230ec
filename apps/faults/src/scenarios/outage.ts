import { compareRounds, type Round, roundP99Ms } from './compare-rounds.ts'
import type { Emission } from './open-loop.ts'
import type { Scenario } from './scenario.ts'
import { startStage } from './start-stage.ts'

const MARK = 3
const OWNERS = 10
/** Events a second of each owner. */
const PER_SECOND = 6
const SECONDS = 60
/** The first outage refuses connections, the second answers 503. */
const TURNS = 2
const BEFORE_MS = 30_000
const WARM_UP_MS = 5_000
/** While the backlog drains, it is looked at this often whether anything is left of it. */
const STRETCH_MS = 5_000
const DRAIN_MAX_MS = 240_000
const RECEIVED_WITHIN_MS = 60_000

/** All endpoints are down for a while and come back: what does fresh traffic feel while the backlog drains? */
export const outage: Scenario = {
  name: 'outage',
  async run({ backend, seed, seconds = SECONDS, turns = TURNS, say }) {
    const stage = await startStage({
      backend,
      owners: OWNERS,
      // Short waits, so that the backlog comes back soon and all at once.
      settings: { POSTHORN_RETRY_DELAYS: ['5s', ...Array.from({ length: 48 }, () => '10s')].join(',') },
    })
    try {
      const { receiver, openLoop, owners } = stage
      const flows = owners.map((owner) => stage.flow(owner, PER_SECOND))
      const before: Round[] = []
      const draining: Round[] = []
      let backlogMax = 0
      let lost = 0
      await openLoop.run(flows, WARM_UP_MS, seed)
      for (let turn = 0; turn < turns; turn++) {
        const turnSeed = seed + turn
        before.push(await stage.measure(await openLoop.run(flows, BEFORE_MS, turnSeed), RECEIVED_WITHIN_MS))

        const refuses = turn % 2 === 0
        if (refuses) await receiver.shut()
        else receiver.behave({ kind: 'answering', status: 503 })
        const missed = await openLoop.run(flows, seconds * 1_000, turnSeed)
        const backlog = await stage.pending()
        backlogMax = Math.max(backlogMax, backlog)
        say(`${refuses ? 'refusing' : 'answering 503'} for ${seconds} s: ${backlog} waiting`)
        if (refuses) await receiver.open()
        else receiver.behave({ kind: 'taking' })

        const backAtMs = performance.now()
        const isLeft = () =>
          missed.some(({ receivedAtMs, endpoints }) => receivedAtMs.size < endpoints.length)
        const fresh: Emission[] = []
        while (isLeft() && performance.now() < backAtMs + DRAIN_MAX_MS) {
          fresh.push(...(await openLoop.run(flows, STRETCH_MS, turnSeed)))
        }
        const drainedMs = Math.round(performance.now() - backAtMs)
        draining.push(await stage.measure(fresh, RECEIVED_WITHIN_MS))
        const [p99Ms, beforeP99Ms] = [draining, before].map((rounds) => roundP99Ms(rounds.at(-1)!))
        say(`draining for ${drainedMs} ms: p99 ${p99Ms} ms of ${fresh.length}, before ${beforeP99Ms} ms`)
        lost += missed.filter(({ receivedAtMs }) => receivedAtMs.size === 0).length
      }
      const comparison = compareRounds(before, draining, MARK)
      return { ...comparison, ...{ mark: MARK, backlogMax, lost }, passed: comparison.passed && lost === 0 }
    } finally {
      await stage.close()
    }
  },
}

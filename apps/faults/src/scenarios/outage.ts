import { compareRounds, type Round, roundP99Ms } from './compare-rounds.ts'
import type { Emission } from './open-loop.ts'
import type { Scenario } from './scenario.ts'
import { startStage } from './start-stage.ts'

const MARK = 3
const OWNERS = 10
/** Events a second of each owner. */
const PER_SECOND = 6
/** What waits beside them for each owner, and how long a POST takes: so that it does not drain in a moment. */
const FILL = 1_500
const POST_MS = 100
/** The events of the first moments after an endpoint is back are part of what waited. */
const GRACE_MS = 2_000
const SECONDS = 60
/** The first outage refuses connections, the second answers 503. */
const TURNS = 2
const BEFORE_MS = 30_000
const WARM_UP_MS = 5_000
/** While the backlog drains, it is looked at this often whether anything is left of it. */
const STRETCH_MS = 1_000
const DRAIN_MAX_MS = 240_000
/** Drained: what is under way at any time is not more. */
const LEFT_MAX = 50
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
      const whole: Round[] = []
      const noticedMs: number[] = []
      let backlogMax = 0
      let lost = 0
      receiver.behave({ kind: 'taking', delayMs: POST_MS })
      await openLoop.run(flows, WARM_UP_MS, seed)
      for (let turn = 0; turn < turns; turn++) {
        const turnSeed = seed + turn
        before.push(await stage.measure(await openLoop.run(flows, BEFORE_MS, turnSeed), RECEIVED_WITHIN_MS))

        const refuses = turn % 2 === 0
        if (refuses) await receiver.shut()
        else receiver.behave({ kind: 'answering', status: 503 })
        for (const owner of owners) await stage.fill(owner, FILL)
        const missed = await openLoop.run(flows, seconds * 1_000, turnSeed)
        const backlog = await stage.pending()
        backlogMax = Math.max(backlogMax, backlog)
        say(`${refuses ? 'refusing' : 'answering 503'} for ${seconds} s: ${backlog} waiting`)
        if (refuses) await receiver.open()
        else receiver.behave({ kind: 'taking', delayMs: POST_MS })

        const backAtMs = performance.now()
        // An endpoint is back for its sender with the first POST that it takes.
        const noticedAtMs = stage.firstTaken()
        const fresh: Emission[] = []
        let left = backlog
        while (left > LEFT_MAX && performance.now() < backAtMs + DRAIN_MAX_MS) {
          fresh.push(...(await openLoop.run(flows, STRETCH_MS, turnSeed)))
          left = await stage.pending()
        }
        const drainedMs = Math.round(performance.now() - backAtMs)
        const counted = fresh.filter(
          ({ intendedAtMs, endpoints }) =>
            intendedAtMs > (noticedAtMs.get(endpoints[0]!) ?? Number.POSITIVE_INFINITY) + GRACE_MS,
        )
        draining.push(await stage.measure(counted, RECEIVED_WITHIN_MS))
        whole.push(await stage.measure(fresh, RECEIVED_WITHIN_MS))
        const [p99Ms, wholeP99Ms, beforeP99Ms] = [draining, whole, before].map((r) => roundP99Ms(r.at(-1)!))
        noticedMs.push(Math.round(Math.max(...noticedAtMs.values()) - backAtMs))
        say(`drained after ${drainedMs} ms, the last endpoint was back after ${noticedMs.at(-1)} ms`)
        say(
          `p99 ${p99Ms} ms of ${counted.length}, before ${beforeP99Ms} ms, with the first moments ${wholeP99Ms} ms`,
        )
        lost += missed.filter(({ receivedAtMs }) => receivedAtMs.size === 0).length
      }
      const comparison = compareRounds(before, draining, MARK)
      return {
        ...comparison,
        ...{ mark: MARK, backlogMax, lost, noticedMs, p99MsSinceBack: whole.map(roundP99Ms) },
        passed: comparison.passed && lost === 0,
      }
    } finally {
      await stage.close()
    }
  },
}

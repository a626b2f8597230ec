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
      const whole: Round[] = []
      const noticedMs: number[] = []
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
        // An endpoint is back for its sender with the first POST that it takes.
        const noticedAtMs = firstArrivals([...missed, ...fresh], backAtMs)
        const counted = fresh.filter(
          ({ intendedAtMs, endpoints }) =>
            intendedAtMs > (noticedAtMs.get(endpoints[0]!) ?? Number.POSITIVE_INFINITY),
        )
        draining.push(await stage.measure(counted, RECEIVED_WITHIN_MS))
        whole.push(await stage.measure(fresh, RECEIVED_WITHIN_MS))
        const [p99Ms, wholeP99Ms, beforeP99Ms] = [draining, whole, before].map((r) => roundP99Ms(r.at(-1)!))
        noticedMs.push(Math.round(Math.max(...noticedAtMs.values()) - backAtMs))
        say(
          `drained after ${drainedMs} ms, the last endpoint noticed after ${noticedMs.at(-1)} ms: p99 ` +
            `${p99Ms} ms of ${counted.length}, before ${beforeP99Ms} ms, ${wholeP99Ms} ms with what came before it was noticed`,
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

/** When each endpoint first took something after `sinceMs`. */
function firstArrivals(emissions: readonly Emission[], sinceMs: number): Map<string, number> {
  const first = new Map<string, number>()
  for (const { receivedAtMs } of emissions) {
    for (const [endpoint, atMs] of receivedAtMs) {
      if (atMs >= sinceMs) first.set(endpoint, Math.min(atMs, first.get(endpoint) ?? atMs))
    }
  }
  return first
}

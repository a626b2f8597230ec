import { setTimeout as delay } from 'node:timers/promises'
import { compareRounds, type Round, roundP99Ms } from './compare-rounds.ts'
import type { Scenario } from './scenario.ts'
import { startStage } from './start-stage.ts'

const MARK = 1.5
const OWNERS = 10
const HANGING = 2
/** Events a second of each owner. */
const PER_SECOND = 8
/** Some more than the 10,000 that are to wait, as some are in flight and some will have been tried. */
const FILL = 11_000
const WAITING_MIN = 10_000
const SECONDS = 10
const TURNS = 2
/** Rounds of a kind in each turn: to fill and to drain takes as long as some of them. */
const ROUNDS_EACH = 3
const SETTLE_MS = 5_000
const RECEIVED_WITHIN_MS = 30_000
const DRAIN_MAX_MS = 300_000

/** A fifth of the endpoints never answers, and 10,000 deliveries wait for them: what do the others feel? */
export const hanging: Scenario = {
  name: 'hanging',
  async run({ backend, seed, seconds = SECONDS, turns = TURNS, say }) {
    const stage = await startStage({
      backend,
      owners: OWNERS,
      // Short waits, so that the hanging ones are tried more often, and a turn ends in time.
      settings: { POSTHORN_RETRY_DELAYS: Array.from({ length: 49 }, () => '5s').join(',') },
    })
    try {
      const { owners, receiver, openLoop } = stage
      const hung = owners.slice(0, HANGING)
      const hungEndpoints = hung.flatMap(({ endpoints }) => endpoints.map(({ id }) => id))
      const flows = owners.map((owner) => stage.flow(owner, PER_SECOND))

      const measureRound = async (name: string, roundSeed: number): Promise<Round> => {
        const emissions = await openLoop.run(flows, seconds * 1_000, roundSeed)
        const healthy = emissions.filter(({ flow }) => hung.every(({ uid }) => uid !== flow.owner))
        const round = await stage.measure(healthy, RECEIVED_WITHIN_MS)
        const waiting = await stage.pending(hungEndpoints)
        waitingMin = name === 'hanging' ? Math.min(waitingMin, waiting) : waitingMin
        say(`${name}: p99 ${roundP99Ms(round)} ms of ${round.latenciesMs.length}, ${waiting} waiting`)
        return round
      }
      const behave = (kind: 'silent' | 'taking') => {
        for (const { path } of hung.flatMap(({ endpoints }) => endpoints)) receiver.behave({ kind }, path)
      }

      let waitingMin = Number.POSITIVE_INFINITY
      const baseline: Round[] = []
      const disturbed: Round[] = []
      await openLoop.run(flows, SETTLE_MS, seed)
      for (let turn = 0; turn < turns; turn++) {
        const seeds = Array.from({ length: ROUNDS_EACH }, (_, at) => seed + turn * ROUNDS_EACH + at)
        for (const roundSeed of seeds) baseline.push(await measureRound('none hanging', roundSeed))
        behave('silent')
        for (const owner of hung) await stage.fill(owner, FILL / HANGING)
        await delay(SETTLE_MS)
        for (const roundSeed of seeds) disturbed.push(await measureRound('hanging', roundSeed))
        behave('taking')
        await stage.drain(DRAIN_MAX_MS)
      }
      const comparison = compareRounds(baseline, disturbed, MARK)
      return {
        ...comparison,
        ...{ mark: MARK, waitingMin },
        passed: comparison.passed && waitingMin >= WAITING_MIN,
      }
    } finally {
      await stage.close()
    }
  },
}

import { compareRounds, type Round, roundP99Ms } from './compare-rounds.ts'
import type { Scenario } from './scenario.ts'
import { startStage } from './start-stage.ts'

const MARK = 2
const OTHERS = 9
/** Events a second of each of the others. */
const PER_SECOND = 2
/** Of what all others together emit. */
const NOISE_FACTOR = 10
/** A POST takes this long, and workers have few slots: the noise alone is more than they can do. */
const POST_MS = 15
const WORKER_CONCURRENCY = 2
const ENDPOINTS_EACH = 2
const SECONDS = 20
const TURNS = 5
const WARM_UP_MS = 5_000
const RECEIVED_WITHIN_MS = 60_000
const DRAIN_MAX_MS = 300_000

/** One owner emits ten times as much as all others together: what do the others feel? */
export const noisyOwner: Scenario = {
  name: 'noisy-owner',
  async run({ backend, seed, seconds = SECONDS, turns = TURNS, say }) {
    const stage = await startStage({
      backend,
      owners: OTHERS + 1,
      endpointsEach: ENDPOINTS_EACH,
      settings: { POSTHORN_WORKER_CONCURRENCY: String(WORKER_CONCURRENCY) },
    })
    try {
      const [noisy, ...others] = stage.owners
      const quiet = others.map((owner) => stage.flow(owner, PER_SECOND))
      const noise = stage.flow(noisy!, NOISE_FACTOR * OTHERS * PER_SECOND)
      stage.receiver.behave({ kind: 'taking', delayMs: POST_MS })

      const measureRound = async (name: string, flows: typeof quiet, roundSeed: number): Promise<Round> => {
        const emissions = await stage.openLoop.run(flows, seconds * 1_000, roundSeed)
        const pending = await stage.pending()
        const ofOthers = emissions.filter(({ flow }) => flow !== noise)
        const round = await stage.measure(ofOthers, RECEIVED_WITHIN_MS)
        say(`${name}: p99 ${roundP99Ms(round)} ms of ${round.latenciesMs.length}, ${pending} waiting`)
        await stage.drain(DRAIN_MAX_MS)
        return round
      }

      const baseline: Round[] = []
      const disturbed: Round[] = []
      await stage.openLoop.run([...quiet, noise], WARM_UP_MS, seed)
      await stage.drain(DRAIN_MAX_MS)
      for (let turn = 0; turn < turns; turn++) {
        baseline.push(await measureRound('quiet', quiet, seed + turn))
        disturbed.push(await measureRound('noisy', [...quiet, noise], seed + turn))
      }
      return { ...compareRounds(baseline, disturbed, MARK), mark: MARK }
    } finally {
      await stage.close()
    }
  },
}

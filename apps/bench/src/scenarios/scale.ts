import type { Figures, Scenario } from '../scenario.ts'
import { spread } from '../spread.ts'
import type { Owner, Round, Stage } from '../stage.ts'
import type { CpuSeconds } from '../start-platform.ts'

/** Over both APIs where there are two. */
const CONNECTIONS = 256

/** Parts of what both APIs, and both workers, used: half where they share the work evenly. */
type SecondShares = Record<'api' | 'worker', number>

/**
 * The load of `single` with one API and one worker, against two of each: what processes more are good for.
 *
 * The second ones are started for their rounds only; one alone would otherwise have help. Each round has one
 * before it that does not count, as much with one as with two, in which new processes compile what they run.
 */
export const scale: Scenario = {
  name: 'scale',
  quick: false,
  async run(stage, { quick, repeats, say }) {
    const owner = await stage.addOwner(1)
    const events = quick ? 5_000 : 15_000
    const measureOne = async () => {
      await runRound(stage, owner, events)
      return await runRound(stage, owner, events)
    }
    const ones: Round[] = []
    const twos: { round: Round; shares: SecondShares }[] = []
    for (let repeat = 0; repeat < repeats; repeat++) {
      // What comes first is at no advantage, nor at a disadvantage.
      if (repeat % 2 === 0) ones.push(await measureOne())
      twos.push(await measureTwo(stage, owner, events))
      if (repeat % 2 === 1) ones.push(await measureOne())
    }
    const figures = scaleFigures(stage, ones, twos)
    say(
      `scale: ${figures.deliveriesPerSecond}/s by two of each, ${figures.scaleRate} times that of one; ` +
        `CPU ${figures.cpuUs} us a delivery, with one ${figures.oneCpuUs} us`,
    )
    return [figures]
  },
}

async function measureTwo(
  stage: Stage,
  owner: Owner,
  events: number,
): Promise<{ round: Round; shares: SecondShares }> {
  const added = await stage.platform.addProcesses()
  try {
    await runRound(stage, owner, events)
    const before = added.cpuSeconds()
    const round = await runRound(stage, owner, events)
    const after = added.cpuSeconds()
    const shareOf = (name: keyof SecondShares) => (after[name] - before[name]) / round.cpu[name]
    return { round, shares: { api: shareOf('api'), worker: shareOf('worker') } }
  } finally {
    await added.close()
  }
}

function runRound(stage: Stage, owner: Owner, events: number): Promise<Round> {
  return stage.closed(owner, { entrance: 'rest', callers: CONNECTIONS, events })
}

function scaleFigures(
  { backend }: Stage,
  ones: readonly Round[],
  twos: readonly { round: Round; shares: SecondShares }[],
) {
  const rounds = twos.map(({ round }) => round)
  const perSecond = ({ deliveries, seconds }: Round) => deliveries / seconds
  const microseconds =
    (...parts: (keyof CpuSeconds)[]) =>
    ({ cpu, deliveries }: Round) =>
      (parts.reduce((sum, part) => sum + cpu[part], 0) / deliveries) * 1e6
  const allUs = microseconds('api', 'worker', 'postgres', 'redis')
  const median = (of: readonly Round[], part: keyof CpuSeconds) => spread('us', of.map(microseconds(part))).us
  return {
    ...{ scenario: 'scale', variant: `2 APIs and 2 workers, ${CONNECTIONS} connections`, backend },
    ...spread('deliveriesPerSecond', rounds.map(perSecond)),
    ...spread('onePerSecond', ones.map(perSecond)),
    ...spread(
      'scaleRate',
      rounds.map((round, at) => perSecond(round) / perSecond(ones[at]!)),
      3,
    ),
    ...spread('cpuUs', rounds.map(allUs)),
    ...spread('oneCpuUs', ones.map(allUs)),
    ...{ apiUs: median(rounds, 'api'), oneApiUs: median(ones, 'api') },
    ...{ workerUs: median(rounds, 'worker'), oneWorkerUs: median(ones, 'worker') },
    ...{ postgresUs: median(rounds, 'postgres'), onePostgresUs: median(ones, 'postgres') },
    ...{ redisUs: median(rounds, 'redis'), oneRedisUs: median(ones, 'redis') },
    ...spread(
      'secondApiShare',
      twos.map(({ shares }) => shares.api),
      2,
    ),
    ...spread(
      'secondWorkerShare',
      twos.map(({ shares }) => shares.worker),
      2,
    ),
  } satisfies Figures
}

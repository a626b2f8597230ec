import { percentile } from '../percentile.ts'
import type { Scenario } from '../scenario.ts'
import { spread } from '../spread.ts'
import type { Owner, Round, Stage } from '../stage.ts'

/** Of owners of their own, who take turns. */
const ENDPOINTS = 10
const HANGING = 2
const PER_SECOND = 300
/**
 * A third of the default, so that a round has both parts of it: all places of the endpoints that
 * hang are taken, and later their breakers are open.
 */
const ATTEMPT_TIMEOUT_MS = 5_000

/**
 * Two of ten endpoints take each POST and never answer. What becomes of the other eight, against rounds
 * in which all ten answer, at the same rate (latency) and as fast as it goes (throughput).
 *
 * What is for the endpoints that hang is pending when a round ends, and is reconciled with nothing.
 */
export const hanging: Scenario = {
  name: 'hanging',
  quick: false,
  async run(stage, { quick, repeats, say }) {
    const answering: Owner[] = []
    for (let at = 0; at < ENDPOINTS; at++) answering.push(await stage.addOwner(1))
    const open = { perSecond: PER_SECOND, durationMs: quick ? 7_000 : 10_000 }
    const closed = { entrance: 'rest', callers: 64, events: quick ? 3_000 : 5_000 } as const
    await stage.closed(answering, closed)
    const baselines: Measured[] = []
    const healthies: Measured[] = []
    for (let repeat = 0; repeat < repeats; repeat++) {
      const baselineLatency = await stage.open(answering, open)
      const healthyLatency = await whileSomeHang(stage, answering, (owners) => stage.open(owners, open))
      const baselineThroughput = await stage.closed(answering, closed)
      const healthyThroughput = await whileSomeHang(stage, answering, (owners) =>
        stage.closed(owners, closed),
      )
      baselines.push(measured(baselineLatency, baselineThroughput, ENDPOINTS))
      healthies.push(measured(healthyLatency, healthyThroughput, ENDPOINTS - HANGING))
    }
    const of = <Name extends string>(
      name: Name,
      rounds: readonly Measured[],
      figure: (round: Measured) => number,
      digits = 0,
    ) => spread(name, rounds.map(figure), digits)
    const ratios = (figure: (round: Measured) => number) =>
      healthies.map((round, at) => figure(round) / figure(baselines[at]!))
    const figures = {
      ...{ scenario: 'hanging', variant: `${HANGING} of ${ENDPOINTS} endpoints`, backend: stage.backend },
      ...{ perSecond: PER_SECOND, attemptTimeoutMs: ATTEMPT_TIMEOUT_MS },
      ...of('healthyP50Ms', healthies, ({ p50Ms }) => p50Ms, 2),
      ...of('baselineP50Ms', baselines, ({ p50Ms }) => p50Ms, 2),
      ...of('healthyP99Ms', healthies, ({ p99Ms }) => p99Ms, 2),
      ...of('baselineP99Ms', baselines, ({ p99Ms }) => p99Ms, 2),
      ...spread(
        'p99Ratio',
        ratios(({ p99Ms }) => p99Ms),
        3,
      ),
      ...of('healthyPerEndpointSecond', healthies, ({ perEndpointSecond }) => perEndpointSecond),
      ...of('baselinePerEndpointSecond', baselines, ({ perEndpointSecond }) => perEndpointSecond),
      ...spread(
        'throughputRatio',
        ratios(({ perEndpointSecond }) => perEndpointSecond),
        3,
      ),
    }
    say(
      `hanging: p99 ${figures.healthyP99Ms} ms, ${figures.p99Ratio} times that without; ` +
        `throughput ${figures.throughputRatio} times`,
    )
    return [figures]
  },
}

interface Measured {
  p50Ms: number
  p99Ms: number
  /** Deliveries a second of one endpoint that answers. */
  perEndpointSecond: number
}

function measured(latency: Round, throughput: Round, endpoints: number): Measured {
  return {
    p50Ms: percentile(latency.latenciesMs, 0.5),
    p99Ms: percentile(latency.latenciesMs, 0.99),
    perEndpointSecond: throughput.deliveries / throughput.seconds / endpoints,
  }
}

/** New ones each time, of which nothing is known: those before them are gone with what waited for them. */
async function whileSomeHang(
  stage: Stage,
  answering: readonly Owner[],
  run: (owners: readonly Owner[]) => Promise<Round>,
): Promise<Round> {
  const added: Owner[] = []
  for (let at = 0; at < HANGING; at++) {
    added.push(await stage.addOwner(1, { hangs: true, attemptTimeoutMs: ATTEMPT_TIMEOUT_MS }))
  }
  const round = await run([...answering.slice(HANGING), ...added])
  await stage.endHanging(added)
  return round
}

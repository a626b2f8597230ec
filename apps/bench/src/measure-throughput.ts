import { percentile } from './percentile.ts'
import type { ScenarioOptions } from './scenario.ts'
import type { Round, Stage } from './stage.ts'
import type { Backend } from './start-platform.ts'

/**
 * Rounds that take turns with the bare loop. Each figure is the median; spread is from the least to the most.
 *
 * @param moreOf further figures of the rounds
 */
export async function measureThroughput(
  stage: Stage,
  name: { scenario: string; variant: string },
  { repeats, say }: ScenarioOptions,
  runRound: () => Promise<Round>,
  moreOf: (rounds: readonly Round[]) => Record<string, number> = () => ({}),
): Promise<ThroughputFigures> {
  // What a process allocates or compiles once is not what a delivery costs.
  const { payloadBytes } = await runRound()
  await stage.bareLoopPerCpuSecond(payloadBytes)
  const rounds: Round[] = []
  const bare: number[] = []
  for (let repeat = 0; repeat < repeats; repeat++) {
    bare.push(await stage.bareLoopPerCpuSecond(payloadBytes))
    rounds.push(await runRound())
    bare.push(await stage.bareLoopPerCpuSecond(payloadBytes))
  }
  const figures = throughputFigures(stage.backend, name, rounds, bare)
  say(`${name.scenario} ${name.variant}: ${figures.deliveriesPerSecond}/s, ratio ${figures.ratio}`)
  return { ...figures, ...moreOf(rounds) }
}

export type ThroughputFigures = ReturnType<typeof throughputFigures>

/** @param bare deliveries of the bare loop for a CPU second, measured between the rounds */
export function throughputFigures(
  backend: Backend,
  name: { scenario: string; variant: string },
  rounds: readonly Round[],
  bare: readonly number[],
) {
  const median = (values: readonly number[]) => percentile(values, 0.5)
  const ofRounds = (figure: (round: Round) => number) => median(rounds.map(figure))
  const bareLoopPerCpuSecond = median(bare)
  const perCpuSeconds = rounds.map(({ deliveries, cpu }) => deliveries / totalOf(cpu))
  const ratios = perCpuSeconds.map((perCpuSecond) => perCpuSecond / bareLoopPerCpuSecond)
  const microseconds = (part: keyof Round['cpu']) =>
    Math.round(ofRounds(({ cpu, deliveries }) => (cpu[part] / deliveries) * 1e6))
  return {
    ...name,
    backend,
    deliveriesPerSecond: Math.round(ofRounds(({ deliveries, seconds }) => deliveries / seconds)),
    perCpuSecond: Math.round(median(perCpuSeconds)),
    bareLoopPerCpuSecond: Math.round(bareLoopPerCpuSecond),
    ratio: round3(median(ratios)),
    ratioMin: round3(Math.min(...ratios)),
    ratioMax: round3(Math.max(...ratios)),
    apiUs: microseconds('api'),
    workerUs: microseconds('worker'),
    postgresUs: microseconds('postgres'),
    redisUs: microseconds('redis'),
  }
}

const totalOf = (cpu: Round['cpu']) => cpu.api + cpu.worker + cpu.postgres + cpu.redis
const round3 = (value: number) => Math.round(value * 1_000) / 1_000

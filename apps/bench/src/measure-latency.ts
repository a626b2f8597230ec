import { percentile } from './percentile.ts'
import type { Figures, ScenarioOptions } from './scenario.ts'
import { spread } from './spread.ts'

/** What a round of the open loop measured. */
interface OpenRound {
  events: number
  latenciesMs: number[]
}

/** A rate, or a part of what is possible. */
type Rate = { variant: string } & ({ perSecond: number } | { ofMaximum: number })

const RATES: readonly Rate[] = [
  ...[50, 200, 500].map((perSecond) => ({ variant: `${perSecond}/s`, perSecond })),
  { variant: '50 % of its maximum', ofMaximum: 0.5 },
  { variant: '80 % of its maximum', ofMaximum: 0.8 },
]

interface Measured {
  perSecond: number
  events: number
  p50Ms: number
  p99Ms: number
  p999Ms: number
  bareP50Ms?: number
  bareP99Ms?: number
}

interface LatencySteps {
  /** Deliveries a second of a closed loop. */
  measureMaximum: () => Promise<number>
  runRound: (perSecond: number) => Promise<OpenRound>
  /** What the receiver alone takes at that rate; left out where there is none of ours. */
  runBare?: (perSecond: number) => Promise<number[]>
}

/**
 * From when an event was to be emitted until it came, at fixed rates and at a part of what is possible. The rates
 * take turns; what is possible is measured anew for each turn.
 */
export async function measureLatency(
  backend: string,
  { repeats, say }: Pick<ScenarioOptions, 'repeats' | 'say'>,
  { measureMaximum, runRound, runBare }: LatencySteps,
): Promise<Figures[]> {
  const rounds = new Map(RATES.map((rate) => [rate, [] as Measured[]]))
  // What a process compiles once is not what is possible.
  await measureMaximum()
  for (let repeat = 0; repeat < repeats; repeat++) {
    const maximum = await measureMaximum()
    for (const [rate, measured] of rounds) {
      const perSecond = 'perSecond' in rate ? rate.perSecond : maximum * rate.ofMaximum
      const { events, latenciesMs } = await runRound(perSecond)
      const at = (share: number) => percentile(latenciesMs, share)
      const bareMs = await runBare?.(perSecond)
      measured.push({
        ...{ perSecond, events, p50Ms: at(0.5), p99Ms: at(0.99), p999Ms: at(0.999) },
        ...(bareMs && { bareP50Ms: percentile(bareMs, 0.5), bareP99Ms: percentile(bareMs, 0.99) }),
      })
    }
  }
  return [...rounds].map(([{ variant }, measured]) => {
    const of = <Name extends keyof Measured>(name: Name, decimals: number) =>
      spread(
        name,
        measured.map((round) => round[name]!),
        decimals,
      )
    const figures = {
      ...{ scenario: 'latency', variant, backend },
      ...{ ...of('perSecond', 0), events: measured.reduce((sum, { events }) => sum + events, 0) },
      ...{ ...of('p50Ms', 2), ...of('p99Ms', 2), ...of('p999Ms', 2) },
      ...(runBare && { ...of('bareP50Ms', 2), ...of('bareP99Ms', 2) }),
    }
    say(`latency ${variant}: p50 ${figures.p50Ms} ms, p99 ${figures.p99Ms} ms`)
    return figures
  })
}

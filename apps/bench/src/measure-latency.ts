import { percentile } from './percentile.ts'
import type { Figures } from './scenario.ts'

/** What a round of the open loop measured. */
interface OpenRound {
  events: number
  latenciesMs: number[]
}

/**
 * From when an event was to be emitted until it came, at fixed rates and at a part of what is possible.
 *
 * @param maximum deliveries a second of a closed loop
 */
export async function measureLatency(
  backend: string,
  maximum: number,
  say: (line: string) => void,
  runRound: (perSecond: number) => Promise<OpenRound>,
): Promise<Figures[]> {
  const rates: [variant: string, perSecond: number][] = [
    ...[50, 200, 500].map((rate): [string, number] => [`${rate}/s`, rate]),
    ['50 % of its maximum', maximum * 0.5],
    ['80 % of its maximum', maximum * 0.8],
  ]
  const figures: Figures[] = []
  for (const [variant, perSecond] of rates) {
    const round = await runRound(perSecond)
    const at = (share: number) => Math.round(percentile(round.latenciesMs, share) * 100) / 100
    const measured = { p50Ms: at(0.5), p99Ms: at(0.99), p999Ms: at(0.999) }
    say(`latency ${variant}: p50 ${measured.p50Ms} ms, p99 ${measured.p99Ms} ms`)
    figures.push({
      ...{ scenario: 'latency', variant, backend },
      ...{ perSecond: Math.round(perSecond), events: round.events, ...measured },
    })
  }
  return figures
}

import { percentile } from '../percentile.ts'
import type { Figures, Scenario } from '../scenario.ts'

/** From when an event was to be emitted until it came, at fixed rates and at a part of what is possible. */
export const latency: Scenario = {
  name: 'latency',
  quick: true,
  async run(stage, { quick, say }) {
    const owner = await stage.addOwner(1)
    const closed = await stage.closed(owner, { entrance: 'rest', callers: 64, events: 5_000 })
    const maximum = closed.deliveries / closed.seconds
    const rates: [variant: string, perSecond: number][] = [
      ...[50, 200, 500].map((rate): [string, number] => [`${rate}/s`, rate]),
      ['50 % of its maximum', maximum * 0.5],
      ['80 % of its maximum', maximum * 0.8],
    ]
    const figures: Figures[] = []
    for (const [variant, perSecond] of rates) {
      const round = await stage.open(owner, { perSecond, durationMs: quick ? 4_000 : 20_000 })
      const at = (share: number) => Math.round(percentile(round.latenciesMs, share) * 100) / 100
      const measured = { p50Ms: at(0.5), p99Ms: at(0.99), p999Ms: at(0.999) }
      say(`latency ${variant}: p50 ${measured.p50Ms} ms, p99 ${measured.p99Ms} ms`)
      figures.push({
        ...{ scenario: 'latency', variant, backend: stage.backend },
        ...{ perSecond: Math.round(perSecond), events: round.events, ...measured },
      })
    }
    return figures
  },
}

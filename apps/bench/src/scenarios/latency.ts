import { measureLatency } from '../measure-latency.ts'
import type { Scenario } from '../scenario.ts'

export const latency: Scenario = {
  name: 'latency',
  quick: true,
  async run(stage, options) {
    const owner = await stage.addOwner(1)
    const measureMaximum = async () => {
      const { deliveries, seconds } = await stage.closed(owner, {
        ...{ entrance: 'rest', callers: 64, events: options.quick ? 3_000 : 5_000 },
      })
      return deliveries / seconds
    }
    const durationMs = options.quick ? 2_000 : 10_000
    return await measureLatency(stage.backend, options, {
      measureMaximum,
      runRound: (perSecond) => stage.open(owner, { perSecond, durationMs }),
      runBare: (perSecond) => stage.bareLatenciesMs({ perSecond, durationMs: durationMs / 2 }),
    })
  },
}

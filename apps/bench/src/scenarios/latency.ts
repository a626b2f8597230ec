import { measureLatency } from '../measure-latency.ts'
import type { Scenario } from '../scenario.ts'

export const latency: Scenario = {
  name: 'latency',
  quick: true,
  async run(stage, { quick, say }) {
    const owner = await stage.addOwner(1)
    const closed = await stage.closed(owner, { entrance: 'rest', callers: 64, events: 5_000 })
    const maximum = closed.deliveries / closed.seconds
    const durationMs = quick ? 4_000 : 20_000
    return await measureLatency(stage.backend, maximum, say, (perSecond) =>
      stage.open(owner, { perSecond, durationMs }),
    )
  },
}

import { measureThroughput } from '../measure-throughput.ts'
import type { Scenario } from '../scenario.ts'

const DELIVERIES = 20_000

/** Each event to 1, 10 and 100 endpoints. */
export const fanOut: Scenario = {
  name: 'fan-out',
  quick: false,
  async run(stage, options) {
    const figures = []
    for (const endpoints of [1, 10, 100]) {
      const owner = await stage.addOwner(endpoints)
      const name = { scenario: 'fan-out', variant: `${endpoints} endpoints` }
      figures.push(
        await measureThroughput(stage, name, options, () =>
          stage.closed(owner, { entrance: 'rest', callers: 64, events: DELIVERIES / endpoints }),
        ),
      )
    }
    return figures
  },
}

import { measureThroughput } from '../measure-throughput.ts'
import type { Scenario } from '../scenario.ts'

/** 1 KB payloads, a request each, one endpoint. */
export const single: Scenario = {
  name: 'single',
  quick: true,
  async run(stage, options) {
    const owner = await stage.addOwner(1)
    const events = options.quick ? 5_000 : 15_000
    const figures = []
    for (const callers of options.quick ? [64] : [64, 256]) {
      const name = { scenario: 'single', variant: `${callers} connections` }
      figures.push(
        await measureThroughput(stage, name, options, () =>
          stage.closed(owner, { entrance: 'rest', callers, events }),
        ),
      )
    }
    return figures
  },
}

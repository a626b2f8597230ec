import { measureThroughput } from '../measure-throughput.ts'
import type { Scenario } from '../scenario.ts'

/** The same as `single` by requests of 100, and by concurrent calls of the SDK, which shares requests itself. */
export const batch: Scenario = {
  name: 'batch',
  quick: true,
  async run(stage, options) {
    const owner = await stage.addOwner(1)
    const events = options.quick ? 5_000 : 20_000
    const run = (entrance: 'batch' | 'sdk', callers: number) =>
      measureThroughput(stage, { scenario: 'batch', variant: entrance }, options, () =>
        stage.closed(owner, { entrance, callers, events }),
      )
    return [await run('batch', 4), await run('sdk', 256)]
  },
}

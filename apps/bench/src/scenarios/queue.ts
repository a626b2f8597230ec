import { measureThroughput } from '../measure-throughput.ts'
import type { Scenario } from '../scenario.ts'

/** `emit` straight into BullMQ: a worker accepts from there, and the API has no part in it. */
export const queue: Scenario = {
  name: 'queue',
  quick: false,
  async run(stage, options) {
    const owner = await stage.addOwner(1)
    const loop = { entrance: 'queue', callers: 256, events: options.quick ? 5_000 : 20_000 } as const
    const name = { scenario: 'queue', variant: `${loop.callers} emits at once` }
    return [await measureThroughput(stage, name, options, () => stage.closed(owner, loop))]
  },
}

import { measureThroughput } from '../measure-throughput.ts'
import type { Scenario } from '../scenario.ts'

const KIB = 1_024
/** Fewer of the large ones, so that each takes about as long. */
const EVENTS = new Map([
  [1 * KIB, 10_000],
  [16 * KIB, 5_000],
  [64 * KIB, 2_000],
])

/** Payloads of 1, 16 and 64 KiB, a request each; the bare loop sends as much. */
export const payload: Scenario = {
  name: 'payload',
  quick: false,
  async run(stage, options) {
    const figures = []
    for (const [payloadBytes, events] of EVENTS) {
      const owner = await stage.addOwner(1, { payloadBytes })
      const name = { scenario: 'payload', variant: `${payloadBytes / KIB} KiB` }
      const loop = { entrance: 'rest', callers: 64, events: options.quick ? events / 5 : events } as const
      const measured = await measureThroughput(stage, name, options, () => stage.closed(owner, loop))
      const megabytesPerSecond = Math.round((measured.deliveriesPerSecond * payloadBytes) / 1e5) / 10
      options.say(`${name.scenario} ${name.variant}: ${megabytesPerSecond} MB/s`)
      figures.push({ ...measured, megabytesPerSecond })
    }
    return figures
  },
}

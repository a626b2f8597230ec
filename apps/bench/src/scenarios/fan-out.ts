import { measureThroughput } from '../measure-throughput.ts'
import { percentile } from '../percentile.ts'
import type { Scenario } from '../scenario.ts'
import { spread } from '../spread.ts'
import type { Round } from '../stage.ts'

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
        await measureThroughput(
          stage,
          name,
          options,
          () => stage.closed(owner, { entrance: 'rest', callers: 64, events: DELIVERIES / endpoints }),
          firstToLast,
        ),
      )
    }
    return figures
  },
}

/** How long after an event's first delivery its last one came. */
function firstToLast(rounds: readonly Round[]) {
  const ofRounds = (share: number) => rounds.map(({ spreadsMs }) => percentile(spreadsMs, share))
  return { ...spread('firstToLastP50Ms', ofRounds(0.5), 1), ...spread('firstToLastP99Ms', ofRounds(0.99), 1) }
}

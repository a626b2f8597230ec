import { nearestName } from '@posthorn/runtime'
import { listEventTypeNames, type Pool } from '@posthorn/store'

/** Enough for a hint, and a bound for whoever asks for it often. */
const NAMES_MAX = 5_000

/** Loads the catalogue once, for as many unknown names as there are. */
export async function createEventTypeHint(pool: Pool): Promise<(unknown: string) => string> {
  const names = await listEventTypeNames(pool, NAMES_MAX)
  return (unknown) => {
    const nearest = nearestName(unknown, names)
    const hint = nearest === undefined ? 'Make' : `Did you mean ${nearest}? If not, make`
    return `${unknown} is not in the catalogue. ${hint} it with POST /v1/event-types.`
  }
}

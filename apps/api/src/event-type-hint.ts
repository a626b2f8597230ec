import { isOperationalEventType } from '@posthorn/contracts'
import { nearestName } from '@posthorn/runtime'
import { listEventTypeNames, type Pool } from '@posthorn/store'

/** Enough for a hint, and a bound for whoever asks for it often. */
const NAMES_MAX = 5_000

/**
 * Loads the catalogue once, for as many unknown names as there are.
 *
 * @param use what Posthorn itself emits may be subscribed to, and not be emitted
 */
export async function createEventTypeHint(
  pool: Pool,
  use: 'emit' | 'subscribe',
): Promise<(unknown: string) => string> {
  const catalogue = await listEventTypeNames(pool, NAMES_MAX)
  const names = use === 'emit' ? catalogue.filter((name) => !isOperationalEventType(name)) : catalogue
  return (unknown) => {
    const nearest = nearestName(unknown, names)
    const hint = nearest === undefined ? 'Make' : `Did you mean ${nearest}? If not, make`
    return `${unknown} is not in the catalogue. ${hint} it with POST /v1/event-types.`
  }
}

import { setTimeout as delay } from 'node:timers/promises'
import { isUnavailable } from '@posthorn/store'

const PAUSE_MAX_MS = 1_000

/**
 * Repeats `act` while the database is away, until `untilMs` (of `Date.now`): then it rejects as `act` did.
 *
 * @param onWait called once, when the database does not answer
 */
export async function outlast<T>(
  act: () => Promise<T>,
  untilMs: number,
  onWait?: (error: unknown) => void,
): Promise<T> {
  for (let failures = 0; ; failures++) {
    try {
      return await act()
    } catch (error) {
      if (!isUnavailable(error) || Date.now() >= untilMs) throw error
      if (failures === 0) onWait?.(error)
      await delay(Math.min(50 * 2 ** failures, PAUSE_MAX_MS))
    }
  }
}

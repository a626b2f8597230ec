import { coalesce } from '@posthorn/runtime'
import { type Pool, type ReservedSlot, reserveSlots, type WantedSlot } from '@posthorn/store'
import { outlast } from './outlast.ts'

/** The slots of endpoints that have a rate limit, as one worker takes them. */
export interface Pace {
  /** Resolves when the delivery may be sent: true; or false, where it was parked and is held no more. */
  turn(wanted: WantedSlot): Promise<boolean>
  /** Waits for no slot any more: what waits has its turn at once. For a worker that hands back what it holds. */
  hurry(): void
  close(): Promise<void>
}

/** A slot that comes within this time is waited for here; what comes later is parked in the database. */
const SLOT_WAIT_MAX_MS = 1_000
/** Deliveries that wait here for their slots, with their payloads: beyond it only slots that are due are taken. */
const WAITING_MAX = 500

export function createPace({ pool, leaseMs }: { pool: Pool; leaseMs: number }): Pace {
  const waiting = new Map<() => void, NodeJS.Timeout>()
  let hurrying = false
  const reservations = coalesce<WantedSlot, ReservedSlot>({
    run: (wanted) => {
      const withinMs = waiting.size < WAITING_MAX ? Math.min(SLOT_WAIT_MAX_MS, leaseMs / 4) : 0
      return outlast(() => reserveSlots(pool, wanted, withinMs), Date.now() + leaseMs / 4)
    },
    itemsMax: WAITING_MAX,
  })

  function wait(delayMs: number): Promise<void> {
    if (delayMs <= 0 || hurrying) return Promise.resolve()
    return new Promise((resolve) => {
      const begin = () => {
        clearTimeout(waiting.get(begin))
        waiting.delete(begin)
        resolve()
      }
      // A timer may be early by the part of a millisecond that it does not count.
      waiting.set(begin, setTimeout(begin, Math.ceil(delayMs)))
    })
  }

  return {
    async turn(wanted) {
      if (hurrying) return true
      const slot = await reservations.add(wanted)
      if (slot === undefined) return false
      await wait(slot.delayMs)
      return true
    },
    hurry() {
      hurrying = true
      for (const begin of waiting.keys()) begin()
    },
    close: () => reservations.close(),
  }
}

/** Delivery ids, by whether their owner has more than its share. */
export interface Divided {
  within: string[]
  surplus: string[]
}

/** Knows who emits how much, as one process sees it. */
export interface FairShare {
  /** Divides what was just accepted, and counts it. */
  divide(accepted: readonly { ownerId: string; deliveryIds: readonly string[] }[]): Divided
}

/** Counts are halved so often: what counts is what an owner emitted in the last seconds. */
const HALVED_EVERY_MS = 2_000
/** Fewer deliveries than this are never too many, whoever else is there. */
const ALWAYS_WITHIN = 100
/** Times what the others emit on average. */
const SHARE_FACTOR = 4

/**
 * Tells an owner who emits much more than the others from them, by deliveries. An owner that is alone is
 * never over its share. While workers keep up it makes no difference on which side a delivery is.
 */
export function createFairShare({ nowMs = Date.now }: { nowMs?: () => number } = {}): FairShare {
  const counts = new Map<string, number>()
  let total = 0
  let halvedAtMs = nowMs()

  function halve(): void {
    const halvings = Math.floor((nowMs() - halvedAtMs) / HALVED_EVERY_MS)
    if (halvings <= 0) return
    halvedAtMs += halvings * HALVED_EVERY_MS
    total = 0
    for (const [owner, count] of counts) {
      const left = count / 2 ** halvings
      if (left < 1) {
        counts.delete(owner)
        continue
      }
      counts.set(owner, left)
      total += left
    }
  }

  return {
    divide(accepted) {
      halve()
      const divided: Divided = { within: [], surplus: [] }
      for (const { ownerId, deliveryIds } of accepted) {
        const own = (counts.get(ownerId) ?? 0) + deliveryIds.length
        counts.set(ownerId, own)
        total += deliveryIds.length
        const others = counts.size - 1
        const isOver = own > ALWAYS_WITHIN && others > 0 && own > (SHARE_FACTOR * (total - own)) / others
        for (const id of deliveryIds) divided[isOver ? 'surplus' : 'within'].push(id)
      }
      return divided
    },
  }
}

/**
 * Divides a batch of what is due: an owner who has more than half of it and a chunk's worth has a backlog.
 * That there is nobody else in the batch does not mean that nobody else emits.
 */
export function divideBacklog(due: readonly { id: string; ownerId: string }[]): Divided {
  const counts = new Map<string, number>()
  for (const { ownerId } of due) counts.set(ownerId, (counts.get(ownerId) ?? 0) + 1)
  const divided: Divided = { within: [], surplus: [] }
  for (const { id, ownerId } of due) {
    const own = counts.get(ownerId)!
    const isOver = own > ALWAYS_WITHIN && own > due.length / 2
    divided[isOver ? 'surplus' : 'within'].push(id)
  }
  return divided
}

import type { DeliveryQueue } from '@posthorn/queue'
import type { Logger } from '@posthorn/runtime'
import { type DeliveryRecord, findDelivery, findEndpointState, makeDue, type Pool } from '@posthorn/store'
import { UNCLAIMED_GRACE_MS } from './sweep.ts'

export type RetryDeliveryResult =
  | { kind: 'due'; delivery: DeliveryRecord }
  | { kind: 'unknown' }
  | { kind: 'endpoint-deleted' }
  | { kind: 'endpoint-disabled'; endpointId: string; ownerId: string }
  /** The payload of its message was taken away. */
  | { kind: 'message-expunged' }
  /** A worker holds the delivery at this moment. */
  | { kind: 'attempt-under-way' }

/**
 * Sends a delivery again at once, whatever became of it: its next attempt is due now. Its recorded
 * attempts stay and go on counting.
 *
 * @param id UUID of the delivery
 * @param scope UUID of the one owner whose deliveries may be sent again
 */
export async function retryDelivery(
  { pool, queue, logger }: { pool: Pool; queue: Pick<DeliveryQueue, 'enqueue'>; logger: Logger },
  id: string,
  scope?: string,
): Promise<RetryDeliveryResult> {
  const before = await findDelivery(pool, id, scope)
  if (before === undefined) return { kind: 'unknown' }
  if (before.expunged) return { kind: 'message-expunged' }
  const target = await findEndpointState(pool, before.endpointId)
  if (target === undefined || target.deleted) return { kind: 'endpoint-deleted' }
  if (target.disabled) {
    return { kind: 'endpoint-disabled', endpointId: before.endpointId, ownerId: before.ownerId }
  }
  if (!(await makeDue(pool, id, UNCLAIMED_GRACE_MS))) return { kind: 'attempt-under-way' }
  const delivery = await findDelivery(pool, id)
  // A job is a hint. Where it cannot be added, the sweep finds the delivery in the database.
  queue.enqueue([id]).catch((error: unknown) => {
    logger.warn({ err: error, delivery: id }, 'delivery.enqueue_failed')
  })
  return delivery === undefined ? { kind: 'unknown' } : { kind: 'due', delivery }
}

import type { DeliveryQueue } from '@posthorn/queue'
import type { Logger } from '@posthorn/runtime'
import { findDelivery, loadDeliveryTargets, makeDue, type Pool } from '@posthorn/store'
import { UNCLAIMED_GRACE_MS } from './sweep.ts'

export type RetryDeliveryResult =
  | { kind: 'due' }
  | { kind: 'not-found' }
  | { kind: 'endpoint-deleted' }
  | { kind: 'endpoint-disabled' }
  /** A worker holds it at this moment. */
  | { kind: 'attempt-under-way' }

/**
 * Makes a delivery due now, whatever its state: the next attempt is made at once, and counts on from
 * those that were recorded.
 *
 * @param id delivery id (UUID)
 */
export async function retryDelivery(
  { pool, queue, logger }: { pool: Pool; queue: DeliveryQueue; logger: Logger },
  id: string,
): Promise<RetryDeliveryResult> {
  const delivery = await findDelivery(pool, id)
  if (delivery === undefined) return { kind: 'not-found' }
  const [target] = await loadDeliveryTargets(pool, [delivery.endpointId])
  if (target === undefined || target.deleted) return { kind: 'endpoint-deleted' }
  if (target.disabled) return { kind: 'endpoint-disabled' }
  if (!(await makeDue(pool, id, UNCLAIMED_GRACE_MS))) return { kind: 'attempt-under-way' }
  queue.enqueue([id]).catch((error: unknown) => logger.warn({ err: error }, 'delivery.enqueue_failed'))
  return { kind: 'due' }
}

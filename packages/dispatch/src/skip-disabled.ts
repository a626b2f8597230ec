import { type Pool, resetEndpointHealth, skipWaiting } from '@posthorn/store'

const SKIPPED_AT_ONCE = 1_000

/**
 * Ends what waits for a disabled endpoint as `skipped`. What a worker that ends in the middle leaves is
 * skipped when it is claimed.
 */
export async function skipDisabled(pool: Pool, endpointId: string): Promise<void> {
  await resetEndpointHealth(pool, endpointId)
  while ((await skipWaiting(pool, endpointId, SKIPPED_AT_ONCE)) === SKIPPED_AT_ONCE);
}

import { type Expunged, type ExpungeScope, expungeSlice, FIRST_POSITION, type Pool } from '@posthorn/store'

export interface ExpungeResult extends Expunged {
  /** Where to go on from; null: nothing is left. */
  position: string | null
}

/**
 * Takes away the payloads in a scope, slice by slice, until nothing is left or `goOn` says that it is enough.
 * What was taken stays taken, so it may end anywhere and be begun again.
 */
export async function expungePayloads(
  { pool }: { pool: Pool },
  scope: ExpungeScope,
  {
    position = FIRST_POSITION,
    goOn = () => true,
  }: { position?: string; goOn?: (soFar: Expunged) => boolean } = {},
): Promise<ExpungeResult> {
  const total: Expunged = { messages: 0, cancelled: 0 }
  for (let at = position; ; ) {
    const slice = await expungeSlice(pool, scope, at)
    total.messages += slice.messages
    total.cancelled += slice.cancelled
    if (slice.position === null || !goOn(total)) return { ...total, position: slice.position }
    at = slice.position
  }
}

import { sharedSecret } from '@posthorn/store'
import type { ApiContext } from './api.ts'
import { ownerTokenKey } from './owner-token.ts'

/** The key of owner tokens, as it is now. */
export interface OwnerTokenKey {
  current(): Promise<Buffer>
}

/** How long another process may still take tokens of a key that was renewed. */
const KEPT_MS = 3_000

export function createOwnerTokenKey({
  store,
  settings,
}: Pick<ApiContext, 'store' | 'settings'>): OwnerTokenKey {
  let kept: { key: Promise<Buffer>; untilMs: number } | undefined
  const load = async () => ownerTokenKey(await sharedSecret(store.pool, 'owner-token'), settings.apiKey)
  return {
    async current() {
      if (kept === undefined || performance.now() >= kept.untilMs) {
        kept = { key: load(), untilMs: performance.now() + KEPT_MS }
      }
      const { key } = kept
      try {
        return await key
      } catch (error) {
        // Whoever asks next tries again.
        if (kept?.key === key) kept = undefined
        throw error
      }
    },
  }
}

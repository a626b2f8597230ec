import { refusedHeader } from '@posthorn/contracts'
import { createSigningKey, type SigningKey } from '@posthorn/signing'
import {
  type ClaimedDelivery,
  type DeliveryTarget,
  loadDeliveryTargets,
  type Pool,
  type Vault,
} from '@posthorn/store'
import { LRUCache } from 'lru-cache'

/** An endpoint ready to be delivered to. */
export type Target = Omit<DeliveryTarget, 'secrets' | 'secretsForMs'> & {
  /** Made once: signing with the bytes costs four times as much as with a key object. */
  keys: SigningKey[]
}

export interface Targets {
  /** The endpoints of these deliveries as they are at the claim; one that is missing was deleted for good. */
  load(claimed: readonly ClaimedDelivery[]): Promise<Map<string, Target>>
}

/**
 * Keeps endpoints, with what was decrypted of them, from one claim to the next. Every claim brings the version
 * of the endpoint's row, so a copy is used only while it is true, and a change counts from the next claim on,
 * in every process. A secret that is on its way out ends by its time and not by a change of the row.
 */
export function createTargets({ pool, vault }: { pool: Pool; vault: Vault }): Targets {
  const cache = new LRUCache<string, { target: Target; staleAtMs: number }>({ max: 10_000 })
  return {
    async load(claimed) {
      const found = new Map<string, Target>()
      const stale = new Set<string>()
      for (const { endpointId, endpointVersion } of claimed) {
        if (endpointVersion === null || found.has(endpointId)) continue
        const kept = cache.get(endpointId)
        const isTrue = kept?.target.version === endpointVersion && performance.now() < kept.staleAtMs
        if (isTrue) found.set(endpointId, kept.target)
        else stale.add(endpointId)
      }
      if (stale.size > 0) {
        const loadedAtMs = performance.now()
        for (const { secrets, secretsForMs, ...rest } of await loadDeliveryTargets(pool, vault, [...stale])) {
          const headers = withoutRefused(rest.headers)
          const target = { ...rest, headers, keys: secrets.map(createSigningKey) }
          found.set(target.endpointId, target)
          // What cannot be read is looked for again: no change of the row tells that it can.
          const staleAtMs =
            target.unreadable !== null ? 0 : loadedAtMs + (secretsForMs ?? Number.POSITIVE_INFINITY)
          cache.set(target.endpointId, { target, staleAtMs })
        }
      }
      return found
    },
  }
}

/**
 * Refused when the endpoint was registered, and here once more: one in another case would be sent beside
 * ours, and a receiver may read the first.
 */
function withoutRefused(headers: Record<string, string>): Record<string, string> {
  return Object.fromEntries(Object.entries(headers).filter(([name]) => refusedHeader(name) === undefined))
}

import { refusedHeader } from '@posthorn/contracts'
import { createSigningKey, type SigningKey } from '@posthorn/signing'
import { type ClaimedDelivery, type DeliveryTarget, loadDeliveryTargets, type Pool } from '@posthorn/store'
import { LRUCache } from 'lru-cache'

/** An endpoint ready to be delivered to. */
export type Target = Omit<DeliveryTarget, 'secrets'> & {
  /** Made once: signing with the bytes costs four times as much as with a key object. */
  keys: SigningKey[]
}

export interface Targets {
  /** The endpoints of these deliveries as they are at the claim; one that is missing was deleted for good. */
  load(claimed: readonly ClaimedDelivery[]): Promise<Map<string, Target>>
}

/**
 * Keeps endpoints from one claim to the next. Every claim brings the version of the endpoint's row, so a
 * copy is used only while it is true, and a change counts from the next claim on, in every process.
 */
export function createTargets(pool: Pool): Targets {
  const cache = new LRUCache<string, Target>({ max: 10_000 })
  return {
    async load(claimed) {
      const found = new Map<string, Target>()
      const stale = new Set<string>()
      for (const { endpointId, endpointVersion } of claimed) {
        if (endpointVersion === null || found.has(endpointId)) continue
        const target = cache.get(endpointId)
        if (target?.version === endpointVersion && !hasExpiring(target)) found.set(endpointId, target)
        else stale.add(endpointId)
      }
      if (stale.size > 0) {
        for (const { secrets, ...rest } of await loadDeliveryTargets(pool, [...stale])) {
          const headers = withoutRefused(rest.headers)
          const target = { ...rest, headers, keys: secrets.map(createSigningKey) }
          cache.set(target.endpointId, target)
          found.set(target.endpointId, target)
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

/** With several secrets one is on its way out, by its time and not by a change of a row. */
function hasExpiring(target: Target): boolean {
  return target.keys.length > 1
}

import { coalesce } from '@posthorn/runtime'
import type { ClaimedDelivery, EndpointHealth } from '@posthorn/store'
import { LRUCache } from 'lru-cache'
import {
  type ChangedHealth,
  type ChangeHealthContext,
  changeHealth,
  type EndpointEvent,
} from './change-health.ts'
import type { HealthEvent } from './endpoint-health.ts'

export interface HealthLog {
  /** To be called before a claim, and what it gives with the answer to it. */
  beforeClaim(): number
  learn(claimed: readonly ClaimedDelivery[], claimedAfter: number): void
  /** A delivery may have been claimed before its endpoint was opened. */
  isOpen(endpointId: string): boolean
  /**
   * Notes what came of an attempt; resolves when it is committed.
   *
   * A success at an endpoint that nothing is wrong with is not noted at all: it would say nothing new.
   *
   * @returns why the endpoint is to be disabled, if it is
   */
  add(endpointId: string, event: HealthEvent): Promise<string | undefined>
  forget(endpointId: string): void
  close(): Promise<void>
}

interface Known {
  state: EndpointHealth['state']
  /** See `beforeClaim`. */
  learntAt: number
}

/** What this worker knows of endpoints that something is wrong with. Every claim brings it up to date. */
export function createHealthLog(context: ChangeHealthContext): HealthLog {
  const known = new LRUCache<string, Known>({ max: 10_000 })
  /** Counts changes, to tell answers to a claim that are older than what was learnt since. */
  let changes = 0
  const commits = coalesce<EndpointEvent, ChangedHealth>({
    run: async (events) => {
      const changed = await changeHealth(context, events)
      changes += 1
      for (const [endpointId, { health }] of changed) {
        if (health === null) known.delete(endpointId)
        else known.set(endpointId, { state: health.state, learntAt: changes })
      }
      return events.map(({ endpointId }) => changed.get(endpointId)!)
    },
    itemsMax: 500,
  })

  return {
    beforeClaim: () => changes,
    learn(claimed, claimedAfter) {
      for (const { endpointId, health } of claimed) {
        const before = known.peek(endpointId)
        if (before !== undefined && before.learntAt > claimedAfter) continue
        if (health !== null) known.set(endpointId, { state: health, learntAt: claimedAfter })
        else if (before !== undefined) known.delete(endpointId)
      }
    },
    isOpen: (endpointId) => known.get(endpointId)?.state === 'open',
    async add(endpointId, event) {
      if (event.kind === 'success' && !known.has(endpointId)) return undefined
      const { disable } = await commits.add({ endpointId, event })
      return disable
    },
    forget: (endpointId) => void known.delete(endpointId),
    close: () => commits.close(),
  }
}

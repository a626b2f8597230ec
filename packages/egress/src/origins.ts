import type { Pool } from 'undici'
import { type EndpointTls, tlsIdentity } from './endpoint-tls.ts'

/** The connections to one origin (scheme, host and port), of those who share their TLS identity. */
export interface Origin {
  pool: Pool
  /** Requests not settled yet. Counted by who sends them, in the tick in which undici tells. */
  inFlight: number
  usedSinceSweep: boolean
}

export interface Origins {
  /**
   * The connections to this origin, made if there are none. With `tls`, those that nobody with another has,
   * not even to the same origin.
   */
  take(origin: string, tls?: EndpointTls): Origin
  close(): Promise<void>
  readonly size: number
}

/**
 * One undici Pool for each origin. (undici's Agent does that too, but bounds the number of origins by
 * refusing further ones, and looks each up by a newly made key.)
 *
 * A pool goes when its last connection has closed and nobody uses it, so what is held in memory are the
 * origins of the last seconds. Above `originsMax`, idle ones go early, least recently used first (by the
 * second-chance rule, which costs a flag for each request instead of a reordering); those in use stay.
 */
export function createOrigins(options: {
  originsMax: number
  createPool: (origin: string, tls: EndpointTls | undefined) => Pool
}): Origins {
  const { originsMax, createPool } = options
  const origins = new Map<string, Origin>()
  const closing = new Set<Promise<void>>()

  function take(origin: string, tls?: EndpointTls): Origin {
    // An origin holds no space.
    const name = tls === undefined ? origin : `${origin} ${tlsIdentity(tls)}`
    const known = origins.get(name)
    if (known !== undefined) {
      known.usedSinceSweep = true
      return known
    }
    if (origins.size >= originsMax) evictOne()
    const made: Origin = { pool: createPool(origin, tls), inFlight: 0, usedSinceSweep: false }
    // By then, whoever waited for the connection has been told and has counted itself out.
    const dropIfUnused = () => {
      if (made.inFlight === 0 && made.pool.stats.connected === 0) drop(name, made)
    }
    made.pool.on('disconnect', dropIfUnused).on('connectionError', dropIfUnused)
    origins.set(name, made)
    return made
  }

  function evictOne(): void {
    // Each is seen twice at most: the first sight takes the flag.
    let sights = origins.size * 2
    for (const [name, origin] of origins) {
      if (sights === 0) return
      sights -= 1
      if (origin.inFlight === 0 && !origin.usedSinceSweep) {
        drop(name, origin)
        return
      }
      origin.usedSinceSweep = false
      origins.delete(name)
      origins.set(name, origin)
    }
  }

  function drop(name: string, origin: Origin): void {
    if (origins.get(name) !== origin) return
    origins.delete(name)
    // Ends once what was queued has ended; a queued request has a deadline.
    const closed = origin.pool.close().finally(() => closing.delete(closed))
    closing.add(closed)
  }

  return {
    take,
    async close() {
      for (const [name, origin] of origins) drop(name, origin)
      await Promise.all(closing)
    },
    get size() {
      return origins.size
    },
  }
}

import { hash, timingSafeEqual } from 'node:crypto'
import { type KnownApiKey, useApiKey } from '@posthorn/store'
import type { FastifyRequest, onRequestHookHandler } from 'fastify'
import { LRUCache } from 'lru-cache'
import type { ApiContext } from './api.ts'
import { ProblemError } from './problem-details.ts'

declare module 'fastify' {
  interface FastifyContextConfig {
    /** Keys with the role `emit` may use this route; without it only `admin` may. */
    emitters?: boolean
  }
}

/** How long a key that was revoked may still work, and one that was just made may not. */
const CACHE_TTL_MS = 3_000
const CACHE_KEYS_MAX = 10_000

/**
 * Lets a request in by `authorization: Bearer <key>`: the root key, or one of the database.
 *
 * A missing key and a wrong one take the same way (hash, compare, look up) to the same answer. The root
 * key is compared by hash in constant time, and needs no database.
 */
export function createAuthenticate({
  store,
  settings,
}: Pick<ApiContext, 'store' | 'settings'>): onRequestHookHandler {
  const rootHash = settings.apiKey === undefined ? undefined : sha256(settings.apiKey)
  // Those that are not known are kept too: guessing costs the database one look at each guess.
  const known = new LRUCache<string, { key: KnownApiKey | undefined }>({
    max: CACHE_KEYS_MAX,
    ttl: CACHE_TTL_MS,
    fetchMethod: async (hex) => ({ key: await useApiKey(store.pool, Buffer.from(hex, 'hex')) }),
  })

  return function authenticate(request, _reply, done) {
    const keyHash = sha256(bearerKey(request))
    if (rootHash !== undefined && timingSafeEqual(keyHash, rootHash)) return done()
    known.fetch(keyHash.toString('hex')).then(
      (found) => done(refusal(found?.key, request)),
      (error: Error) => done(error),
    )
  }
}

/** Empty where there is none: no key has that hash. */
function bearerKey(request: FastifyRequest): string {
  // RFC 9110, section 11.1: the scheme's case does not matter.
  return /^bearer +([\x21-\x7e]{1,512})$/i.exec(request.headers.authorization ?? '')?.[1] ?? ''
}

function refusal(key: KnownApiKey | undefined, request: FastifyRequest): ProblemError | undefined {
  if (key === undefined) {
    return new ProblemError(
      'unauthorized',
      'Send a valid API key in the header authorization: Bearer <key>. `posthorn keys create` makes one.',
      { headers: { 'www-authenticate': 'Bearer realm="posthorn"' } },
    )
  }
  const admin = key.role === 'admin' && key.ownerId === null
  const emitter = key.role === 'emit' && key.ownerId === null && request.routeOptions.config.emitters === true
  if (admin || emitter) return undefined
  return new ProblemError(
    'forbidden',
    `A key with the role ${key.role} may not do that. Use one with the role admin.`,
  )
}

function sha256(text: string): Buffer {
  return hash('sha256', text, 'buffer')
}

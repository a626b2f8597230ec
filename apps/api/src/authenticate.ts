import { hash, timingSafeEqual } from 'node:crypto'
import { encodeId, mayUse, type RouteRoles } from '@posthorn/contracts'
import { isOwner, useApiKey } from '@posthorn/store'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import { LRUCache } from 'lru-cache'
import type { ApiContext } from './api.ts'
import { createFailureLimit } from './failure-limit.ts'
import { createKeyRateLimit } from './key-rate-limit.ts'
import { looksLikeOwnerToken, readOwnerToken } from './owner-token.ts'
import type { OwnerTokenKey } from './owner-token-key.ts'
import { type Principal, ROOT } from './principal.ts'
import { ProblemError } from './problem-details.ts'

declare module 'fastify' {
  interface FastifyContextConfig {
    /** The roles that may use this route beside `admin`; without it only `admin` may. */
    roles?: RouteRoles
  }
}

/** How long a key that was revoked, or a token of an owner that was deleted, may still work. */
const CACHE_TTL_MS = 3_000
const CACHE_KEYS_MAX = 10_000

/** What a text that is no root key stands for, and until when. */
interface Known {
  principal: Principal | undefined
  expiresAtMs: number
}
const UNKNOWN: Known = { principal: undefined, expiresAtMs: Number.POSITIVE_INFINITY }

/**
 * Lets requests in by `authorization: Bearer <key>`: the root key, one of the database, or an owner token, and
 * says as whom they come.
 *
 * A missing key and a wrong one take the same way (hash, compare, look up) to the same answer. The root
 * key is compared by hash in constant time, and needs no database.
 */
export function registerAuthentication(
  v1: FastifyInstance,
  context: Pick<ApiContext, 'store' | 'redis' | 'settings' | 'logger'>,
  tokenKey: OwnerTokenKey,
): void {
  const { store, settings } = context
  const limitKeyRate = createKeyRateLimit(context)
  const limitFailures = createFailureLimit(context)
  const rootHash = settings.apiKey === undefined ? undefined : sha256(settings.apiKey)
  // Those that are not known are kept too: guessing costs the database one look at each guess.
  const known = new LRUCache<string, Known, string>({
    max: CACHE_KEYS_MAX,
    ttl: CACHE_TTL_MS,
    fetchMethod: (hex, _stale, { context: text }) =>
      looksLikeOwnerToken(text) ? readToken(text) : findKey(hex),
  })

  // Of texts that let somebody in lately: hashing one takes longer than all else that is asked of a request here.
  // By the time that it takes, nobody learns of a text that he does not have the whole of.
  const hashes = new LRUCache<string, Buffer>({ max: CACHE_KEYS_MAX, ttl: CACHE_TTL_MS })

  v1.decorateRequest('principal', null)
  v1.addHook('onRequest', function authenticate(request, _reply, done) {
    const text = bearerText(request)
    const remembered = hashes.get(text)
    const textHash = remembered ?? sha256(text)
    const enter = (principal: Principal) => {
      if (remembered === undefined) hashes.set(text, textHash)
      done(admit(request, principal))
    }
    if (rootHash !== undefined && timingSafeEqual(textHash, rootHash)) return enter(ROOT)
    known.fetch(textHash.toString('hex'), { context: text }).then(
      (found) => {
        const isCurrent = found !== undefined && Date.now() < found.expiresAtMs
        if (isCurrent && found.principal !== undefined) return enter(found.principal)
        limitFailures(request).then((refusal) => done(refusal ?? unauthorized()), done)
      },
      (error: Error) => done(error),
    )
  })

  /** @returns why the request is refused */
  function admit(request: FastifyRequest, principal: Principal): ProblemError | undefined {
    const refusal = limitKeyRate(principal.actor)
    if (refusal !== undefined) return refusal
    const roles = request.routeOptions.config.roles ?? []
    if (!mayUse(principal, roles)) return forbidden(principal, roles)
    request.principal = principal
    return undefined
  }

  async function findKey(hex: string): Promise<Known> {
    const key = await useApiKey(store.pool, Buffer.from(hex, 'hex'))
    if (key === undefined) return UNKNOWN
    const { id, name, role, ownerId } = key
    return { ...UNKNOWN, principal: { role, ownerId, name, actor: encodeId('key', id) } }
  }

  async function readToken(text: string): Promise<Known> {
    const claims = readOwnerToken(await tokenKey.current(), text)
    if (claims === undefined || !(await isOwner(store.pool, claims.ownerId))) return UNKNOWN
    const { id, ownerId, expiresAtS } = claims
    return {
      principal: { role: 'owner', ownerId, name: null, actor: encodeId('tok', id) },
      expiresAtMs: expiresAtS * 1_000,
    }
  }
}

/** Empty where there is none: no key has that hash. */
function bearerText(request: FastifyRequest): string {
  // RFC 9110, section 11.1: the scheme's case does not matter.
  return /^bearer +([\x21-\x7e]{1,512})$/i.exec(request.headers.authorization ?? '')?.[1] ?? ''
}

function unauthorized(): ProblemError {
  return new ProblemError(
    'unauthorized',
    'Send a valid API key in the header authorization: Bearer <key>. `posthorn keys create` makes one.',
    { headers: { 'www-authenticate': 'Bearer realm="posthorn"' } },
  )
}

function forbidden({ role }: Principal, roles: RouteRoles): ProblemError {
  return new ProblemError(
    'forbidden',
    `A key with the role ${role} may not do that. Use one with the role ${['admin', ...roles].join(' or ')}.`,
  )
}

function sha256(text: string): Buffer {
  return hash('sha256', text, 'buffer')
}

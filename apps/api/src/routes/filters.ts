import { decodeId, type IdPrefix, isUid } from '@posthorn/contracts'
import { findEndpoint, findOwner, type Prisma } from '@posthorn/store'
import { ProblemError } from '../problem-details.ts'

/**
 * UUID of the owner that a list is narrowed to. One that was deleted can still be named by its id.
 *
 * @param scope UUID of the one owner whose things may be found: the list is narrowed to it in any case, and no
 *   other owner is known
 * @throws {ProblemError} `unknown_owner`
 */
export async function ownerFilter(
  prisma: Prisma,
  text: string | undefined,
  scope?: string,
): Promise<string | undefined> {
  if (text === undefined) return scope
  const id = decodeId('own', text)
  if (id !== undefined && (scope === undefined || id === scope)) return id
  const owner = id === undefined && isUid(text) ? await findOwner(prisma, { uid: text }, scope) : undefined
  if (owner !== undefined) return owner.id
  throw unknownOwner(text)
}

export function unknownOwner(text: string): ProblemError {
  return new ProblemError('unknown_owner', `There is no owner ${text}. GET /v1/owners lists them.`)
}

/** UUID of the endpoint that a list is narrowed to: an id, or a uid where the owner is given too. */
export async function endpointFilter(
  prisma: Prisma,
  text: string | undefined,
  ownerId: string | undefined,
): Promise<string | undefined> {
  if (text === undefined) return undefined
  const id = decodeId('ep', text)
  if (id !== undefined) return id
  const endpoint =
    ownerId !== undefined && isUid(text) ? await findEndpoint(prisma, { ownerId, uid: text }) : undefined
  if (endpoint !== undefined) return endpoint.id
  const message =
    ownerId === undefined
      ? 'must be an id that begins with ep_; a uid needs the owner beside it'
      : 'is no endpoint of this owner'
  throw new ProblemError('validation_failed', `In the query, endpoint ${message}.`, {
    errors: [{ path: '/endpoint', message }],
  })
}

/** UUID of an id in a query whose pattern was checked. */
export function idFilter(prefix: IdPrefix, text: string | undefined): string | undefined {
  return text === undefined ? undefined : decodeId(prefix, text)
}

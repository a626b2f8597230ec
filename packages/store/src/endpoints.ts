import { newUuid, type RetryPolicy } from '@posthorn/contracts'
import {
  type HeaderInput,
  NoSecretHeaderError,
  type StoredHeaders,
  storeHeaders,
} from './endpoint-headers.ts'
import { RESET_HEALTH } from './endpoint-health.ts'
import { insertSecret, runOf } from './endpoint-secrets.ts'
import { storeTls, type TlsMaterial } from './endpoint-tls.ts'
import { type Endpoint, Prisma as PrismaTypes } from './generated/client.ts'
import { aboutEndpoint, isSubscribed } from './operational-events.ts'
import { lockOwner } from './owners.ts'
import type { Prisma } from './prisma.ts'
import { prismaCode } from './prisma-code.ts'
import type { Vault } from './vault.ts'

export type EndpointRecord = Endpoint

/** An endpoint of one owner, by our UUID or by the application's uid. */
export type EndpointKey = { ownerId: string } & ({ id: string } | { uid: string })

export interface EndpointInput {
  url: string
  eventTypes: string[]
  description?: string | null
  uid?: string | null
  headers?: Record<string, HeaderInput>
  enabled?: boolean
  inFlightMax?: number | null
  attemptTimeoutMs?: number | null
  /** Deliveries a second. */
  rateLimit?: number | null
  retryPolicy?: RetryPolicy | null
  tls?: TlsMaterial | null
}

export type EndpointResult =
  | { kind: 'saved'; endpoint: EndpointRecord }
  /** The owner, or the endpoint to change, is not there or was deleted. */
  | { kind: 'unknown' }
  | { kind: 'unknown-event-types'; names: string[] }
  | { kind: 'uid-taken' }
  /** A header is to keep a secret value that is not there. */
  | { kind: 'no-secret-header'; name: string }

export const DISABLED_BY_REQUEST = 'by request'

/** Makes an endpoint with its signing secret (the key bytes). */
export async function createEndpoint(
  { prisma, vault }: { prisma: Prisma; vault: Vault },
  ownerId: string,
  input: EndpointInput,
  secret: Buffer,
): Promise<EndpointResult> {
  return await save(prisma, input, async (transaction) => {
    // Its owner cannot be deleted from under it.
    if (!(await lockOwner(transaction, ownerId))) return undefined
    const run = runOf(transaction)
    const endpointId = newUuid()
    const headers = await storeHeaders(run, vault, { ownerId, endpointId }, input.headers ?? {}, {})
    const endpoint = await transaction.endpoint.create({
      data: {
        id: endpointId,
        ownerId,
        url: input.url,
        eventTypes: input.eventTypes,
        ...toColumns(input),
        ...headers,
        ...(await storeTls(run, vault, { ownerId, endpointId }, input.tls ?? null)),
      },
    })
    await insertSecret(run, vault, { ownerId, endpointId }, secret)
    return endpoint
  })
}

export async function updateEndpoint(
  { prisma, vault }: { prisma: Prisma; vault: Vault },
  key: EndpointKey,
  change: Partial<EndpointInput>,
): Promise<EndpointResult> {
  return await save(prisma, change, async (transaction) => {
    const { enabled, headers, ...others } = change
    const isLocked = enabled !== undefined || headers !== undefined || change.tls !== undefined
    const before = isLocked ? await lockEndpoint(transaction, key) : undefined
    if (isLocked && before === undefined) return undefined
    const stored =
      headers && before && (await changeHeaders(transaction, vault, key.ownerId, before.id, headers))
    const tls =
      change.tls === undefined || before === undefined
        ? undefined
        : await storeTls(
            runOf(transaction),
            vault,
            { ownerId: key.ownerId, endpointId: before.id },
            change.tls,
          )
    // Of one that is disabled already, the first reason and time are kept.
    const columns = enabled === false && before?.disabled === true ? others : change
    const [endpoint] = await transaction.endpoint.updateManyAndReturn({
      where: { ...key, deletedAt: null },
      data: {
        ...(change.url !== undefined && { url: change.url }),
        ...(change.eventTypes !== undefined && { eventTypes: change.eventTypes }),
        ...toColumns(columns),
        ...stored,
        ...tls,
      },
    })
    // Enabled or disabled by hand: what Posthorn thought of it does not count any more.
    if (endpoint !== undefined && enabled !== undefined) {
      await transaction.$executeRawUnsafe(RESET_HEALTH, endpoint.id)
      if (enabled && before?.ill) await transaction.$executeRawUnsafe(NOTE_RECOVERED, endpoint.id)
    }
    return endpoint
  })
}

/** @returns whether it is disabled, and whether Posthorn said that it is ill: that it was disabled, or fails */
async function lockEndpoint(
  transaction: Transaction,
  key: EndpointKey,
): Promise<{ id: string; disabled: boolean; ill: boolean } | undefined> {
  const [id, uid] = 'id' in key ? [key.id, null] : [null, key.uid]
  const [endpoint] = await transaction.$queryRaw<{ id: string; reason: string | null; disabled: boolean }[]>`
    SELECT id, disabled_at IS NOT NULL AS disabled, disabled_reason AS reason FROM endpoints
    WHERE owner_id = ${key.ownerId}::uuid AND (id = ${id}::uuid OR uid = ${uid}) AND deleted_at IS NULL
    FOR UPDATE`
  if (endpoint === undefined) return undefined
  const { id: endpointId } = endpoint
  if (endpoint.disabled) {
    return { id: endpointId, disabled: true, ill: endpoint.reason !== DISABLED_BY_REQUEST }
  }
  const failing = await transaction.$queryRaw<unknown[]>`
    SELECT 1 FROM endpoint_health WHERE endpoint_id = ${endpoint.id}::uuid AND openings > 0 FOR UPDATE`
  return { id: endpointId, disabled: false, ill: failing.length > 0 }
}

async function changeHeaders(
  transaction: Transaction,
  vault: Vault,
  ownerId: string,
  endpointId: string,
  given: Record<string, HeaderInput>,
): Promise<StoredHeaders> {
  const found = await transaction.endpoint.findUnique({
    where: { id: endpointId },
    select: { secretHeaders: true },
  })
  const before = (found?.secretHeaders ?? {}) as Record<string, string>
  return await storeHeaders(runOf(transaction), vault, { ownerId, endpointId }, given, before)
}

// Input:   $1 the endpoint
const NOTE_RECOVERED = `
INSERT INTO operational_events (id, type, owner_id, data)
SELECT uuidv7(), 'endpoint.recovered', e.owner_id,
  json_build_object('about', ${aboutEndpoint('e.id')}, 'reason', 'It was enabled by request.', 'since', now())
FROM endpoints e
WHERE e.id = $1::uuid AND ${isSubscribed('e.owner_id', "'endpoint.recovered'")}`

export async function findEndpoint(prisma: Prisma, key: EndpointKey): Promise<EndpointRecord | undefined> {
  return (await prisma.endpoint.findFirst({ where: { ...key, deletedAt: null } })) ?? undefined
}

/** Newest first. `cursor` is the id of the last endpoint that was seen. */
export async function listEndpoints(
  prisma: Prisma,
  ownerId: string,
  page: { limit: number; cursor?: string },
): Promise<EndpointRecord[]> {
  return await prisma.endpoint.findMany({
    where: { ownerId, deletedAt: null, ...(page.cursor !== undefined && { id: { lt: page.cursor } }) },
    orderBy: { id: 'desc' },
    take: page.limit,
  })
}

/** Is it this owner's, or was it before it was deleted? */
export async function isEndpointOf(prisma: Prisma, ownerId: string, id: string): Promise<boolean> {
  return (await prisma.endpoint.findFirst({ where: { id, ownerId }, select: { id: true } })) !== null
}

/**
 * Softly: the log still names it, its uid becomes free, and its pending deliveries end as cancelled.
 *
 * @returns its UUID, or undefined where there is none
 */
export async function deleteEndpoint(prisma: Prisma, key: EndpointKey): Promise<string | undefined> {
  return await prisma.$transaction(async (transaction) => {
    const [endpoint] = await transaction.endpoint.updateManyAndReturn({
      where: { ...key, deletedAt: null },
      data: { deletedAt: new Date(), uid: null },
      select: { id: true },
    })
    if (endpoint === undefined) return undefined
    // What its breaker holds back is cancelled now, not when it would have recovered.
    await transaction.$executeRawUnsafe(RESET_HEALTH, endpoint.id)
    return endpoint.id
  })
}

type Transaction = PrismaTypes.TransactionClient

async function save(
  prisma: Prisma,
  { eventTypes }: { eventTypes?: string[] },
  write: (transaction: Transaction) => Promise<EndpointRecord | undefined>,
): Promise<EndpointResult> {
  try {
    return await prisma.$transaction(async (transaction) => {
      const names = eventTypes === undefined ? [] : await unknownEventTypes(transaction, eventTypes)
      if (names.length > 0) return { kind: 'unknown-event-types', names }
      const endpoint = await write(transaction)
      return endpoint === undefined ? { kind: 'unknown' } : { kind: 'saved', endpoint }
    })
  } catch (error) {
    if (prismaCode(error) === 'unique-violation') return { kind: 'uid-taken' }
    if (error instanceof NoSecretHeaderError) return { kind: 'no-secret-header', name: error.header }
    throw error
  }
}

/** Those of the names that are not in the catalogue; the others cannot be deleted until the transaction ends. */
async function unknownEventTypes(transaction: Transaction, names: string[]): Promise<string[]> {
  const known = await transaction.$queryRaw<{ name: string }[]>`
    SELECT name FROM event_types WHERE name = ANY (${names}::text[]) ORDER BY name FOR SHARE`
  const set = new Set(known.map((row) => row.name))
  return names.filter((name) => !set.has(name))
}

function toColumns(input: Omit<Partial<EndpointInput>, 'headers'>) {
  return {
    ...(input.description !== undefined && { description: input.description }),
    ...(input.uid !== undefined && { uid: input.uid }),
    ...(input.inFlightMax !== undefined && { inFlightMax: input.inFlightMax }),
    ...(input.attemptTimeoutMs !== undefined && { attemptTimeoutMs: input.attemptTimeoutMs }),
    ...(input.rateLimit !== undefined && { rateLimit: input.rateLimit }),
    ...(input.retryPolicy !== undefined && { retryPolicy: input.retryPolicy ?? PrismaTypes.DbNull }),
    ...(input.enabled === true && { disabledAt: null, disabledReason: null }),
    ...(input.enabled === false && { disabledAt: new Date(), disabledReason: DISABLED_BY_REQUEST }),
  }
}

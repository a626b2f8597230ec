import { newUuid, type RetryPolicy } from '@posthorn/contracts'
import { RESET_HEALTH } from './endpoint-health.ts'
import { type TlsMaterial, toTlsColumns } from './endpoint-tls.ts'
import { type Endpoint, Prisma as PrismaTypes } from './generated/client.ts'
import { aboutEndpoint, isSubscribed } from './operational-events.ts'
import type { Prisma } from './prisma.ts'
import { prismaCode } from './prisma-code.ts'

export type EndpointRecord = Endpoint

/** An endpoint of one owner, by our UUID or by the application's uid. */
export type EndpointKey = { ownerId: string } & ({ id: string } | { uid: string })

export interface EndpointInput {
  url: string
  eventTypes: string[]
  description?: string | null
  uid?: string | null
  headers?: Record<string, string>
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

export const DISABLED_BY_REQUEST = 'by request'

/** Makes an endpoint with its signing secret (the key bytes). */
export async function createEndpoint(
  prisma: Prisma,
  ownerId: string,
  input: EndpointInput,
  secret: Buffer,
): Promise<EndpointResult> {
  return await save(prisma, input, async (transaction) => {
    // Its owner cannot be deleted from under it.
    const owners = await transaction.$queryRaw<unknown[]>`
      SELECT 1 FROM owners WHERE id = ${ownerId}::uuid AND deleted_at IS NULL FOR SHARE`
    if (owners.length === 0) return undefined
    return await transaction.endpoint.create({
      data: {
        id: newUuid(),
        ownerId,
        url: input.url,
        eventTypes: input.eventTypes,
        ...toColumns(input),
        secrets: { create: { id: newUuid(), secret: new Uint8Array(secret) } },
      },
    })
  })
}

export async function updateEndpoint(
  prisma: Prisma,
  key: EndpointKey,
  change: Partial<EndpointInput>,
): Promise<EndpointResult> {
  return await save(prisma, change, async (transaction) => {
    const before = change.enabled === undefined ? undefined : await lockEndpoint(transaction, key)
    const { enabled, ...others } = change
    // Of one that is disabled already, the first reason and time are kept.
    const columns = enabled === false && before?.disabled === true ? others : change
    const [endpoint] = await transaction.endpoint.updateManyAndReturn({
      where: { ...key, deletedAt: null },
      data: {
        ...(change.url !== undefined && { url: change.url }),
        ...(change.eventTypes !== undefined && { eventTypes: change.eventTypes }),
        ...toColumns(columns),
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
): Promise<{ disabled: boolean; ill: boolean } | undefined> {
  const [id, uid] = 'id' in key ? [key.id, null] : [null, key.uid]
  const [endpoint] = await transaction.$queryRaw<{ id: string; reason: string | null; disabled: boolean }[]>`
    SELECT id, disabled_at IS NOT NULL AS disabled, disabled_reason AS reason FROM endpoints
    WHERE owner_id = ${key.ownerId}::uuid AND (id = ${id}::uuid OR uid = ${uid}) AND deleted_at IS NULL
    FOR UPDATE`
  if (endpoint === undefined) return undefined
  if (endpoint.disabled) return { disabled: true, ill: endpoint.reason !== DISABLED_BY_REQUEST }
  const failing = await transaction.$queryRaw<unknown[]>`
    SELECT 1 FROM endpoint_health WHERE endpoint_id = ${endpoint.id}::uuid AND openings > 0 FOR UPDATE`
  return { disabled: false, ill: failing.length > 0 }
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

/** Softly: the log still names it, its uid becomes free, and its pending deliveries end as cancelled. */
export async function deleteEndpoint(prisma: Prisma, key: EndpointKey): Promise<boolean> {
  return await prisma.$transaction(async (transaction) => {
    const [endpoint] = await transaction.endpoint.updateManyAndReturn({
      where: { ...key, deletedAt: null },
      data: { deletedAt: new Date(), uid: null },
      select: { id: true },
    })
    if (endpoint === undefined) return false
    // What its breaker holds back is cancelled now, not when it would have recovered.
    await transaction.$executeRawUnsafe(RESET_HEALTH, endpoint.id)
    return true
  })
}

/** Key bytes of the newest secret that is valid. */
export async function findEndpointSecret(prisma: Prisma, endpointId: string): Promise<Buffer | undefined> {
  const found = await prisma.endpointSecret.findFirst({
    where: { endpointId, OR: [{ expiresAt: null }, { expiresAt: { gt: new Date() } }] },
    orderBy: [{ createdAt: 'desc' }, { id: 'desc' }],
  })
  return found === null ? undefined : Buffer.from(found.secret)
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

function toColumns(input: Partial<EndpointInput>) {
  return {
    ...(input.description !== undefined && { description: input.description }),
    ...(input.uid !== undefined && { uid: input.uid }),
    ...(input.headers !== undefined && { headers: input.headers }),
    ...(input.inFlightMax !== undefined && { inFlightMax: input.inFlightMax }),
    ...(input.attemptTimeoutMs !== undefined && { attemptTimeoutMs: input.attemptTimeoutMs }),
    ...(input.rateLimit !== undefined && { rateLimit: input.rateLimit }),
    ...(input.retryPolicy !== undefined && { retryPolicy: input.retryPolicy ?? PrismaTypes.DbNull }),
    ...(input.tls !== undefined && toTlsColumns(input.tls)),
    ...(input.enabled === true && { disabledAt: null, disabledReason: null }),
    ...(input.enabled === false && { disabledAt: new Date(), disabledReason: DISABLED_BY_REQUEST }),
  }
}

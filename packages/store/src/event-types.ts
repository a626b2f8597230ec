import type { EventType } from './generated/client.ts'
import type { Pool } from './pool.ts'
import type { Prisma } from './prisma.ts'
import { prismaCode } from './prisma-code.ts'

export type EventTypeRecord = EventType

export async function createEventType(
  prisma: Prisma,
  input: { name: string; description?: string | null },
): Promise<{ kind: 'created'; eventType: EventTypeRecord } | { kind: 'name-taken' }> {
  try {
    const eventType = await prisma.eventType.create({
      data: { name: input.name, description: input.description ?? null },
    })
    return { kind: 'created', eventType }
  } catch (error) {
    if (prismaCode(error) === 'unique-violation') return { kind: 'name-taken' }
    throw error
  }
}

export async function findEventType(prisma: Prisma, name: string): Promise<EventTypeRecord | undefined> {
  return (await prisma.eventType.findUnique({ where: { name } })) ?? undefined
}

/** By name. `cursor` is the last name that was seen. */
export async function listEventTypes(
  prisma: Prisma,
  page: { limit: number; cursor?: string },
): Promise<EventTypeRecord[]> {
  return await prisma.eventType.findMany({
    ...(page.cursor !== undefined && { where: { name: { gt: page.cursor } } }),
    orderBy: { name: 'asc' },
    take: page.limit,
  })
}

export async function updateEventType(
  prisma: Prisma,
  name: string,
  change: { description?: string | null },
): Promise<EventTypeRecord | undefined> {
  const [eventType] = await prisma.eventType.updateManyAndReturn({ where: { name }, data: change })
  return eventType
}

/** Deletes it unless an endpoint subscribes to it. */
export async function deleteEventType(
  prisma: Prisma,
  name: string,
): Promise<{ kind: 'deleted' } | { kind: 'unknown' } | { kind: 'in-use'; endpoints: number }> {
  return await prisma.$transaction(async (transaction) => {
    // Endpoints lock the types that they subscribe to: none can begin to while this one is being deleted.
    const locked = await transaction.$queryRaw<unknown[]>`
      SELECT 1 FROM event_types WHERE name = ${name} FOR UPDATE`
    if (locked.length === 0) return { kind: 'unknown' }
    const endpoints = await transaction.endpoint.count({
      where: { deletedAt: null, eventTypes: { has: name } },
    })
    if (endpoints > 0) return { kind: 'in-use', endpoints }
    await transaction.eventType.delete({ where: { name } })
    return { kind: 'deleted' }
  })
}

/** Names for "did you mean". */
export async function listEventTypeNames(pool: Pool, limit: number): Promise<string[]> {
  const { rows } = await pool.query<{ name: string }>({
    name: 'list-event-type-names',
    text: 'SELECT name FROM event_types ORDER BY name LIMIT $1',
    values: [limit],
  })
  return rows.map((row) => row.name)
}

import { lowestId } from '@posthorn/contracts'
import type { ClientBase } from 'pg'

const DAY_MS = 86_400_000
/** Ids made by application processes may be a day off the database's clock in either direction. */
const DAYS_BEHIND = 2
/** A program that could not make partitions for a week has been failing loudly for a week. */
const DAYS_AHEAD = 7

const PARTITIONED = ['messages', 'deliveries_ended', 'attempts'] as const

// 'PHRP' in ASCII.
const PARTITION_LOCK = 0x5048_5250

/**
 * Makes the daily partitions around `now` that do not exist yet, each `[day, next day)` by UUIDv7.
 *
 * A partition is built beside its parent and attached: ATTACH takes a lock that lets reads and writes
 * go on, CREATE … PARTITION OF would stop both. Callers take turns under an advisory lock.
 *
 * @returns the names of the partitions that this call made
 */
export async function ensurePartitions(client: ClientBase, now = new Date()): Promise<string[]> {
  await client.query('BEGIN')
  try {
    await client.query('SELECT pg_advisory_xact_lock($1)', [PARTITION_LOCK])
    const { rows } = await client.query<{ name: string }>(
      `SELECT child.relname AS name FROM pg_inherits i
       JOIN pg_class child ON child.oid = i.inhrelid
       WHERE i.inhparent = ANY ($1::regclass[])`,
      [PARTITIONED],
    )
    const existing = new Set(rows.map((row) => row.name))
    const made: string[] = []
    const today = Math.floor(now.getTime() / DAY_MS) * DAY_MS
    for (let day = today - DAYS_BEHIND * DAY_MS; day <= today + DAYS_AHEAD * DAY_MS; day += DAY_MS) {
      for (const parent of PARTITIONED) {
        const name = `${parent}_${new Date(day).toISOString().slice(0, 10).replaceAll('-', '')}`
        if (existing.has(name)) continue
        await client.query(
          `CREATE TABLE "${name}" (LIKE "${parent}" INCLUDING DEFAULTS INCLUDING CONSTRAINTS)`,
        )
        await client.query(
          `ALTER TABLE "${parent}" ATTACH PARTITION "${name}" FOR VALUES FROM ('${lowestId(day)}') TO ('${lowestId(day + DAY_MS)}')`,
        )
        made.push(name)
      }
    }
    await client.query('COMMIT')
    return made
  } catch (error) {
    await client.query('ROLLBACK')
    throw error
  }
}

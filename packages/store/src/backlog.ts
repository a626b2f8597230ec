import type { Pool } from './pool.ts'

export interface Backlog {
  /** Deliveries that have not ended. */
  pending: number
  /** Those of them whose time has come. */
  due: number
  /** How long the one that is due for the longest has been; 0 where none is. */
  oldestDueMs: number
}

/** What waits in the working set. Reads all of it: for a scrape now and then. */
export async function readBacklog(pool: Pool): Promise<Backlog> {
  const { rows } = await pool.query<Backlog>({
    name: 'read-backlog',
    text: `SELECT count(*)::int AS pending, count(*) FILTER (WHERE due_at <= now())::int AS due,
        coalesce(extract(epoch FROM now() - least(min(due_at), now())) * 1000, 0)::float8 AS "oldestDueMs"
      FROM deliveries_pending`,
  })
  return rows[0]!
}

import type { Pool } from './pool.ts'

export interface Backlog {
  /** Deliveries that have not ended. */
  pending: number
  /** Those of them whose time has come, but for what is parked at an endpoint that fails. */
  due: number
  /** How long the one that is due for the longest has been; 0 where none is. */
  oldestDueMs: number
}

/** What waits in the working set. Reads all of it: for a scrape now and then. */
export async function readBacklog(pool: Pool): Promise<Backlog> {
  const { rows } = await pool.query<Backlog>({
    name: 'read-backlog',
    // The sweep looks at what is parked much later than at anything else that is due.
    text: `SELECT count(*)::int AS pending, count(*) FILTER (WHERE due_at <= now() AND NOT parked)::int AS due,
        coalesce(extract(epoch FROM now() - least(min(due_at) FILTER (WHERE NOT parked), now())) * 1000, 0)::float8
          AS "oldestDueMs"
      FROM (SELECT due_at, wake_at > now() + interval '1 minute' AS parked FROM deliveries_pending) AS p`,
  })
  return rows[0]!
}

import type { Scenario } from '../scenario.ts'
import type { Stage } from '../stage.ts'

const EVENTS = 10_000

/** PostgreSQL's bytes for a message that is delivered at once, indexes and all, and what it writes ahead. */
export const storage: Scenario = {
  name: 'storage',
  quick: true,
  async run(stage, { say }) {
    const owner = await stage.addOwner(1)
    const before = await measure(stage)
    const round = await stage.closed(owner, { entrance: 'rest', callers: 64, events: EVENTS })
    const after = await measure(stage)
    const [payload] = await stage.platform.query<{ bytes: number }>(
      'SELECT avg(octet_length(payload))::float8 AS bytes FROM messages',
    )
    const bytes = (after.stored - before.stored) / round.events
    const figures = {
      ...{ scenario: 'storage', variant: '1 KB', backend: stage.backend, events: round.events },
      bytesPerMessage: Math.round(bytes),
      payloadBytes: Math.round(payload!.bytes),
      bytesBeyondPayload: Math.round(bytes - payload!.bytes),
      walBytesPerMessage: Math.round((after.wal - before.wal) / round.events),
    }
    say(`storage: ${figures.bytesBeyondPayload} bytes beyond the payload of a message`)
    return [figures]
  },
}

/** What was deleted and not yet cleaned away does not count: the working set is reused. */
async function measure({ platform }: Stage): Promise<{ stored: number; wal: number }> {
  await platform.query('VACUUM')
  const [row] = await platform.query<{ stored: number; wal: number }>(`
    SELECT (SELECT sum(pg_total_relation_size(c.oid)) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname = 'public' AND c.relkind = 'r' AND c.relname NOT LIKE 'bull%')::float8 AS stored,
      pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::float8 AS wal`)
  return row!
}

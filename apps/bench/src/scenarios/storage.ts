import { percentile } from '../percentile.ts'
import type { Figures, Scenario } from '../scenario.ts'
import { spread } from '../spread.ts'
import type { Stage } from '../stage.ts'

const EVENTS = 10_000

/** PostgreSQL's bytes for a message that is delivered at once, indexes and all, and what it writes ahead. */
export const storage: Scenario = {
  name: 'storage',
  quick: true,
  async run(stage, { repeats, say }) {
    const owner = await stage.addOwner(1)
    const run = () => stage.closed(owner, { entrance: 'rest', callers: 64, events: EVENTS })
    // The working set takes its size once and is reused ever after, and so do the first pages of each index:
    // what a message adds is seen in the second round.
    await run()
    const rounds: { events: number; before: Sizes; after: Sizes }[] = []
    for (let repeat = 0; repeat < repeats; repeat++) {
      const before = await measure(stage)
      const { events } = await run()
      rounds.push({ events, before, after: await measure(stage) })
    }
    const [payload] = await stage.platform.query<{ bytes: number }>(
      'SELECT avg(octet_length(payload))::float8 AS bytes FROM messages',
    )
    const payloadBytes = Math.round(payload!.bytes)
    const perMessage = (figure: (sizes: Sizes) => number) =>
      rounds.map(({ events, before, after }) => (figure(after) - figure(before)) / events)
    const stored = perMessage((sizes) => sizes.stored)
    const figures: Figures = {
      ...{ scenario: 'storage', variant: '1 KB', backend: stage.backend, events: EVENTS, payloadBytes },
      ...spread('bytesPerMessage', stored),
      ...spread(
        'bytesBeyondPayload',
        stored.map((bytes) => bytes - payloadBytes),
      ),
      ...spread(
        'walBytesPerMessage',
        perMessage(({ wal }) => wal),
      ),
    }
    const median = (figure: (sizes: Sizes) => number) => Math.round(percentile(perMessage(figure), 0.5))
    for (const name of rounds[0]!.after.tables.keys()) {
      figures[`${name}Bytes`] = median(({ tables }) => tables.get(name)?.heap ?? 0)
      figures[`${name}IndexBytes`] = median(({ tables }) => tables.get(name)?.indexes ?? 0)
    }
    say(`storage: ${figures.bytesBeyondPayload} bytes beyond the payload of a message`)
    return [figures]
  },
}

/** Bytes so far. */
interface Sizes {
  stored: number
  wal: number
  /** Of what grows with each message, with its partitions: `heap` has what is stored out of line, too. */
  tables: Map<string, { heap: number; indexes: number }>
}

interface TableRow {
  name: string
  heap: number
  indexes: number
}

// A partition counts under its parent's name, by the day cut off its own. BullMQ's tables are the queue's,
// which is measured by what a delivery costs.
const TABLES = `
SELECT regexp_replace(c.relname, '_[0-9]{8}$', '') AS name,
  sum(pg_table_size(c.oid))::float8 AS heap, sum(pg_indexes_size(c.oid))::float8 AS indexes
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = 'public' AND c.relkind = 'r' AND c.relname NOT LIKE 'bull%'
GROUP BY 1 ORDER BY 1`

const BY_NAME = ['messages', 'deliveries_pending', 'deliveries_ended', 'attempts']

/** What was deleted and not yet cleaned away does not count: the working set is reused. */
async function measure({ platform }: Stage): Promise<Sizes> {
  // A second time, a transaction later: pages that the first one freed in an index are not used again before.
  await platform.query('VACUUM')
  await platform.query('SELECT pg_current_xact_id()')
  await platform.query('VACUUM')
  const rows = await platform.query<TableRow>(TABLES)
  const [wal] = await platform.query<{ bytes: number }>(
    `SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::float8 AS bytes`,
  )
  return {
    stored: rows.reduce((sum, { heap, indexes }) => sum + heap + indexes, 0),
    wal: wal!.bytes,
    tables: new Map(
      rows.filter(({ name }) => BY_NAME.includes(name)).map(({ name, ...sizes }) => [camelCase(name), sizes]),
    ),
  }
}

function camelCase(name: string): string {
  return name.replace(/_([a-z])/g, (_, letter: string) => letter.toUpperCase())
}

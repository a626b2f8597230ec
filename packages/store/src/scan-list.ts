import type { Pool } from './pool.ts'

export interface Page {
  /** Items at most. */
  limit: number
  /** Only what comes after this id, in the order of the list. */
  cursor?: string
}

export interface Listed<T> {
  items: T[]
  /** The cursor of the next page; null: this is the last. It may be there although the page is not full. */
  next: string | null
}

export interface ListQuery {
  /** With `id` among them. */
  columns: string
  /** A table as `t`, and what is joined to it. */
  from: string
  /** What an index finds, and what each of those that it finds is then looked at for. */
  found: Conditions
  filtered: Conditions
}

/** Conditions on `t`, each with its value; one without a value does not count. */
export type Conditions = [condition: (parameter: string) => string, value: unknown][]

/** Rows that are looked at before the clock is. Where each is read from a disk, these take as long as the rest may. */
const CHUNK = 32
/** How long a page may look before the rest is left to the next one. */
const PAGE_MS = 20
/** Above every id. */
const FIRST = 'ffffffff-ffff-ffff-ffff-ffffffffffff'

/**
 * Newest first, by id.
 *
 * What no index finds is looked for among what one does, for as long as a page may take: a filter that fits
 * one row in a million would otherwise read all of the log for a page, which took six seconds for ten million
 * deliveries. An index for each filter would cost each delivery more than such a list is worth.
 */
export async function scanList<T extends { id: string }>(
  pool: Pool,
  { columns, from, found, filtered }: ListQuery,
  { limit, cursor }: Page,
): Promise<Listed<T>> {
  const values: unknown[] = []
  const parameter = (value: unknown) => `$${values.push(value)}`
  // Only the filters that were given: each combination gets a plan of its own, on its own index.
  const all = (conditions: Conditions) =>
    conditions
      .filter(([, value]) => value !== undefined)
      .map(([condition, value]) => condition(parameter(value)))
      .join(' AND ')
  const start = parameter(cursor ?? FIRST)
  const where = all(found) || 'true'
  const filter = all(filtered)
  if (filter === '') {
    const { rows } = await pool.query<T>({
      text: `SELECT ${columns} FROM ${from} WHERE ${where} AND t.id < ${start} ORDER BY t.id DESC LIMIT ${limit + 1}`,
      values,
    })
    return rows.length > limit ? cut(rows, limit) : { items: rows, next: null }
  }
  // Each step looks at the chunk after the last one's. The outer conditions are of the step before, so that no
  // chunk is read for nothing; the first one is read however late it is, or a page would not get on.
  const { rows } = await pool.query<{ through: string; isEnd: boolean; id: string | null } & T>({
    text: `WITH RECURSIVE looked AS (
        SELECT 0 AS step, ${start}::uuid AS through, '{}'::uuid[] AS fitting, false AS is_end,
          statement_timestamp() + interval '${PAGE_MS} milliseconds' AS until
        UNION ALL
        SELECT l.step + 1, c.through, l.fitting || c.fitting, c.is_end, l.until
        FROM looked l, LATERAL (
          SELECT (array_agg(id ORDER BY id DESC))[count(*)] AS through,
            coalesce(array_agg(id ORDER BY id DESC) FILTER (WHERE fits), '{}') AS fitting, count(*) < ${CHUNK} AS is_end
          FROM (
            SELECT t.id, (${filter}) AS fits FROM ${from} WHERE ${where} AND t.id < l.through
            ORDER BY t.id DESC LIMIT ${CHUNK}
          ) chunk
        ) c
        WHERE NOT l.is_end AND cardinality(l.fitting) <= ${limit} AND (l.step = 0 OR clock_timestamp() < l.until)
      )
      SELECT last.through, last.is_end AS "isEnd", fitting.*
      FROM (SELECT * FROM looked ORDER BY step DESC LIMIT 1) last
      LEFT JOIN LATERAL (
        SELECT ${columns} FROM unnest(last.fitting) AS f(id), ${from} WHERE t.id = f.id
      ) fitting ON true
      ORDER BY fitting.id DESC`,
    values,
  })
  const { through, isEnd } = rows[0]!
  const items = rows.filter(({ id }) => id !== null)
  if (items.length > limit) return cut(items, limit)
  return { items, next: isEnd ? null : through }
}

function cut<T extends { id: string }>(items: T[], limit: number): Listed<T> {
  return { items: items.slice(0, limit), next: items[limit - 1]!.id }
}

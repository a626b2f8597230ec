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

/** Rows that are looked at in the first statement, and in a later one at least and at most. */
const WINDOW_MIN = 500
const WINDOW_MAX = 4_000
const WINDOW_GROWTH = 5
/** How long a page may take before the rest is left to the next one. */
const PAGE_MS = 25

/**
 * Newest first, by id.
 *
 * What no index finds is looked for among what one does, in ever larger windows: a filter that fits one
 * row in a million would otherwise read all of the log for a page, which took six seconds for ten million
 * deliveries. An index for each filter would cost each delivery more than such a list is worth.
 */
export async function scanList<T extends { id: string }>(
  pool: Pool,
  query: ListQuery,
  { limit, cursor }: Page,
): Promise<Listed<T>> {
  const untilMs = performance.now() + PAGE_MS
  const items: T[] = []
  let after = cursor
  for (let size = WINDOW_MIN; ; ) {
    const wanted = limit + 1 - items.length
    const startedMs = performance.now()
    const { rows, through, isEnd } = await readWindow<T>(pool, query, { wanted, size, after })
    items.push(...rows)
    if (items.length > limit) return { items: items.slice(0, limit), next: items[limit - 1]!.id }
    if (isEnd) return { items, next: null }
    const nowMs = performance.now()
    // So that the next window ends in time, on a slow machine and of rows that are slow to look at too.
    const sizeInTime = Math.floor((size * (untilMs - nowMs)) / (nowMs - startedMs))
    if (sizeInTime < WINDOW_MIN) return { items, next: through }
    size = Math.min(size * WINDOW_GROWTH, WINDOW_MAX, sizeInTime)
    after = through
  }
}

interface Window<T> {
  rows: T[]
  /** The last that was looked at. */
  through: string
  isEnd: boolean
}

async function readWindow<T extends { id: string }>(
  pool: Pool,
  { columns, from, found, filtered }: ListQuery,
  { wanted, size, after }: { wanted: number; size: number; after: string | undefined },
): Promise<Window<T>> {
  const values: unknown[] = []
  const all = (conditions: Conditions) =>
    conditions
      .filter(([, value]) => value !== undefined)
      .map(([condition, value]) => condition(`$${values.push(value)}`))
      .join(' AND ')
  // Only the filters that were given: each combination gets a plan of its own, on its own index.
  const where = all([...found, [(p) => `t.id < ${p}`, after]]) || 'true'
  const filter = all(filtered)
  if (filter === '') {
    const text = `SELECT ${columns} FROM ${from} WHERE ${where} ORDER BY t.id DESC LIMIT ${wanted}`
    const { rows } = await pool.query<T>({ text, values })
    return { rows, through: '', isEnd: rows.length < wanted }
  }
  const { rows } = await pool.query<{ through: string | null; looked: number; id: string | null } & T>({
    text: `WITH looked AS MATERIALIZED (
        SELECT ${columns}, (${filter}) AS fits FROM ${from} WHERE ${where} ORDER BY t.id DESC LIMIT ${size}
      )
      SELECT seen.through, seen.looked, fitting.*
      FROM (SELECT (SELECT id FROM looked ORDER BY id LIMIT 1) AS through, (SELECT count(*)::int FROM looked) AS looked) seen
      LEFT JOIN LATERAL (SELECT * FROM looked WHERE fits ORDER BY id DESC LIMIT ${wanted}) fitting ON true`,
    values,
  })
  const { through, looked } = rows[0]!
  return { rows: rows.filter(({ id }) => id !== null), through: through ?? '', isEnd: looked < size }
}

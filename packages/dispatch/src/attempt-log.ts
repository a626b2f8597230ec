import { coalesce, type Logger } from '@posthorn/runtime'
import { type AttemptResult, isTransient, type Pool, recordAttempts } from '@posthorn/store'
import { outlast } from './outlast.ts'

const RETRIES_MAX = 5
/** As of commits of accepted messages: accept.ts. */
const BESIDE_MIN = 128
/**
 * How long after its lease a result may still be written: the claim decides whether it counts. What is not
 * written is sent again.
 */
const OVERTIME_MS = 60_000

interface Entry {
  result: AttemptResult
  leaseUntilMs: number
}

/** Of one entry; an error stays with the result that it belongs to. */
type Written = boolean | { error: unknown }

export interface AttemptLog {
  /**
   * Resolves when the result is committed: true, or false where the claim was lost meanwhile.
   * Rejects where it cannot be written until some time after the lease: the delivery will be made again.
   */
  add(result: AttemptResult, leaseUntilMs: number): Promise<boolean>
  close(): Promise<void>
}

interface Context {
  pool: Pool
  logger: Logger
}

/** Results that arrive while a commit is in flight share the next one. */
export function createAttemptLog(context: Context): AttemptLog {
  const commits = coalesce<Entry, Written>({
    run: (entries) => commit(context, entries),
    itemsMax: 500,
    bytesMax: 4 * 1024 * 1024,
    bytesOf: ({ result }) => result.responseBody?.length ?? 0,
    concurrency: 2,
    besideMin: BESIDE_MIN,
    everyMs: Number(process.env.PH_LOG ?? 0),
  })
  return {
    async add(result, leaseUntilMs) {
      const written = await commits.add({ result, leaseUntilMs })
      if (typeof written === 'object') throw written.error
      return written
    },
    close: () => commits.close(),
  }
}

async function commit(context: Context, entries: Entry[]): Promise<Written[]> {
  const results = entries.map((entry) => entry.result)
  // The POSTs are made. While nobody else has taken the deliveries, it is worth waiting to say so.
  const untilMs = Math.max(...entries.map((entry) => entry.leaseUntilMs)) + OVERTIME_MS
  for (let failures = 0; ; failures++) {
    try {
      const written = await outlast(
        () => recordAttempts(context.pool, results),
        untilMs,
        (error) => context.logger.warn({ err: error, results: results.length }, 'attempts.waiting'),
      )
      return results.map((result) => written.has(result.deliveryId))
    } catch (error) {
      if (isTransient(error) && failures < RETRIES_MAX) continue
      if (entries.length === 1) return [{ error }]
      // One result that cannot be written costs one delivery, not all that share its commit.
      return (await Promise.all(entries.map((entry) => commit(context, [entry])))).flat()
    }
  }
}

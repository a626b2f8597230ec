import { QUEUE_POOL_MAX } from '@posthorn/queue'
import type { Settings } from '@posthorn/runtime'
import type { Pool } from '@posthorn/store'
import { CommandError } from './command-error.ts'

/** Connections to PostgreSQL, at most, of a process that is by itself. */
export const POOL_MAX = 20
/** Of each of several workers: together they have as many cores as one would have. */
export const SUPERVISED_POOL_MAX = 10

/** Queues that emits go into: the deliveries', and the one of what is beyond an owner's share. */
const API_QUEUES = 2
/** Those again, and what takes jobs out of them and out of the applications' queue. */
const WORKER_QUEUES = 5

/** For what looks in beside: `keys create`, psql, applications that emit straight into the queue. */
const EMBEDDED_SPARE = 40
const EMBEDDED_MIN = 200

type Needs = Pick<Settings, 'workers' | 'mode'>

/** Connections to PostgreSQL that several workers and one API beside them open at most. */
export function connectionsNeeded({ workers, mode }: Needs): number {
  return connectionsOfApi(mode) + workers * connectionsOfWorker(mode)
}

/** `max_connections` of the embedded server. */
export function embeddedMaxConnections(settings: Needs): number {
  return Math.max(EMBEDDED_MIN, connectionsNeeded(settings) + EMBEDDED_SPARE)
}

/** Why so many workers must not be started on a server that allows `available` connections, if they must not. */
export function connectionsFault(settings: Needs, available: number): string | undefined {
  const { workers, mode } = settings
  const needed = connectionsNeeded(settings)
  if (needed <= available) return undefined
  const workersMax = Math.floor((available - connectionsOfApi(mode)) / connectionsOfWorker(mode))
  return (
    `POSTHORN_WORKERS is ${workers}: with an API beside them they open up to ${needed} connections to ` +
    `PostgreSQL, which has ${available}. Raise its max_connections by ${needed - available}, ` +
    `or set POSTHORN_WORKERS to ${Math.max(workersMax, 1)}.`
  )
}

/** Throws CommandError where there are too few: workers that find none would fail under load, and only then. */
export async function refuseTooManyConnections(pool: Pool, settings: Needs): Promise<void> {
  const { rows } = await pool.query<{ available: number }>(AVAILABLE)
  const fault = connectionsFault(settings, rows[0]!.available)
  if (fault !== undefined) throw new CommandError(fault)
}

const AVAILABLE = `
SELECT current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int
  - current_setting('reserved_connections')::int AS available`

function connectionsOfApi(mode: Settings['mode']): number {
  return POOL_MAX + (mode === 'redis' ? 0 : API_QUEUES * QUEUE_POOL_MAX)
}

function connectionsOfWorker(mode: Settings['mode']): number {
  return SUPERVISED_POOL_MAX + (mode === 'redis' ? 0 : WORKER_QUEUES * QUEUE_POOL_MAX)
}

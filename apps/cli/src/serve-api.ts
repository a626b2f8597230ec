import { type RunningApi, startApi } from '@posthorn/api'
import { createAccept, PROCESS_LIMITS, startLoadSampler } from '@posthorn/dispatch'
import { createEgressPolicy, vetUrl } from '@posthorn/egress'
import { connectRedis, createDeliveryQueue } from '@posthorn/queue'
import { type Logger, type Settings, type Shutdown, version } from '@posthorn/runtime'
import type { Vault } from '@posthorn/store'
import { CommandError } from './command-error.ts'
import type { Stores } from './database.ts'

/** The REST API on its own way into the database and the queue, closed by `shutdown`. */
export async function serveApi(
  context: Stores & { vault: Vault; settings: Settings; logger: Logger; shutdown: Shutdown },
): Promise<RunningApi> {
  const { store, backend, vault, settings, logger, shutdown } = context
  const queue = createDeliveryQueue(backend)
  shutdown.defer('queue', () => queue.close())
  const accept = createAccept({ pool: store.pool, queue, logger })
  shutdown.defer('acceptance', () => accept.close())
  const admission = startLoadSampler({
    pool: store.pool,
    accept,
    limits: { ...PROCESS_LIMITS, backlogMax: settings.backlogMax, ownerShare: settings.ownerShare },
    logger,
  })
  shutdown.defer('admission', () => admission.stop())
  const egress = createEgressPolicy(settings, logger)
  const redis = settings.redisUrl === undefined ? undefined : connectCounters(settings.redisUrl, logger)
  shutdown.defer('counters', () => redis?.disconnect())
  const { host, port } = settings
  const api = await startApi(
    {
      store,
      vault,
      accept,
      admission,
      queue,
      vetUrl: (url) => vetUrl(url, egress),
      settings,
      ...(redis !== undefined && { redis }),
      logger,
      version,
    },
    { host, port },
  ).catch((error: NodeJS.ErrnoException) => {
    throw error.code === 'EADDRINUSE'
      ? new CommandError(
          `Port ${port} on ${host} is taken, perhaps by another Posthorn. Stop it, or set POSTHORN_PORT to another one.`,
        )
      : error
  })
  shutdown.defer('API', () => api.close())
  return api
}

/** The API counts requests there. It does not wait for it: while it is away, each process counts for itself. */
function connectCounters(redisUrl: string, logger: Logger): ReturnType<typeof connectRedis> {
  const redis = connectRedis(redisUrl, { enableOfflineQueue: false, maxRetriesPerRequest: 1 })
  redis.on('error', (error) => logger.debug({ err: error }, 'counters.error'))
  return redis
}

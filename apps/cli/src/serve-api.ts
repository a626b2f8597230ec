import { type RunningApi, startApi } from '@posthorn/api'
import { createAccept, PROCESS_LIMITS, startLoadSampler } from '@posthorn/dispatch'
import { createEgressPolicy, vetUrl } from '@posthorn/egress'
import { createDeliveryQueue } from '@posthorn/queue'
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

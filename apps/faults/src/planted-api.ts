// An API as `posthorn api` composes it, with a bug planted: node planted-api.ts <bug>
import { startApi } from '@posthorn/api'
import { createAccept } from '@posthorn/dispatch'
import { createEgressPolicy, vetUrl } from '@posthorn/egress'
import { createDeliveryQueue } from '@posthorn/queue'
import { openPlantedStores } from './open-planted-stores.ts'
import { findPlantedBug } from './planted-bugs.ts'

const bug = findPlantedBug(process.argv[2])
const { store, vault, backend, settings, logger, shutdown } = await openPlantedStores(bug, 'posthorn-api')
const queue = createDeliveryQueue(backend)
shutdown.defer('queue', () => queue.close())
const accept = createAccept({ pool: store.pool, queue, logger })
shutdown.defer('acceptance', () => accept.close())
const egress = createEgressPolicy(settings, logger)
const api = await startApi(
  {
    ...{ store, vault, queue, settings, logger },
    accept: bug.decorateAccept?.(accept) ?? accept,
    // Nothing here is to be refused for load: what is planted has to show.
    admission: { admit: () => ({ kind: 'admitted' }) },
    vetUrl: (url) => vetUrl(url, egress),
  },
  settings,
)
shutdown.defer('API', () => api.close())
logger.info({ url: api.url }, 'api.ready')

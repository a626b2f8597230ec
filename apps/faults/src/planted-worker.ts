// A worker as `posthorn worker` composes it, with a bug planted: node planted-worker.ts <bug>
import { startWorker } from '@posthorn/worker'
import { openPlantedStores } from './open-planted-stores.ts'
import { findPlantedBug } from './planted-bugs.ts'

const { shutdown, ...context } = await openPlantedStores(findPlantedBug(process.argv[2]), 'posthorn-worker')
const worker = startWorker(context)
shutdown.defer('worker', () => worker.close())
context.logger.info('worker.ready')

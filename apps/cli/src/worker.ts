import { startWorker } from '@posthorn/worker'
import { runCommand } from './run-command.ts'
import { openVault } from './vault.ts'

/** `posthorn worker`: delivers and sweeps. Run as many as there is work for. */
export async function worker(env: NodeJS.ProcessEnv): Promise<void> {
  const options = { name: 'posthorn-worker', needsDatabaseUrl: true, needsMasterKey: true } as const
  await runCommand(env, options, async (context) => {
    const vault = await openVault(context.store.pool, context.masterKeys)
    const running = startWorker({ ...context, vault })
    context.shutdown.defer('worker', () => running.close())
    context.logger.info('worker.ready')
  })
}

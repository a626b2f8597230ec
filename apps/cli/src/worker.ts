import { runCommand } from './run-command.ts'
import { runWorkers } from './run-workers.ts'
import { openVault } from './vault.ts'

/** `posthorn worker`: delivers and sweeps. Run as many as there is work for. */
export async function worker(
  env: NodeJS.ProcessEnv,
  { supervised = false }: { supervised?: boolean } = {},
): Promise<void> {
  const options = {
    name: 'posthorn-worker',
    needsDatabaseUrl: true,
    needsMasterKey: true,
    supervised,
  } as const
  await runCommand(env, options, async (context) => {
    const vault = await openVault(context.store.pool, context.masterKeys)
    await runWorkers({ ...context, vault })
    // Of several, each says it of itself.
    if (context.settings.workers === 1) context.logger.info('worker.ready')
  })
}

import { runCommand } from './run-command.ts'
import { serveApi } from './serve-api.ts'
import { openVault } from './vault.ts'

/** `posthorn api`: the REST API alone. */
export async function api(env: NodeJS.ProcessEnv): Promise<void> {
  const options = { name: 'posthorn-api', needsDatabaseUrl: true, needsMasterKey: true } as const
  await runCommand(env, options, async (context) => {
    const vault = await openVault(context.store.pool, context.masterKeys)
    const { url } = await serveApi({ ...context, vault })
    context.logger.info({ url }, 'api.ready')
  })
}

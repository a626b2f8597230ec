import { runCommand } from './run-command.ts'
import { serveApi } from './serve-api.ts'

/** `posthorn api`: the REST API alone. */
export async function api(env: NodeJS.ProcessEnv): Promise<void> {
  await runCommand(env, { name: 'posthorn-api', needsDatabaseUrl: true }, async (context) => {
    const { url } = await serveApi(context)
    context.logger.info({ url }, 'api.ready')
  })
}

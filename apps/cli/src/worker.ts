import { startWorker } from '@posthorn/worker'
import { runCommand } from './run-command.ts'

/** `posthorn worker`: delivers and sweeps. Run as many as there is work for. */
export async function worker(env: NodeJS.ProcessEnv): Promise<void> {
  await runCommand(env, { name: 'posthorn-worker', needsDatabaseUrl: true }, (context) => {
    const running = startWorker(context)
    context.shutdown.defer('worker', () => running.close())
    context.logger.info('worker.ready')
  })
}

import { createLogger, onShutdown } from '@posthorn/runtime'
import { verify, WebhookVerificationError } from '@posthorn/signing'
import { CommandError } from './command-error.ts'
import { startReceiver } from './receiver.ts'

/** `posthorn listen`: shows every webhook that arrives, and whether its signature is right. */
export async function listen(options: { port: number; secret?: string; status: number }): Promise<void> {
  const { port, secret, status } = options
  const shutdown = onShutdown({
    logger: createLogger({ level: 'warn', name: 'posthorn-listen' }),
    boundMs: 5_000,
  })
  const receiver = await startReceiver(port, (request) => {
    const verdict = secret === undefined ? '' : `  ${verdictOf(request, secret)}`
    process.stdout.write(
      `${request.method} ${request.path}  ${request.headers['webhook-id'] ?? '(no webhook-id)'}  -> ${status}${verdict}\n${request.body}\n`,
    )
    return status
  }).catch((error: NodeJS.ErrnoException) => {
    throw error.code === 'EADDRINUSE'
      ? new CommandError(`Port ${port} is taken. Choose another one with --port.`)
      : error
  })
  shutdown.defer('receiver', () => receiver.close())
  process.stdout.write(
    `Listening on ${receiver.url}, answering ${status}. Posthorn reaches it when started with\nPOSTHORN_EGRESS_ALLOW=127.0.0.0/8\n`,
  )
}

function verdictOf(
  request: { body: Buffer; headers: NodeJS.Dict<string | string[]> },
  secret: string,
): string {
  try {
    verify(request.body, request.headers, secret)
    return 'signature verified'
  } catch (error) {
    return error instanceof WebhookVerificationError
      ? `NOT VERIFIED (${error.code})`
      : 'NOT VERIFIED (bad --secret)'
  }
}

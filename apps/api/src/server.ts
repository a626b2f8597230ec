import type { AddressInfo } from 'node:net'
import type { ApiContext } from './api.ts'
import { buildApp } from './app.ts'

export interface RunningApi {
  /** Without a slash at the end. */
  url: string
  /** Takes no more connections, answers what is under way, and resolves. The context stays open. */
  close(): Promise<void>
}

/**
 * Builds the API and listens.
 *
 * @param listen port 0 takes any free port
 */
export async function startApi(
  context: ApiContext,
  listen: { host: string; port: number },
): Promise<RunningApi> {
  const app = await buildApp(context)
  try {
    await app.listen({ ...listen, listenTextResolver: (address) => `api listens on ${address}` })
  } catch (error) {
    await app.close()
    throw error
  }
  const { port } = app.server.address() as AddressInfo
  const host = listen.host === '0.0.0.0' || listen.host === '::' ? 'localhost' : listen.host
  return { url: `http://${host.includes(':') ? `[${host}]` : host}:${port}`, close: () => app.close() }
}

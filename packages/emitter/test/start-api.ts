import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'

interface ApiRequest {
  readonly path: string
  readonly headers: IncomingMessage['headers']
  /** Messages in the request: one for /v1/messages. */
  readonly messages: readonly ApiMessage[]
  readonly body: string
}

interface ApiMessage {
  readonly id: string
  readonly owner: string
  readonly type: string
  readonly data: unknown
  readonly timestamp?: string
}

/** What a test wants to happen to a request; undefined lets the API answer as it does. */
type Interference = (request: ApiRequest, response: ServerResponse, socket: Socket) => unknown

export interface TestApi {
  readonly url: string
  readonly requests: ApiRequest[]
  /** What was accepted, by id: a second acceptance of the same id is not a second entry. */
  readonly accepted: Map<string, ApiMessage>
  readonly sockets: Set<Socket>
  interfere(interference: Interference): void
  stop(): Promise<void>
}

export const API_KEY = 'phk_test_key'

/**
 * A real HTTP server that answers like the message routes of Posthorn's API: bearer key, problem documents,
 * idempotent ids. The type `refused.type` is refused with 422, as an unknown event type is.
 */
export async function startApi(): Promise<TestApi> {
  const requests: ApiRequest[] = []
  const accepted = new Map<string, ApiMessage>()
  const sockets = new Set<Socket>()
  let interference: Interference = () => undefined

  const server = createServer(async (incoming, response) => {
    const chunks: Buffer[] = []
    for await (const chunk of incoming) chunks.push(chunk as Buffer)
    const body = Buffer.concat(chunks).toString()
    const parsed = JSON.parse(body)
    const isBatch = incoming.url?.endsWith('/v1/messages/batch') ?? false
    const messages = (isBatch ? parsed.messages : [parsed]) as ApiMessage[]
    const request = { path: incoming.url!, headers: incoming.headers, messages, body }
    requests.push(request)
    await interference(request, response, incoming.socket)
    if (response.writableEnded || response.destroyed || incoming.socket.destroyed) return
    if (incoming.headers.authorization !== `Bearer ${API_KEY}`) {
      return sendProblem(response, 401, 'unauthorized', 'The API key is missing or wrong.')
    }
    const results = messages.map(accept)
    if (isBatch) return sendJson(response, 200, { data: results })
    const [result] = results
    if (result?.message) return sendJson(response, 202, result.message)
    sendProblem(response, result!.status, result!.error!.code, result!.error!.detail)
  })
  server.on('connection', (socket) => {
    sockets.add(socket)
    socket.on('close', () => sockets.delete(socket))
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))

  function accept(message: ApiMessage) {
    const known = accepted.get(message.id)
    if (known && JSON.stringify(known) !== JSON.stringify(message)) {
      return { status: 409, error: problem(409, 'idempotency_conflict', 'Another body under this id.') }
    }
    if (message.type === 'refused.type') {
      return { status: 422, error: problem(422, 'unknown_event_type', 'Did you mean "accepted.type"?') }
    }
    accepted.set(message.id, message)
    const { id, owner, type, timestamp = '2026-01-01T00:00:00.000Z' } = message
    return { status: 202, message: { id, owner, type, timestamp, deliveries: 2 } }
  }

  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    requests,
    accepted,
    sockets,
    interfere(next) {
      interference = next
    },
    async stop() {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}

export function sendProblem(
  response: ServerResponse,
  status: number,
  code: string,
  detail: string,
  headers: Record<string, string> = {},
): void {
  response.writeHead(status, { 'content-type': 'application/problem+json', ...headers })
  response.end(JSON.stringify(problem(status, code, detail)))
}

function sendJson(response: ServerResponse, status: number, body: unknown): void {
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body))
}

function problem(status: number, code: string, detail: string) {
  return { type: `urn:posthorn:problem:${code}`, title: code, status, detail, code }
}

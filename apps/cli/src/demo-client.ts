import { CommandError } from './command-error.ts'

export interface Delivery {
  id: string
  endpoint: string
  eventType: string
  state: string
  attempts: number
}

interface Attempt {
  number: number
  startedAt: string
  durationMs: number
  outcome: string
  status: number | null
}

export interface DemoClient {
  get<T>(path: string): Promise<T>
  post<T>(path: string, body: unknown): Promise<T>
  /** A 409 is as good as a 201: a demo before this one made it. */
  postUnlessThere(path: string, body: unknown): Promise<void>
  delete(path: string): Promise<void>
  attempts(deliveryId: string): Promise<Attempt[]>
}

/** Talks to the REST API as a subscriber would. */
export function createDemoClient(url: string, apiKey: string): DemoClient {
  async function call(method: string, path: string, body?: unknown): Promise<Response> {
    return await fetch(`${url}${path}`, {
      method,
      headers: {
        authorization: `Bearer ${apiKey}`,
        ...(body !== undefined && { 'content-type': 'application/json' }),
      },
      ...(body !== undefined && { body: JSON.stringify(body) }),
    })
  }
  async function take<T>(response: Response): Promise<T> {
    if (response.ok) return (await response.json()) as T
    throw new CommandError(
      `${new URL(response.url).pathname} answered ${response.status}: ${await response.text()}`,
    )
  }
  return {
    get: async (path) => await take(await call('GET', path)),
    post: async (path, body) => await take(await call('POST', path, body)),
    async postUnlessThere(path, body) {
      const response = await call('POST', path, body)
      if (response.status !== 409) await take(response)
    },
    async delete(path) {
      await call('DELETE', path)
    },
    async attempts(deliveryId) {
      const { data } = await take<{ data: Attempt[] }>(
        await call('GET', `/v1/deliveries/${deliveryId}/attempts`),
      )
      return data
    },
  }
}

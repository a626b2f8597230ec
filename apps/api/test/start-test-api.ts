import type { NewApiKey } from '@posthorn/contracts'
import { type AdmissionLimits, createAccept, PROCESS_LIMITS, startLoadSampler } from '@posthorn/dispatch'
import { createEgressPolicy, vetUrl } from '@posthorn/egress'
import { createDeliveryQueue, createQueueBackend } from '@posthorn/queue'
import { createLogger, parseSettings } from '@posthorn/runtime'
import { createStore, createVault, migrate, type Store, type Vault } from '@posthorn/store'
import { createDatabase, TEST_MASTER_KEY, type TestDatabase, templateDatabase } from '@posthorn/testkit'
import type { ApiContext, ApiSettings } from '../src/api.ts'
import { startApi } from '../src/server.ts'

export const API_KEY = 'root-key-of-the-tests'

export interface Answer {
  status: number
  headers: Headers
  text: string
  // biome-ignore lint/suspicious/noExplicitAny: tests look into it freely
  body: any
}

interface RequestOptions {
  /** Sent as it is where it is text or bytes, as JSON otherwise. */
  body?: unknown
  headers?: Record<string, string>
  /** Undefined: the root key. Null: none. */
  key?: string | null
}

export interface TestApi {
  url: string
  database: TestDatabase
  store: Store
  vault: Vault
  request(method: string, path: string, options?: RequestOptions): Promise<Answer>
  /** Makes an API key with the root key. */
  createKey(input: NewApiKey): Promise<{ id: string; key: string }>
  close(): Promise<void>
}

/** The API as it runs, on real HTTP, over a fresh database; nothing delivers. */
export async function startTestApi(
  options: {
    /** Another way to the same database, such as through a proxy. */
    databaseUrl?: (url: string) => Promise<string>
    payloadBytesMax?: number
    limits?: Partial<AdmissionLimits>
    /** With other master keys than those of the tests. */
    vault?: Vault
    settings?: Partial<ApiSettings>
    redis?: ApiContext['redis']
    /** Of another API: this one is on the same. */
    database?: TestDatabase
  } = {},
): Promise<TestApi> {
  const logger = createLogger({ level: (process.env.LOG as 'warn') ?? 'silent', name: 'test' })
  const template = await templateDatabase('platform', async (url) => {
    const store = createStore(url)
    await migrate(store.pool)
    await createQueueBackend({ kind: 'postgres', url }, logger).prepare()
    await store.close()
  })
  const database = options.database ?? (await createDatabase({ template }))
  const databaseUrl = (await options.databaseUrl?.(database.url)) ?? database.url
  const store = createStore(databaseUrl, { connectTimeoutMs: 1_000 })
  const queue = createDeliveryQueue(createQueueBackend({ kind: 'postgres', url: databaseUrl }, logger))
  const accept = createAccept({ pool: store.pool, queue, logger })
  const settings = parseSettings({
    POSTHORN_API_KEY: API_KEY,
    POSTHORN_MASTER_KEY: TEST_MASTER_KEY,
    // Tests make more mistakes in a minute than anybody else.
    POSTHORN_AUTH_FAILURE_LIMIT: 'off',
  })
  const vault = options.vault ?? createVault(settings.masterKeys!)
  const { backlogMax, ownerShare } = settings
  const admission = startLoadSampler({
    pool: store.pool,
    accept,
    limits: {
      ...PROCESS_LIMITS,
      // The machine is shared with other tests, which are not this API's load.
      eventLoopDelayMaxMs: Number.POSITIVE_INFINITY,
      backlogMax,
      ownerShare,
      ...options.limits,
    },
    logger,
  })
  const egress = createEgressPolicy(settings, logger)
  const api = await startApi(
    {
      store,
      vault,
      accept,
      admission,
      queue,
      vetUrl: (url) => vetUrl(url, egress),
      settings: {
        ...settings,
        ...(options.payloadBytesMax !== undefined && { payloadBytesMax: options.payloadBytesMax }),
        ...options.settings,
      },
      ...(options.redis !== undefined && { redis: options.redis }),
      logger,
    },
    { host: '127.0.0.1', port: 0 },
  )
  return {
    url: api.url,
    database,
    store,
    vault,
    request: (method, path, requestOptions) => request(api.url, method, path, requestOptions),
    async createKey(input) {
      const { status, body } = await request(api.url, 'POST', '/v1/api-keys', { body: input })
      if (status !== 201) throw new Error(`No key was made: ${JSON.stringify(body)}`)
      return body
    },
    async close() {
      await api.close()
      await admission.stop()
      await accept.close()
      await queue.close().catch(() => {})
      await store.close()
      if (options.database === undefined) await database.drop()
    },
  }
}

async function request(
  url: string,
  method: string,
  path: string,
  { body, headers = {}, key = API_KEY }: RequestOptions = {},
): Promise<Answer> {
  const raw = body === undefined || typeof body === 'string' || body instanceof Uint8Array
  const response = await fetch(`${url}${path}`, {
    method,
    headers: {
      ...(body !== undefined && { 'content-type': 'application/json' }),
      ...(key !== null && { authorization: `Bearer ${key}` }),
      ...headers,
    },
    ...(body !== undefined && { body: raw ? (body as string) : JSON.stringify(body) }),
  })
  const text = await response.text()
  const isJson = /json/.test(response.headers.get('content-type') ?? '')
  return {
    status: response.status,
    headers: response.headers,
    text,
    body: isJson ? JSON.parse(text) : undefined,
  }
}

import type { IncomingMessage, ServerResponse } from 'node:http'
import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox'
import type { Accept, LoadSampler } from '@posthorn/dispatch'
import type { VetUrlResult } from '@posthorn/egress'
import type { connectRedis, DeliveryQueue } from '@posthorn/queue'
import type { Logger, Settings } from '@posthorn/runtime'
import type { Store, Vault } from '@posthorn/store'
import type { FastifyBaseLogger, FastifyInstance, RawServerDefault } from 'fastify'

/** A Fastify whose handlers are typed by their TypeBox schemas. */
export type Api = FastifyInstance<
  RawServerDefault,
  IncomingMessage,
  ServerResponse,
  FastifyBaseLogger,
  TypeBoxTypeProvider
>

/** What the API works with. Whoever made it closes it, after the API. */
export interface ApiContext {
  store: Store
  /** Encrypts signing secrets and secret headers. */
  vault: Vault
  accept: Pick<Accept, 'accept'>
  /** Says who may emit now. */
  admission: Pick<LoadSampler, 'admit'>
  queue: Pick<DeliveryQueue, 'enqueue' | 'waiting'>
  /** Judges the URL of an endpoint. */
  vetUrl: (url: string) => VetUrlResult
  settings: ApiSettings
  /** Where requests are counted; without it, in PostgreSQL. */
  redis?: ReturnType<typeof connectRedis>
  logger: Logger
  /** Of the program, for the OpenAPI document. */
  version?: string
}

/** `apiKey`, the root key, is optional: keys in the database work without it. */
export type ApiSettings = Pick<
  Settings,
  | 'payloadBytesMax'
  | 'leaseMs'
  | 'retryPolicy'
  | 'apiRateLimit'
  | 'authFailureLimit'
  | 'corsOrigins'
  | 'trustedProxies'
> & {
  apiKey?: string | undefined
}

import {
  CreatedEndpoint,
  decodeId,
  Endpoint,
  EndpointChange,
  type EndpointHealth,
  EndpointSecret,
  EndpointWithHealth,
  encodeId,
  isUid,
  LIST_LIMIT_DEFAULT,
  List,
  NewEndpoint,
  PageQuery,
  type RetryPolicy,
  type RetrySchedule,
  refusedHeader,
  retryPolicyFault,
  retrySchedule,
} from '@posthorn/contracts'
import { vetTls } from '@posthorn/egress'
import { generateSecret, parseSecret } from '@posthorn/signing'
import {
  countPending,
  createEndpoint,
  deleteEndpoint,
  type EndpointKey,
  type EndpointRecord,
  type EndpointResult,
  findEndpoint,
  findEndpointSecret,
  listEndpoints,
  loadEndpointHealth,
  updateEndpoint,
} from '@posthorn/store'
import { Type } from 'typebox'
import type { Api, ApiContext } from '../api.ts'
import { decodeCursor, pageOf } from '../cursor.ts'
import { createEventTypeHint } from '../event-type-hint.ts'
import { ProblemError } from '../problem-details.ts'
import { bearer, bodyProblems, problemResponses } from '../route-schema.ts'
import { requireOwner } from './owners.ts'

const tags = ['Endpoints']
const ownerParams = Type.Object({ owner: Type.String({ description: 'Id or uid of the owner.' }) })
const params = Type.Object({
  ...ownerParams.properties,
  endpoint: Type.String({ description: 'Id or uid of the endpoint.' }),
})

/** Counting reads them all. */
const WAITING_COUNTED = 10_000

const endpointProblems = [
  ...bodyProblems,
  'not_found',
  'unknown_event_type',
  'invalid_event_type',
  'uid_taken',
  'invalid_header',
  'invalid_tls',
  'url_invalid',
  'url_too_long',
  'url_scheme',
  'url_credentials',
  'url_fragment',
  'url_port',
  'url_host_refused',
] as const

/** An owner's target URLs with the events that they subscribe to. */
export function registerEndpoints(app: Api, context: ApiContext): void {
  const { store, settings } = context
  const { prisma } = store
  const platformSchedule = retrySchedule(settings.retryPolicy)
  const toEndpoint = (endpoint: EndpointRecord) => toAnswer(endpoint, platformSchedule)

  app.post(
    '/owners/:owner/endpoints',
    {
      schema: {
        summary: 'Make an endpoint',
        description: 'The signing secret is in this answer, and at …/secret afterwards.',
        operationId: 'createEndpoint',
        tags,
        security: bearer,
        params: ownerParams,
        body: NewEndpoint,
        response: { 201: CreatedEndpoint, ...problemResponses(...endpointProblems, 'invalid_secret') },
      },
    },
    async ({ params: { owner }, body: { secret: givenSecret, ...body } }, reply) => {
      const { id: ownerId } = await requireOwner(prisma, owner)
      const input = { ...body, ...judged(context, body) }
      const secret = secretBytes(givenSecret)
      const endpoint = await saved(context, body, createEndpoint(prisma, ownerId, input, secret))
      return reply.code(201).send({ ...toEndpoint(endpoint), secret: secretText(secret) })
    },
  )

  app.get(
    '/owners/:owner/endpoints',
    {
      schema: {
        summary: 'List the endpoints of an owner, newest first',
        operationId: 'listEndpoints',
        tags,
        security: bearer,
        params: ownerParams,
        querystring: PageQuery,
        response: {
          200: List(Endpoint),
          ...problemResponses('not_found', 'invalid_cursor', 'validation_failed', 'unknown_field'),
        },
      },
    },
    async ({ params: { owner }, query: { limit = LIST_LIMIT_DEFAULT, cursor } }) => {
      const { id: ownerId } = await requireOwner(prisma, owner)
      const list = `endpoints of ${ownerId}`
      const found = await listEndpoints(prisma, ownerId, {
        limit: limit + 1,
        ...(cursor !== undefined && { cursor: decodeCursor(list, {}, cursor) }),
      })
      const page = pageOf(found, limit, list, {}, ({ id }) => id)
      return { data: page.items.map(toEndpoint), next: page.next }
    },
  )

  app.get(
    '/owners/:owner/endpoints/:endpoint',
    {
      schema: {
        summary: 'Get an endpoint',
        description: 'With the state of its circuit breaker, and how many deliveries wait for it.',
        operationId: 'getEndpoint',
        tags,
        security: bearer,
        params,
        response: { 200: EndpointWithHealth, ...problemResponses('not_found') },
      },
    },
    async ({ params: { owner, endpoint } }) => {
      const found = await requireEndpoint(prisma, owner, endpoint)
      return { ...toEndpoint(found), health: await readHealth(store.pool, found.id) }
    },
  )

  app.patch(
    '/owners/:owner/endpoints/:endpoint',
    {
      schema: {
        summary: 'Change an endpoint',
        description:
          'enabled: true also enables one that Posthorn disabled, and lets go what waits for one that it holds back.',
        operationId: 'updateEndpoint',
        tags,
        security: bearer,
        params,
        body: EndpointChange,
        response: { 200: Endpoint, ...problemResponses(...endpointProblems) },
      },
    },
    async ({ params: { owner, endpoint }, body }) => {
      const { id: ownerId } = await requireOwner(prisma, owner)
      const change = { ...body, ...judged(context, body) }
      const result = updateEndpoint(prisma, endpointKey(ownerId, endpoint), change)
      return toEndpoint(await saved(context, body, result))
    },
  )

  app.delete(
    '/owners/:owner/endpoints/:endpoint',
    {
      schema: {
        summary: 'Delete an endpoint',
        description: 'What was sent stays in the log. Deliveries that are pending end as cancelled.',
        operationId: 'deleteEndpoint',
        tags,
        security: bearer,
        params,
        response: { 204: Type.Null({ description: 'It is deleted.' }), ...problemResponses('not_found') },
      },
    },
    async ({ params: { owner, endpoint } }, reply) => {
      const { id: ownerId } = await requireOwner(prisma, owner)
      if (!(await deleteEndpoint(prisma, endpointKey(ownerId, endpoint)))) throw endpointNotFound()
      return reply.code(204).send(null)
    },
  )

  app.get(
    '/owners/:owner/endpoints/:endpoint/secret',
    {
      schema: {
        summary: 'Get the signing secret of an endpoint',
        operationId: 'getEndpointSecret',
        tags,
        security: bearer,
        params,
        response: { 200: EndpointSecret, ...problemResponses('not_found') },
      },
    },
    async ({ params: { owner, endpoint } }, reply) => {
      const { id } = await requireEndpoint(prisma, owner, endpoint)
      const secret = await findEndpointSecret(prisma, id)
      if (secret === undefined) throw endpointNotFound()
      return reply.header('cache-control', 'no-store').send({ secret: secretText(secret) })
    },
  )
}

/** Looks up an endpoint under its owner; another owner's is the same 404 as a missing one. */
export async function requireEndpoint(
  prisma: ApiContext['store']['prisma'],
  owner: string,
  endpoint: string,
): Promise<EndpointRecord> {
  const { id: ownerId } = await requireOwner(prisma, owner)
  const found = await findEndpoint(prisma, endpointKey(ownerId, endpoint))
  if (found === undefined) throw endpointNotFound()
  return found
}

function endpointKey(ownerId: string, text: string): EndpointKey {
  const id = decodeId('ep', text)
  if (id !== undefined) return { ownerId, id }
  if (isUid(text)) return { ownerId, uid: text }
  throw endpointNotFound()
}

export function endpointNotFound(): ProblemError {
  return new ProblemError(
    'not_found',
    'This owner has no such endpoint. GET /v1/owners/{owner}/endpoints lists them.',
  )
}

/** Judges what a schema cannot. */
function judged(
  { vetUrl, settings }: ApiContext,
  { url, headers, attemptTimeoutMs, retryPolicy, tls }: EndpointChange,
): { url: string } | Record<never, never> {
  for (const name of Object.keys(headers ?? {})) {
    const reason = refusedHeader(name)
    if (reason !== undefined) {
      const errors = [{ path: `/headers/${name}`, message: reason }]
      throw new ProblemError(
        'invalid_header',
        `The header ${name} cannot be set here: ${reason}. Take it out.`,
        {
          errors,
        },
      )
    }
  }
  if (typeof attemptTimeoutMs === 'number' && attemptTimeoutMs >= settings.leaseMs) {
    const message = `must be less than the lease, which is ${settings.leaseMs} here (POSTHORN_LEASE)`
    throw new ProblemError('validation_failed', `attemptTimeoutMs ${message}.`, {
      errors: [{ path: '/attemptTimeoutMs', message }],
    })
  }
  const fault = retryPolicy ? retryPolicyFault(retryPolicy) : undefined
  if (fault !== undefined) {
    throw new ProblemError('validation_failed', `In retryPolicy, ${fault.member} ${fault.message}.`, {
      errors: [{ path: `/retryPolicy/${fault.member}`, message: fault.message }],
    })
  }
  const tlsVerdict = vetTls(tls ?? {})
  if (!tlsVerdict.ok) {
    const { member, detail } = tlsVerdict
    throw new ProblemError('invalid_tls', `In tls, ${member} ${detail}.`, {
      errors: [{ path: `/tls/${member}`, message: detail }],
    })
  }
  if (url === undefined) return {}
  const verdict = vetUrl(url)
  if (verdict.ok) return { url: verdict.url }
  throw new ProblemError(verdict.code, `${verdict.detail}.`, {
    errors: [{ path: '/url', message: verdict.detail }],
  })
}

async function saved(
  { store }: ApiContext,
  body: EndpointChange,
  saving: Promise<EndpointResult>,
): Promise<EndpointRecord> {
  const result = await saving
  switch (result.kind) {
    case 'saved':
      return result.endpoint
    case 'unknown':
      throw endpointNotFound()
    case 'uid-taken':
      throw new ProblemError(
        'uid_taken',
        `Another endpoint of this owner has the uid ${body.uid}. Choose another.`,
      )
    case 'unknown-event-types': {
      const explain = await createEventTypeHint(store.pool, 'subscribe')
      const errors = result.names.map((name) => ({
        path: `/eventTypes/${body.eventTypes?.indexOf(name)}`,
        message: explain(name),
      }))
      throw new ProblemError('unknown_event_type', explain(result.names[0]!), { errors })
    }
  }
}

function secretBytes(given: string | undefined): Buffer {
  const secret = parseSecret(given ?? generateSecret())
  // Standard Webhooks 1.0.0 asks for 24 to 64 bytes.
  if (secret.length >= 24 && secret.length <= 64) return secret
  throw new ProblemError(
    'invalid_secret',
    'The secret must be whsec_ and the base64 of 24 to 64 random bytes.',
  )
}

function secretText(secret: Buffer): string {
  return `whsec_${secret.toString('base64')}`
}

async function readHealth(pool: ApiContext['store']['pool'], endpointId: string): Promise<EndpointHealth> {
  const [[loaded], waiting] = await Promise.all([
    loadEndpointHealth(pool, [endpointId]),
    countPending(pool, endpointId, WAITING_COUNTED),
  ])
  const health = loaded?.health
  const time = (timeMs: number | null | undefined) =>
    timeMs === null || timeMs === undefined ? null : new Date(timeMs).toISOString()
  return {
    state: health?.state ?? 'closed',
    since: time(health?.sinceMs),
    reason: health?.reason ?? null,
    failingSince: time(health?.failingSinceMs),
    blockedUntil: health?.state === 'open' ? time(health.probeAtMs) : null,
    waiting,
  }
}

function toAnswer(endpoint: EndpointRecord, platformSchedule: RetrySchedule): Endpoint {
  const retryPolicy = endpoint.retryPolicy as RetryPolicy | null
  return {
    id: encodeId('ep', endpoint.id),
    owner: encodeId('own', endpoint.ownerId),
    uid: endpoint.uid,
    url: endpoint.url,
    eventTypes: endpoint.eventTypes,
    description: endpoint.description,
    headers: endpoint.headers as Record<string, string>,
    enabled: endpoint.disabledAt === null,
    disabledAt: endpoint.disabledAt?.toISOString() ?? null,
    disabledReason: endpoint.disabledReason,
    inFlightMax: endpoint.inFlightMax,
    attemptTimeoutMs: endpoint.attemptTimeoutMs,
    rateLimit: endpoint.rateLimit,
    retryPolicy,
    retrySchedule: retryPolicy === null ? platformSchedule : retrySchedule(retryPolicy),
    tls:
      endpoint.tlsCa === null && endpoint.tlsCertificate === null
        ? null
        : { ca: endpoint.tlsCa, certificate: endpoint.tlsCertificate },
    createdAt: endpoint.createdAt.toISOString(),
    updatedAt: endpoint.updatedAt.toISOString(),
  }
}

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
  OVERLAP_DEFAULT_S,
  PageQuery,
  type RetryPolicy,
  type RetrySchedule,
  refusedHeader,
  retryPolicyFault,
  retrySchedule,
  SecretRotation,
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
  type EndpointSecretRecord,
  findEndpoint,
  findEndpointSecrets,
  listEndpoints,
  loadEndpointHealth,
  rotateSecret,
  SECRETS_MAX,
  updateEndpoint,
} from '@posthorn/store'
import type { FastifyRequest } from 'fastify'
import { Type } from 'typebox'
import type { Api, ApiContext } from '../api.ts'
import type { Change } from '../audit.ts'
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
  'secrets_unreadable',
] as const

/** An owner's target URLs with the events that they subscribe to. */
export function registerEndpoints(app: Api, context: ApiContext): void {
  const { store, vault, settings } = context
  const { prisma } = store
  const platformSchedule = retrySchedule(settings.retryPolicy)
  const toEndpoint = (endpoint: EndpointRecord) => toAnswer(endpoint, platformSchedule)

  app.post(
    '/owners/:owner/endpoints',
    {
      config: { roles: ['owner'] },
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
    async (request, reply) => {
      const { secret: givenSecret, ...body } = request.body
      const { id: ownerId } = await requireOwner(prisma, request)
      const input = { ...body, ...judged(context, body) }
      const secret = secretBytes(givenSecret)
      const endpoint = await saved(context, body, createEndpoint({ prisma, vault }, ownerId, input, secret))
      request.change = changeOf(endpoint)
      return reply.code(201).send({ ...toEndpoint(endpoint), secret: secretText(secret) })
    },
  )

  app.get(
    '/owners/:owner/endpoints',
    {
      config: { roles: ['read', 'owner'] },
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
    async (request) => {
      const { limit = LIST_LIMIT_DEFAULT, cursor } = request.query
      const { id: ownerId } = await requireOwner(prisma, request)
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
      config: { roles: ['read', 'owner'] },
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
    async (request) => {
      const found = await requireEndpoint(prisma, request)
      return { ...toEndpoint(found), health: await readHealth(store.pool, found.id) }
    },
  )

  app.patch(
    '/owners/:owner/endpoints/:endpoint',
    {
      config: { roles: ['owner'] },
      schema: {
        summary: 'Change an endpoint',
        description:
          'enabled: true also enables one that Posthorn disabled, and lets go what waits for one that it holds back. headers takes the place of all that there are; of one that is secret, {"secret": true} without a value keeps the value.',
        operationId: 'updateEndpoint',
        tags,
        security: bearer,
        params,
        body: EndpointChange,
        response: { 200: Endpoint, ...problemResponses(...endpointProblems) },
      },
    },
    async (request) => {
      const {
        params: { endpoint },
        body,
      } = request
      const { id: ownerId } = await requireOwner(prisma, request)
      const change = { ...body, ...judged(context, body) }
      const result = updateEndpoint({ prisma, vault }, endpointKey(ownerId, endpoint), change)
      const endpointAfter = await saved(context, body, result)
      request.change = changeOf(endpointAfter)
      return toEndpoint(endpointAfter)
    },
  )

  app.delete(
    '/owners/:owner/endpoints/:endpoint',
    {
      config: { roles: ['owner'] },
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
    async (request, reply) => {
      const { id: ownerId } = await requireOwner(prisma, request)
      const deleted = await deleteEndpoint(prisma, endpointKey(ownerId, request.params.endpoint))
      if (deleted === undefined) throw endpointNotFound()
      request.change = changeOf({ id: deleted, ownerId })
      return reply.code(204).send(null)
    },
  )

  app.get(
    '/owners/:owner/endpoints/:endpoint/secret',
    {
      config: { roles: ['owner'] },
      schema: {
        summary: 'Get the signing secret of an endpoint',
        description: 'The newest one, and until when those before it sign beside it.',
        operationId: 'getEndpointSecret',
        tags,
        security: bearer,
        params,
        response: { 200: EndpointSecret, ...problemResponses('not_found', 'secrets_unreadable') },
      },
    },
    async (request, reply) => {
      const { id, ownerId } = await requireEndpoint(prisma, request)
      const secrets = await findEndpointSecrets(prisma, vault, { ownerId, endpointId: id })
      if (secrets.length === 0) throw endpointNotFound()
      return reply.header('cache-control', 'no-store').send(toSecrets(secrets))
    },
  )

  app.post(
    '/owners/:owner/endpoints/:endpoint/secret/rotate',
    {
      config: { roles: ['owner'] },
      schema: {
        summary: 'Give an endpoint a new signing secret',
        description:
          'Those that it has go on signing for overlapS at most, so that its receiver can change over: webhook-signature has a signature of each, separated by spaces. overlapS: 0 ends them at once.',
        operationId: 'rotateEndpointSecret',
        tags,
        security: bearer,
        params,
        body: SecretRotation,
        response: {
          200: EndpointSecret,
          ...problemResponses(
            ...bodyProblems,
            'not_found',
            'invalid_secret',
            'too_many_secrets',
            'secrets_unreadable',
          ),
        },
      },
    },
    async (request, reply) => {
      const { secret, overlapS = OVERLAP_DEFAULT_S } = request.body
      const endpoint = await requireEndpoint(prisma, request)
      const result = await rotateSecret({ prisma, vault }, endpoint, secretBytes(secret), overlapS)
      switch (result.kind) {
        case 'rotated':
          request.change = changeOf(endpoint)
          return reply.header('cache-control', 'no-store').send(toSecrets(result.secrets))
        case 'unknown':
          throw endpointNotFound()
        case 'known':
          throw new ProblemError(
            'invalid_secret',
            'The endpoint has this secret already. Give another one, or none to have one made.',
          )
        case 'too-many':
          throw new ProblemError(
            'too_many_secrets',
            `${SECRETS_MAX} secrets of the endpoint are valid. Wait until one has expired, or give a shorter overlapS: it counts for all of them.`,
          )
      }
    },
  )
}

/** Looks up the endpoint in the path under its owner; another owner's is the same 404 as a missing one. */
export async function requireEndpoint(
  prisma: ApiContext['store']['prisma'],
  request: FastifyRequest,
): Promise<EndpointRecord> {
  const { endpoint } = request.params as { endpoint: string }
  const { id: ownerId } = await requireOwner(prisma, request)
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

function changeOf({ id, ownerId }: Pick<EndpointRecord, 'id' | 'ownerId'>): Change {
  return { resource: 'endpoint', id: encodeId('ep', id), ownerId }
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
  const names = Object.keys(headers ?? {})
  for (const [at, name] of names.entries()) {
    const isRepeated = names.slice(0, at).some((other) => other.toLowerCase() === name.toLowerCase())
    const reason = isRepeated ? 'it is given twice, in different case' : refusedHeader(name)
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
    case 'no-secret-header': {
      const message = 'has no stored value to keep: give a value'
      throw new ProblemError('invalid_header', `The header ${result.name} ${message}.`, {
        errors: [{ path: `/headers/${result.name}`, message }],
      })
    }
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

function toSecrets([newest, ...previous]: EndpointSecretRecord[]) {
  return {
    secret: secretText(newest!.secret),
    createdAt: newest!.createdAt.toISOString(),
    previous: previous.map(({ createdAt, expiresAt }) => ({
      createdAt: createdAt.toISOString(),
      expiresAt: expiresAt!.toISOString(),
    })),
  }
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
    headers: shownHeaders(endpoint),
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

/** Of secret ones, the names. */
function shownHeaders({ headers, secretHeaders }: EndpointRecord): Endpoint['headers'] {
  const secret = Object.keys(secretHeaders as object).map(
    (name) => [name, { secret: true as const }] as const,
  )
  return { ...(headers as Record<string, string>), ...Object.fromEntries(secret) }
}

import { createHash } from 'node:crypto'
import swagger from '@fastify/swagger'
import { Problem, type RouteRoles } from '@posthorn/contracts'
import scalar from '@scalar/fastify-api-reference'
import type { FastifyInstance, FastifySchema } from 'fastify'

/** The OpenAPI 3.1 document, made of the schemas that validate. Before any route. */
export async function registerOpenApi(app: FastifyInstance, version: string): Promise<void> {
  app.addSchema({ $id: 'Problem', ...Problem })
  await app.register(swagger, {
    openapi: {
      openapi: '3.1.0',
      info: {
        title: 'Posthorn',
        version,
        description:
          'Outbound webhooks: emit an event, and every endpoint that subscribes to it gets it signed, retried and logged.',
      },
      servers: [{ url: '/' }],
      tags: [
        'Event types',
        'Owners',
        'Endpoints',
        'Messages',
        'Deliveries',
        'Replays',
        'API keys',
        'Audit log',
        'System',
      ].map((name) => ({ name })),
      components: {
        securitySchemes: {
          bearer: {
            type: 'http',
            scheme: 'bearer',
            description: '`posthorn keys create` or POST /v1/api-keys makes a key.',
          },
        },
      },
    },
    refResolver: { buildLocalReference: (json) => String(json.$id) },
    transform: ({ schema, url, route }) => ({ schema: withRoles(schema, route.config?.roles), url }),
  })
  let document: string | undefined
  app.get('/openapi.json', { schema: { hide: true } as object }, async (_request, reply) => {
    document ??= JSON.stringify(app.swagger())
    return reply.type('application/json; charset=utf-8').send(document)
  })
}

/** Who may use the operation: `x-roles`, where a key is needed at all. */
function withRoles<Schema extends FastifySchema>(schema: Schema, roles: RouteRoles = []): Schema {
  return schema?.security === undefined ? schema : { ...schema, 'x-roles': ['admin', ...roles] }
}

/** The reference page at /docs. Everything it needs comes from here. */
export async function registerDocs(app: FastifyInstance): Promise<void> {
  await app.register((docs, _options, done) => {
    docs.addHook('onSend', async (_request, reply, payload) => {
      if (typeof payload === 'string') reply.header('content-security-policy', contentSecurityPolicy(payload))
      return payload
    })
    void docs.register(scalar, {
      routePrefix: '/docs',
      configuration: {
        url: '/openapi.json',
        pageTitle: 'Posthorn API',
        // From a font server otherwise.
        withDefaultFonts: false,
        telemetry: false,
        hideClientButton: true,
        showDeveloperTools: 'never',
        agent: { disabled: true, hideAddApi: true },
        mcp: { disabled: true },
        defaultOpenAllTags: true,
      },
    })
    done()
  })
}

/** Holds the page to what it was told: nothing but this server, and only the script that is in it. */
function contentSecurityPolicy(html: string): string {
  const inline = [...html.matchAll(/<script(?![^>]*\bsrc=)[^>]*>([\s\S]*?)<\/script>/g)].map(
    ([, script]) => `'sha256-${createHash('sha256').update(script!).digest('base64')}'`,
  )
  return [
    "default-src 'none'",
    `script-src 'self' ${inline.join(' ')}`,
    // The page makes its styles while it runs.
    "style-src 'self' 'unsafe-inline'",
    "img-src 'self' data: blob:",
    "font-src 'self' data:",
    "connect-src 'self'",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
  ].join('; ')
}

import { randomUUID } from 'node:crypto'
import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox'
import { type FastifyBaseLogger, fastify, LogController } from 'fastify'
import type { Api, ApiContext } from './api.ts'
import { registerAudit } from './audit.ts'
import { registerAuthentication } from './authenticate.ts'
import { answerClientError } from './client-error.ts'
import { registerCors } from './cors.ts'
import { registerDocs, registerOpenApi } from './docs.ts'
import { registerJsonBody } from './json-body.ts'
import { registerNotFound } from './method-not-allowed.ts'
import { registerMetrics } from './metrics.ts'
import { createOwnerTokenKey } from './owner-token-key.ts'
import { handleError } from './problem-details.ts'
import { registerApiKeys } from './routes/api-keys.ts'
import { registerAuditLog } from './routes/audit-log.ts'
import { registerDeliveries } from './routes/deliveries.ts'
import { registerEndpoints } from './routes/endpoints.ts'
import { registerEventTypes } from './routes/event-types.ts'
import { registerMessages } from './routes/messages.ts'
import { registerOwnerTokens } from './routes/owner-tokens.ts'
import { registerOwners } from './routes/owners.ts'
import { registerReplays } from './routes/replays.ts'
import { registerRetryPolicy } from './routes/retry-policy.ts'
import { registerSystem } from './routes/system.ts'
import { registerSecurityHeaders } from './security-headers.ts'
import { validatorCompiler } from './validation.ts'

/** Builds the API; it does not listen yet. Closing it leaves the context open. */
export async function buildApp(context: ApiContext): Promise<Api> {
  const app: Api = fastify({
    loggerInstance: context.logger as FastifyBaseLogger,
    // A child logger and two lines for each request would cost as much as the request.
    childLoggerFactory: (logger) => logger,
    logController: new LogController({ disableRequestLogging: true }),
    genReqId: () => randomUUID(),
    bodyLimit: context.settings.payloadBytesMax,
    // A request has to arrive whole within this time.
    requestTimeout: 30_000,
    connectionTimeout: 60_000,
    // Longer than the idle time of usual load balancers, so that they close first.
    keepAliveTimeout: 72_000,
    // While it closes, what arrives on open connections is still answered, with connection: close.
    return503OnClosing: false,
    forceCloseConnections: 'idle',
    trustProxy: context.settings.trustedProxies.length > 0 ? context.settings.trustedProxies : false,
    clientErrorHandler: answerClientError,
    routerOptions: {
      // Event types and uids may have 128 characters, each percent-encoded.
      maxParamLength: 512,
    },
    frameworkErrors: (error, request, reply) => handleError(error, request, reply),
  }).withTypeProvider<TypeBoxTypeProvider>()

  app.setErrorHandler(handleError)
  app.setValidatorCompiler(validatorCompiler)
  registerNotFound(app)
  registerJsonBody(app)
  logAtDebug(app, context)
  registerSecurityHeaders(app)
  await registerCors(app, context.settings.corsOrigins)
  await registerOpenApi(app, context.version ?? '0.1.0')
  registerMetrics(app, context)
  registerSystem(app, context)
  await app.register(
    (v1: Api, _options, done) => {
      const tokenKey = createOwnerTokenKey(context)
      registerAuthentication(v1, context, tokenKey)
      registerAudit(v1, context)
      registerEventTypes(v1, context)
      registerOwners(v1, context)
      registerEndpoints(v1, context)
      registerMessages(v1, context)
      registerDeliveries(v1, context)
      registerReplays(v1, context)
      registerRetryPolicy(v1, context)
      registerApiKeys(v1, context)
      registerOwnerTokens(v1, context, tokenKey)
      registerAuditLog(v1, context)
      done()
    },
    { prefix: '/v1' },
  )
  await registerDocs(app)
  await app.ready()
  return app
}

function logAtDebug(app: Api, { logger }: ApiContext): void {
  if (!logger.isLevelEnabled('debug')) return
  app.addHook('onResponse', async (request, reply) => {
    logger.debug(
      {
        requestId: request.id,
        method: request.method,
        // The pattern, not the path: ids and uids are the callers'.
        route: request.routeOptions.url,
        status: reply.statusCode,
        durationMs: Math.round(reply.elapsedTime),
      },
      'request.completed',
    )
  })
}

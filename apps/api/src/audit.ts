import { insertAuditEntry, type NewAuditEntry } from '@posthorn/store'
import type { FastifyRequest, onSendAsyncHookHandler, RouteOptions } from 'fastify'
import type { Api, ApiContext } from './api.ts'
import { sourceAddress } from './source-address.ts'

/** What a request changed, for the audit log. */
export interface Change {
  /** What kind of thing, in the words of the paths: `endpoint`, `api-key`. */
  resource: string
  /** Its public id, or the name of an event type; null: there are many. */
  id: string | null
  /** UUID of the owner whose thing it is; null: it is the platform's. */
  ownerId: string | null
}

declare module 'fastify' {
  interface FastifyRequest {
    /** Set by the handler of a route that changed something. */
    change: Change | undefined
  }
}

/**
 * Writes each change into the audit log: after it was made and before it is answered, so that whoever was told
 * of a change finds it in the log. Emitting changes nothing that the log would not have as messages.
 */
export function registerAudit(v1: Api, { store, logger }: Pick<ApiContext, 'store' | 'logger'>): void {
  const writeAuditEntry: onSendAsyncHookHandler = async (request, reply, payload) => {
    if (request.change === undefined || reply.statusCode >= 400) return payload
    const entry = toEntry(request, request.change, reply.statusCode)
    try {
      await insertAuditEntry(store.pool, entry)
    } catch (error) {
      // The change was made, and is answered as an error. Here is the one trace of it.
      logger.error({ err: error, entry }, 'audit.lost')
      throw error
    }
    return payload
  }
  v1.decorateRequest('change', undefined)
  v1.addHook('onRoute', (route) => {
    // The hook is on the routes that need it: emitting pays nothing for it.
    if (mayChange(route)) route.onSend = [route.onSend ?? [], writeAuditEntry].flat()
  })
}

function mayChange({ method, config }: RouteOptions): boolean {
  const isEmit = (config?.roles ?? []).includes('emit')
  return !isEmit && [method].flat().some((one) => !['GET', 'HEAD', 'OPTIONS'].includes(one))
}

function toEntry(request: FastifyRequest, { resource, id, ownerId }: Change, status: number): NewAuditEntry {
  const { principal, body } = request
  return {
    actor: principal!.actor,
    actorName: principal!.name,
    actorOwnerId: principal!.ownerId,
    address: sourceAddress(request),
    method: request.method,
    route: request.routeOptions.url!,
    ownerId,
    resource,
    resourceId: id,
    members: typeof body === 'object' && body !== null ? Object.keys(body) : [],
    status,
    requestId: request.id,
  }
}

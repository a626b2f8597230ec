import type { RoleHolder } from '@posthorn/contracts'
import type { FastifyRequest } from 'fastify'

/** As whom a request comes. */
export interface Principal extends RoleHolder {
  /** As the audit log names it: `root`, or the public id of the key or of the owner token. */
  actor: string
  /** Name of the key. */
  name: string | null
}

declare module 'fastify' {
  interface FastifyRequest {
    /** Set by `authenticate`, so on every route under /v1. */
    principal: Principal | null
  }
}

export const ROOT: Principal = { role: 'admin', ownerId: null, actor: 'root', name: null }

/** UUID of the one owner whose things the request may find; undefined: all owners'. */
export function scopeOf(request: FastifyRequest): string | undefined {
  return request.principal?.ownerId ?? undefined
}

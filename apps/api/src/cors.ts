import cors from '@fastify/cors'
import type { FastifyInstance } from 'fastify'

/** Lets pages of these origins read answers. Without any, no page of another origin can. */
export async function registerCors(app: FastifyInstance, origins: readonly string[]): Promise<void> {
  if (origins.length === 0) return
  await app.register(cors, {
    origin: [...origins],
    methods: ['GET', 'POST', 'PATCH', 'DELETE'],
    allowedHeaders: ['authorization', 'content-type', 'idempotency-key'],
    exposedHeaders: ['idempotent-replayed', 'retry-after'],
    // Keys are sent by name, never by the browser of its own accord.
    credentials: false,
    maxAge: 600,
  })
}

import { readBacklog } from '@posthorn/store'
import { Counter, collectDefaultMetrics, Gauge, Registry } from '@prometheus-io/client'
import type { Api, ApiContext } from './api.ts'

/**
 * `GET /metrics` in Prometheus's text format: this process, its requests, and what waits in the database
 * and the queue. Open like the health checks: sums only, no names and no ids.
 */
export function registerMetrics(app: Api, { store, queue, logger }: ApiContext): void {
  const registry = new Registry()
  collectDefaultMetrics({ register: registry })
  const requests = new Counter({
    name: 'posthorn_http_requests_total',
    help: 'Requests answered, by route and status.',
    labelNames: ['method', 'route', 'status'],
    registers: [registry],
  })
  const backlog = (name: string, help: string) => new Gauge({ name, help, registers: [registry] })
  const pending = backlog('posthorn_deliveries_pending', 'Deliveries that have not ended.')
  const due = backlog('posthorn_deliveries_due', 'Pending deliveries whose time has come.')
  const oldest = backlog(
    'posthorn_delivery_oldest_due_seconds',
    'How long the longest due delivery has been due.',
  )
  const jobs = backlog('posthorn_queue_waiting_jobs', 'Jobs that no worker took yet.')

  app.addHook('onResponse', (request, reply, done) => {
    requests.inc({
      method: request.method,
      // The pattern, not the path: the number of series stays small, and ids stay out.
      route: request.routeOptions.url ?? 'none',
      status: reply.statusCode,
    })
    done()
  })

  app.get('/metrics', { schema: { hide: true } }, async (_request, reply) => {
    // A store that is away takes its own figures away and no others.
    const [inDatabase, inQueue] = await Promise.allSettled([readBacklog(store.pool), queue.waiting()])
    for (const read of [inDatabase, inQueue]) {
      if (read.status === 'rejected') logger.debug({ err: read.reason }, 'metrics.unavailable')
    }
    set(pending, inDatabase.status === 'fulfilled' ? inDatabase.value.pending : undefined)
    set(due, inDatabase.status === 'fulfilled' ? inDatabase.value.due : undefined)
    set(oldest, inDatabase.status === 'fulfilled' ? inDatabase.value.oldestDueMs / 1_000 : undefined)
    set(jobs, inQueue.status === 'fulfilled' ? inQueue.value : undefined)
    return await reply.type(registry.contentType).send(await registry.metrics())
  })
}

function set(gauge: Gauge, value: number | undefined): void {
  if (value === undefined) gauge.remove()
  else gauge.set(value)
}

import { setTimeout as delay } from 'node:timers/promises'
import { Posthorn } from '@posthorn/emitter'
import { createLogger, onShutdown, parseSettings, type Settings } from '@posthorn/runtime'
import { verify } from '@posthorn/signing'
import { CommandError } from './command-error.ts'
import { createDemoClient, type Delivery, type DemoClient } from './demo-client.ts'
import { startPlatform } from './platform.ts'
import { type ReceivedWebhook, startReceiver } from './receiver.ts'
import { loadRootKey } from './root-key.ts'

const EVENT_TYPE = 'pay_info.paid'
/** So that the retries can be watched; real ones wait from five seconds to a day. */
const RETRY_POLICY = { delaysMs: [500, 1_000, 2_000] }
const FAILURES = 2
const PATIENCE_MS = 30_000

type Events = { 'pay_info.paid': { order_num: string; date: string; email: string } }

/**
 * `posthorn demo`: one event, from application code to two receivers, with everything real: the embedded
 * database, the REST API, the SDK, the worker and loopback HTTP.
 *
 * With `once` it ends with exit code 0 when all of it was seen, and non-zero with the reason otherwise.
 */
export async function demo(env: NodeJS.ProcessEnv, options: { once?: true }): Promise<void> {
  const settings = demoSettings(env)
  const logger = createLogger({ level: settings.logLevel, name: 'posthorn-demo' })
  const shutdown = onShutdown({ logger, boundMs: 30_000 })
  try {
    const rootKey = await loadRootKey(settings)
    const api = await startOnFreePort({ ...settings, apiKey: rootKey.key }, (chosen) =>
      startPlatform({ env, settings: chosen, logger, shutdown, say }),
    )
    say(`Posthorn runs at ${api.url}`)
    const received: ReceivedWebhook[] = []
    const receiver = await startReceiver(0, (request) => {
      received.push(request)
      const attempts = received.filter(({ path }) => path === request.path).length
      return request.path === '/failing' && attempts <= FAILURES ? 500 : 200
    })
    shutdown.defer('receiver', () => receiver.close())
    const client = createDemoClient(api.url, rootKey.key)
    const demonstration = await register(client, receiver.url)
    try {
      const { id } = await emitFromApplicationCode(api.url, rootKey.key, demonstration.owner)
      await showDelivery(received, id, demonstration.secret)
      await showRetries(client, demonstration.failing)
      await showLog(client, demonstration.owner)
    } finally {
      // Its receiver ends with it: nothing should be sent there any more.
      await client.delete(`/v1/owners/${demonstration.owner}`)
    }
    say('')
    say('Everything was seen to work.')
    if (options.once) {
      shutdown.stop()
      return
    }
    say(`Posthorn keeps running at ${api.url} (reference: ${api.url}/docs). Ctrl-C stops it.`)
    if (rootKey.path !== undefined) say(`The API key is in ${rootKey.path}`)
  } catch (error) {
    process.stderr.write(`The demo failed: ${error instanceof Error ? error.message : String(error)}\n`)
    logger.debug({ err: error }, 'demo.failed')
    shutdown.stop({ failed: true })
  }
}

/** The platform's defaults in one process, with loopback reachable: the demo's receivers are there. */
function demoSettings(env: NodeJS.ProcessEnv): Settings {
  const settings = parseSettings({ POSTHORN_LOG_LEVEL: 'warn', ...env })
  return { ...settings, workers: 1, egressAllow: [...settings.egressAllow, '127.0.0.0/8'] }
}

/** A platform that is running already keeps its port. */
async function startOnFreePort<T>(settings: Settings, start: (settings: Settings) => Promise<T>): Promise<T> {
  const { createServer } = await import('node:net')
  const isFree = await new Promise<boolean>((resolve) => {
    const probe = createServer()
    probe.once('error', () => resolve(false))
    probe.listen(settings.port, settings.host, () => probe.close(() => resolve(true)))
  })
  return await start(isFree ? settings : { ...settings, port: 0 })
}

interface Demonstration {
  owner: string
  /** Of the healthy endpoint. */
  secret: string
  /** Id of the failing endpoint. */
  failing: string
}

async function register(client: DemoClient, receiverUrl: string): Promise<Demonstration> {
  heading('An event type, an owner and two endpoints, over REST')
  await client.postUnlessThere('/v1/event-types', { name: EVENT_TYPE, description: 'An order was paid.' })
  const owner = `demo-${Date.now().toString(36)}`
  await client.post('/v1/owners', { uid: owner, name: 'Demo' })
  const endpoints = `/v1/owners/${owner}/endpoints`
  const healthy = await client.post<{ id: string; secret: string }>(endpoints, {
    url: `${receiverUrl}/healthy`,
    eventTypes: [EVENT_TYPE],
  })
  const failing = await client.post<{ id: string }>(endpoints, {
    url: `${receiverUrl}/failing`,
    eventTypes: [EVENT_TYPE],
    retryPolicy: RETRY_POLICY,
  })
  say(`event type  ${EVENT_TYPE}`)
  say(`owner       ${owner}`)
  say(`endpoint    ${healthy.id}  ${receiverUrl}/healthy`)
  say(`endpoint    ${failing.id}  ${receiverUrl}/failing  (answers 500 ${FAILURES} times, then 200)`)
  return { owner, secret: healthy.secret, failing: failing.id }
}

async function emitFromApplicationCode(url: string, apiKey: string, owner: string): Promise<{ id: string }> {
  heading('Application code emits through the SDK')
  await using posthorn = new Posthorn<Events>({ url, apiKey })
  const message = await posthorn.emit(
    EVENT_TYPE,
    { order_num: '20261121-0007', date: '2026-11-21', email: 'customer@example.com' },
    { owner },
  )
  say(`emitted     ${message.id}  (committed, for ${message.deliveries} endpoints)`)
  return message
}

async function showDelivery(received: ReceivedWebhook[], messageId: string, secret: string): Promise<void> {
  heading('The request as the receiver got it')
  const request = await eventually('the delivery to the healthy endpoint', async () =>
    received.find(({ path, headers }) => path === '/healthy' && headers['webhook-id'] === messageId),
  )
  say(`${request.method} ${request.path}`)
  for (const name of ['content-type', 'user-agent', 'webhook-id', 'webhook-timestamp', 'webhook-signature']) {
    say(`${name}: ${request.headers[name]}`)
  }
  say('')
  say(request.body.toString())
  say('')
  verify(request.body, request.headers, secret)
  say('The signature is verified (HMAC-SHA256, Standard Webhooks).')
}

async function showRetries(client: DemoClient, endpoint: string): Promise<void> {
  heading('The failing endpoint is retried')
  let seen = 0
  await eventually('the delivery to the failing endpoint', async () => {
    const { data } = await client.get<{ data: Delivery[] }>(`/v1/deliveries?endpoint=${endpoint}`)
    const [failing] = data
    if (failing === undefined) return undefined
    const attempts = await client.attempts(failing.id)
    for (const attempt of attempts.slice(seen)) {
      say(`attempt ${attempt.number}   ${attempt.status}  ${attempt.outcome}`)
    }
    seen = attempts.length
    return failing.state === 'delivered' && seen === FAILURES + 1 ? failing : undefined
  })
}

async function showLog(client: DemoClient, owner: string): Promise<void> {
  heading('The delivery log')
  await eventually('the delivery log', async () => {
    const { data } = await client.get<{ data: Delivery[] }>(`/v1/deliveries?owner=${owner}`)
    if (data.some(({ state }) => state !== 'delivered')) return undefined
    for (const delivery of data) {
      say(`${delivery.id}  ${delivery.eventType}  ${delivery.state}  attempts: ${delivery.attempts}`)
      for (const attempt of await client.attempts(delivery.id)) {
        say(
          `    ${attempt.startedAt}  attempt ${attempt.number}  ${attempt.status}  ${attempt.outcome}  ${attempt.durationMs} ms`,
        )
      }
    }
    return data
  })
}

async function eventually<T>(what: string, find: () => Promise<T | undefined>): Promise<T> {
  const deadline = Date.now() + PATIENCE_MS
  for (;;) {
    const found = await find()
    if (found !== undefined) return found
    if (Date.now() > deadline) throw new CommandError(`${what} did not come within ${PATIENCE_MS / 1_000} s`)
    await delay(50)
  }
}

function heading(text: string): void {
  say('')
  say(`--- ${text}`)
}

function say(line: string): void {
  process.stdout.write(`${line}\n`)
}

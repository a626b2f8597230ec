import { formatDuration } from '@posthorn/runtime'
import { Pool } from 'undici'
import type { AddressRule } from './address-rule.ts'
import { type ConnectTimings, createConnector, type Lookup } from './connector.ts'
import type { EgressProxy } from './egress-proxy.ts'
import type { EndpointTls } from './endpoint-tls.ts'
import { Exchange } from './exchange.ts'
import { createOrigins, type Origin } from './origins.ts'
import type { PostOutcome } from './outcome.ts'
import type { UrlLimits } from './url-limits.ts'
import { isFramingHeader } from './vet-header.ts'

export interface CreatePostOptions {
  /** Which addresses may be reached. */
  rule: AddressRule
  /** Which ports and schemes. Default: any port but 0, http and https. */
  limits?: UrlLimits
  /** Default: none, straight to the endpoint. */
  proxy?: EgressProxy
  /** The part of an attempt that lookup, connect and TLS may take together. */
  connectTimeoutMs: number
  /** One deadline over a whole attempt, from the call to the last byte of the answer that is read. */
  attemptTimeoutMs: number
  /** Bytes of an answer's body that are kept; what comes after them is not read. Default 16 KiB. */
  responseBytesMax?: number
  /** Default `Posthorn`. */
  userAgent?: string
  /** Connections to one origin at once; further requests wait, against their deadline. Default 128. */
  socketsPerOriginMax?: number
  /** Origins whose idle connections are kept. Default 1024. */
  originsMax?: number
  /** How long an idle connection is kept for the next request, unless the peer asks for less. Default 4 s. */
  keepAliveMs?: number
  /** Certificate authorities (PEM) in place of the system's, where a request has none of its own. */
  ca?: string | Buffer
  /** Default `dns.lookup`. */
  lookup?: Lookup
}

export interface PostRequest {
  /** As given back by `vetUrl`. */
  url: string
  /** Those that frame the request (`host`, `content-length`, …) are ours and are left out. */
  headers: Record<string, string>
  body: Buffer
  /** As `vetTls` let through. Requests with another one, or with none, never share a connection with this. */
  tls?: EndpointTls
  /** In place of `attemptTimeoutMs`. */
  timeoutMs?: number
  /** Ends the request with `aborted`. */
  signal?: AbortSignal
}

export interface Post {
  /** Sends one POST. Never rejects: whatever the endpoint does is an outcome. */
  post(request: PostRequest): Promise<PostOutcome>
  /** Refuses further requests, waits for those in flight (their deadlines hold) and closes all connections. */
  close(): Promise<void>
}

/**
 * The guarded way out: a POST to a URL that a stranger chose.
 *
 * Only addresses that `rule` allows are connected to; redirects are not followed; compressed bodies are
 * kept as bytes; one deadline stands over everything, and an answer takes up at most `responseBytesMax`
 * plus 16 KiB of headers. A connection is used again only after an answer that was read to its end.
 */
export function createPost(options: CreatePostOptions): Post {
  const { rule, limits, proxy, connectTimeoutMs, attemptTimeoutMs, ca, lookup } = options
  const { responseBytesMax = 16_384, userAgent = 'Posthorn', keepAliveMs = 4_000 } = options
  const { socketsPerOriginMax = 128, originsMax = 1_024 } = options

  // undici starts a connection's first request in the tick in which it is handed over (see connector.ts),
  // which is how the request that waited for a connection learns what the connection took.
  let handedOver: ConnectTimings | undefined
  const takeConnectTimings = () => {
    const timings = handedOver
    handedOver = undefined
    return timings
  }

  const connectorFor = (tls: EndpointTls) =>
    createConnector({
      rule,
      connectTimeoutMs,
      tls: ca === undefined || tls.ca !== undefined ? tls : { ...tls, ca: ca.toString() },
      ...(limits !== undefined && { limits }),
      ...(proxy !== undefined && { proxy }),
      ...(lookup !== undefined && { lookup }),
      onConnected: (timings) => {
        handedOver = timings
      },
      onHandedOver: () => {
        handedOver = undefined
      },
    })
  const connect = connectorFor({})

  const origins = createOrigins({
    originsMax,
    createPool: (origin, tls) =>
      new Pool(origin, {
        connect: tls === undefined ? connect : connectorFor(tls),
        connections: socketsPerOriginMax,
        allowH2: false,
        // A peer that is slow or hangs up must not take a second request with it.
        pipelining: 1,
        keepAliveTimeout: keepAliveMs,
        keepAliveMaxTimeout: keepAliveMs,
        maxHeaderSize: 16_384,
        // Ours covers both, and these watch gaps only.
        headersTimeout: 0,
        bodyTimeout: 0,
      }),
  })
  const callOffs = createCallOffs()
  let closed = false

  function post(request: PostRequest): Promise<PostOutcome> {
    return new Promise((resolve) => {
      const { body, signal, tls, timeoutMs = attemptTimeoutMs } = request
      const target = URL.parse(request.url)
      if (target === null || (target.protocol !== 'https:' && target.protocol !== 'http:')) {
        return resolve(notSent('invalid_request', 'the URL cannot be posted to'))
      }
      if (closed || signal?.aborted === true)
        return resolve(notSent('aborted', 'called off before it was sent'))

      const origin = takeOrigin(target, tls)
      if (origin === undefined) {
        return resolve(
          notSent('invalid_request', 'the certificate or the key of the endpoint cannot be used'),
        )
      }
      const exchange = new Exchange({
        responseBytesMax,
        takeConnectTimings,
        onOutcome: (outcome) => {
          clearTimeout(timer)
          callOff?.delete(onAbort)
          origin.inFlight -= 1
          resolve(outcome)
        },
      })
      const callOff = signal === undefined ? undefined : callOffs.of(signal)
      // A timer of its own: AbortSignal.timeout() costs ten times as much, and the timers of one duration
      // share a list in Node.
      const timer = setTimeout(onDeadline, timeoutMs)
      callOff?.add(onAbort)

      origin.inFlight += 1
      origin.pool.dispatch(
        {
          path: target.pathname + target.search,
          method: 'POST',
          headers: flatHeaders(request.headers, userAgent),
          body,
        },
        exchange,
      )

      function onDeadline(): void {
        const within = `within ${formatDuration(timeoutMs)}`
        exchange.cancel((phase) =>
          phase === 'answering'
            ? { code: 'body_timeout', detail: `the answer was not complete ${within}` }
            : phase === 'waiting'
              ? { code: 'timeout', detail: `no answer ${within}` }
              : { code: 'timeout', detail: `no connection was free ${within}` },
        )
      }

      function onAbort(): void {
        exchange.cancel(() => ({ code: 'aborted', detail: 'called off' }))
      }
    })
  }

  /** Undefined: a TLS identity that `vetTls` would not have let through. */
  function takeOrigin({ origin, protocol }: URL, tls: EndpointTls | undefined): Origin | undefined {
    try {
      return origins.take(origin, protocol === 'https:' ? tls : undefined)
    } catch {
      return undefined
    }
  }

  return {
    post,
    async close() {
      closed = true
      await origins.close()
    },
  }
}

/**
 * One listener for each signal, whatever number of requests it calls off: removing one of many from an
 * EventTarget looks at all of them.
 */
function createCallOffs() {
  const ofSignals = new WeakMap<AbortSignal, Set<() => void>>()
  return {
    of(signal: AbortSignal): Set<() => void> {
      let listeners = ofSignals.get(signal)
      if (listeners === undefined) {
        const added = new Set<() => void>()
        signal.addEventListener('abort', () => {
          for (const listener of added) listener()
        })
        ofSignals.set(signal, added)
        listeners = added
      }
      return listeners
    },
  }
}

/** Names and values in turn, as undici takes them fastest. */
function flatHeaders(headers: Record<string, string>, userAgent: string): string[] {
  const flat = ['accept', '*/*', 'accept-encoding', 'identity']
  let hasUserAgent = false
  for (const name of Object.keys(headers)) {
    const lowerName = name.toLowerCase()
    if (isFramingHeader(lowerName)) continue
    if (lowerName === 'user-agent') hasUserAgent = true
    flat.push(name, headers[name]!)
  }
  if (!hasUserAgent) flat.push('user-agent', userAgent)
  return flat
}

function notSent(code: 'invalid_request' | 'aborted', detail: string): PostOutcome {
  return { kind: 'failed', code, detail, durationMs: 0, timings: { totalMs: 0 } }
}

import { type LookupAddress, type LookupOptions, lookup as systemLookup } from 'node:dns'
import { connect as connectTcp, isIP, type Socket } from 'node:net'
import { checkServerIdentity, connect as connectTls, createSecureContext } from 'node:tls'
import { formatDuration } from '@posthorn/runtime'
import type { buildConnector } from 'undici'
import { type AddressRule, describeRefusal } from './address-rule.ts'
import { boundAnswers } from './bound-answers.ts'
import { type EgressProxy, openTunnel } from './egress-proxy.ts'
import type { EndpointTls } from './endpoint-tls.ts'
import { portNumber, refusePort, refuseScheme, type UrlLimits } from './url-limits.ts'

/** `dns.lookup` with `all: true`, or something that answers like it. */
export type Lookup = (
  hostname: string,
  options: LookupOptions & { all: true },
  callback: (error: NodeJS.ErrnoException | null, addresses: LookupAddress[]) => void,
) => void

/** Milliseconds that each phase of a new connection took, as far as it got. */
export interface ConnectTimings {
  dnsMs?: number
  connectMs?: number
  tlsMs?: number
}

export type ConnectFailureCode =
  /** The name could not be looked up, or not in time. */
  | 'dns_failed'
  /** The host, one of the addresses that its name stands for, the port or the scheme may not be used. */
  | 'address_refused'
  | 'connect_refused'
  /** The operator's proxy is away, or opened no way to the host. */
  | 'proxy_failed'
  /** No connection (TLS included) within the connect timeout. */
  | 'connect_timeout'
  /** No route to the host. */
  | 'unreachable'
  /** The handshake failed, or the certificate was not accepted. */
  | 'tls_failed'
  /** The connection was closed or broken before the answer was complete. */
  | 'reset'

/** A connection that did not come about. `failure` says why; the message names no address. */
export class ConnectError extends Error {
  // Any code but undici's own: UND_ERR_SOCKET and UND_ERR_INFO make it connect again without end.
  readonly code = 'POSTHORN_CONNECT'
  readonly failure: ConnectFailureCode
  readonly timings: ConnectTimings

  constructor(failure: ConnectFailureCode, message: string, timings: ConnectTimings) {
    super(message)
    this.name = 'ConnectError'
    this.failure = failure
    this.timings = timings
  }
}

export interface ConnectorOptions {
  rule: AddressRule
  limits?: UrlLimits
  /** Connections go through it, to the addresses that were judged. */
  proxy?: EgressProxy
  /** One deadline over lookup, connect and TLS handshake. */
  connectTimeoutMs: number
  lookup?: Lookup
  /** Of these connections alone. */
  tls?: EndpointTls
  /** Called just before a connection is handed over, in the same tick in which its first request starts. */
  onConnected?: (timings: ConnectTimings) => void
  /** Called right after that tick's work. */
  onHandedOver?: () => void
}

/** With several addresses, how long each but the last may take before the next is tried. */
const addressTimeoutMs = 500

/**
 * Opens connections for undici, only to addresses that the rule allows.
 *
 * The name is looked up once, and refused if any of its addresses is: a name that is public and private
 * at once is an attack or a mistake. Only the addresses that were judged are dialled, so a name that
 * changes its answer in between gains nothing. Before a byte is written, the peer's address is judged too.
 */
export function createConnector(options: ConnectorOptions): buildConnector.connector {
  const { rule, limits = {}, proxy, connectTimeoutMs, lookup = systemLookup, tls = {} } = options
  const { onConnected = () => {}, onHandedOver = () => {} } = options
  // One for all connections: making it reads the certificate authorities, which costs milliseconds.
  const secureContext = createSecureContext({
    minVersion: 'TLSv1.2',
    ...(tls.ca !== undefined && { ca: tls.ca }),
    ...(tls.certificate !== undefined && { cert: tls.certificate }),
    ...(tls.key !== undefined && { key: tls.key }),
  })

  return function connect({ hostname, protocol, port: portText }, callback) {
    const isTls = protocol === 'https:'
    const port = portNumber(protocol, portText)
    const timings: ConnectTimings = {}
    const isLiteral = isIP(hostname) !== 0
    let phase: keyof ConnectTimings = isLiteral ? 'connectMs' : 'dnsMs'
    let phaseStartedAt = performance.now()
    let socket: Socket | undefined
    let settled = false
    const timer = setTimeout(onDeadline, connectTimeoutMs)

    const refusal = refuseScheme(protocol, limits) ?? refusePort(port, limits)
    // Deferred, since undici does not expect an answer before connect() has returned.
    if (refusal !== undefined) queueMicrotask(() => fail('address_refused', refusal))
    else if (isLiteral) queueMicrotask(() => dial([{ address: hostname, family: isIP(hostname) }]))
    else if (proxy?.checksNames === true) {
      queueMicrotask(() => {
        enter('connectMs')
        dialProxy([hostname])
      })
    } else lookup(hostname, { all: true, order: 'verbatim' }, onAddresses)

    function onAddresses(error: NodeJS.ErrnoException | null, addresses: LookupAddress[]): void {
      if (settled) return
      if (error !== null) fail('dns_failed', `the name could not be looked up: ${error.code}`)
      else if (addresses.length === 0) fail('dns_failed', 'the name has no address')
      else {
        enter('connectMs')
        dial(addresses)
      }
    }

    function dial(addresses: LookupAddress[]): void {
      const vetted = addresses.map(({ address }) => address)
      if (!allAllowed(vetted)) return
      if (proxy !== undefined) {
        dialProxy(vetted)
        return
      }
      socket = connectTcp({
        host: hostname,
        port,
        // Not called for a literal address, which is why that was judged above.
        lookup: (_hostname, _options, answer) => answer(null, addresses),
        autoSelectFamily: true,
        autoSelectFamilyAttemptTimeout: addressTimeoutMs,
        noDelay: true,
      })
      socket.on('error', onError).once('connect', onTcpConnected)
    }

    /** Asks the proxy for the hosts in turn, as connectTcp does for addresses. The first that opens is taken. */
    function dialProxy([host, ...others]: string[]): void {
      socket = openTunnel(proxy!, host!, port, (tunnelFailure) => {
        if (settled) return
        if (tunnelFailure !== undefined) {
          socket!.destroy()
          if (others.length > 0 && tunnelFailure.isAboutHost) dialProxy(others)
          else fail(tunnelFailure.failure, tunnelFailure.detail)
          return
        }
        socket!.on('error', onError)
        if (isTls) shakeHands()
        else succeed()
      })
    }

    function onTcpConnected(): void {
      // Undefined when the peer has hung up already.
      if (settled || !allAllowed([socket?.remoteAddress ?? ''])) return
      if (isTls) shakeHands()
      else succeed()
    }

    function allAllowed(addresses: string[]): boolean {
      for (const address of addresses) {
        const verdict = rule.judge(address)
        if (verdict.allowed) continue
        fail('address_refused', `the host may not be reached: ${describeRefusal(verdict.range)}`)
        return false
      }
      return true
    }

    function shakeHands(): void {
      enter('tlsMs')
      const name = hostname.replace(/\.$/, '')
      socket = connectTls({
        socket: socket!,
        host: name,
        // Names only: RFC 6066 has no server name indication for addresses.
        servername: isIP(name) === 0 ? name : '',
        secureContext,
        // Said, so that NODE_TLS_REJECT_UNAUTHORIZED=0 does not turn it off.
        rejectUnauthorized: true,
        checkServerIdentity: (_servername, certificate) => checkServerIdentity(name, certificate),
        ALPNProtocols: ['http/1.1'],
      })
      socket.on('error', onError).once('secureConnect', succeed)
    }

    function succeed(): void {
      if (settled) return
      settled = true
      clearTimeout(timer)
      timings[phase] = performance.now() - phaseStartedAt
      socket!.off('error', onError)
      boundAnswers(socket!)
      onConnected(timings)
      callback(null, socket!)
      onHandedOver()
    }

    function onDeadline(): void {
      const within = `within ${formatDuration(connectTimeoutMs)}`
      if (phase === 'dnsMs') fail('dns_failed', `the name was not looked up ${within}`)
      else if (phase === 'connectMs') fail('connect_timeout', `no connection ${within}`)
      else fail('connect_timeout', `no TLS handshake ${within}`)
    }

    function onError(error: NodeJS.ErrnoException): void {
      const { failure, detail } = explain(error, phase === 'tlsMs')
      fail(failure, detail)
    }

    function fail(failure: ConnectFailureCode, detail: string): void {
      if (settled) return
      settled = true
      clearTimeout(timer)
      timings[phase] = performance.now() - phaseStartedAt
      socket?.destroy()
      callback(new ConnectError(failure, detail, timings), null)
    }

    function enter(next: typeof phase): void {
      const now = performance.now()
      timings[phase] = now - phaseStartedAt
      phase = next
      phaseStartedAt = now
    }
  }
}

function explain(
  error: NodeJS.ErrnoException,
  inTls: boolean,
): { failure: ConnectFailureCode; detail: string } {
  // When several addresses failed, the last one's reason: the others may only have been given up early.
  const cause = error instanceof AggregateError ? (error.errors.at(-1) as NodeJS.ErrnoException) : error
  const code = cause.code ?? 'unknown error'
  if (inTls) return { failure: 'tls_failed', detail: `TLS failed: ${code}` }
  switch (code) {
    case 'ECONNREFUSED':
      return { failure: 'connect_refused', detail: 'the connection was refused' }
    case 'ETIMEDOUT':
      return { failure: 'connect_timeout', detail: 'no connection in time' }
    case 'ECONNRESET':
    case 'EPIPE':
      return { failure: 'reset', detail: 'the connection was closed at once' }
    default:
      return { failure: 'unreachable', detail: `the host cannot be reached: ${code}` }
  }
}

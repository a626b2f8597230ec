import { connect, isIP, type Socket } from 'node:net'
import type { Settings } from '@posthorn/runtime'
import type { ConnectFailureCode } from './connector.ts'

/**
 * The operator's own way out: an HTTP proxy that opens tunnels (CONNECT, RFC 9110 section 9.3.6). Its address
 * is not judged; TLS with the endpoint is ours, through the tunnel.
 */
export interface EgressProxy {
  host: string
  port: number
  /** For Proxy-Authorization. */
  authorization?: string
  /** Names are given to the proxy as they are: it looks them up, and it alone judges their addresses. */
  checksNames: boolean
}

export interface TunnelFailure {
  failure: ConnectFailureCode
  detail: string
  /** Another address of the same name may fare better. */
  isAboutHost: boolean
}

/** Bytes of the proxy's answer before the tunnel. */
const answerBytesMax = 8_192

/** The proxy of the settings, if there is one. */
export function egressProxy({
  egressProxy: text,
  egressNamesCheckedBy,
}: Pick<Settings, 'egressProxy' | 'egressNamesCheckedBy'>): EgressProxy | undefined {
  if (text === undefined) return undefined
  const url = new URL(text)
  const credentials = [url.username, url.password].map(decodeURIComponent).join(':')
  return {
    host: url.hostname.replace(/^\[(.*)\]$/, '$1'),
    port: url.port === '' ? 80 : Number(url.port),
    ...(credentials !== ':' && {
      authorization: `Basic ${Buffer.from(credentials, 'utf8').toString('base64')}`,
    }),
    checksNames: egressNamesCheckedBy === 'proxy',
  }
}

/**
 * Connects to the proxy and asks it for a tunnel. `onResult` is called once, with nothing when the returned
 * socket leads to the host; whoever called has the deadline, and destroys the socket.
 */
export function openTunnel(
  { host: proxyHost, port: proxyPort, authorization }: EgressProxy,
  host: string,
  port: number,
  onResult: (failure?: TunnelFailure) => void,
): Socket {
  const authority = `${isIP(host) === 6 ? `[${host}]` : host}:${port}`
  const socket = connect({ host: proxyHost, port: proxyPort, autoSelectFamily: true, noDelay: true })
  let answer = Buffer.alloc(0)
  let settled = false
  socket.on('connect', onConnect).on('readable', onReadable).on('error', onError).on('end', onError)

  function onConnect(): void {
    const credentials = authorization === undefined ? '' : `proxy-authorization: ${authorization}\r\n`
    socket.write(`CONNECT ${authority} HTTP/1.1\r\nhost: ${authority}\r\n${credentials}\r\n`)
  }

  function onReadable(): void {
    for (let chunk = socket.read(); chunk !== null; chunk = socket.read()) {
      answer = Buffer.concat([answer, chunk as Buffer])
    }
    const end = answer.indexOf('\r\n\r\n')
    if (end !== -1) settle(failureOf(answer, end + 4))
    else if (answer.length > answerBytesMax) settle(proxyFailed('its answer is too large'))
  }

  function onError(): void {
    settle(proxyFailed('it cannot be reached'))
  }

  function settle(failure: TunnelFailure | undefined): void {
    if (settled) return
    settled = true
    socket.off('connect', onConnect).off('readable', onReadable).off('end', onError)
    // What comes after a failure is not heard; after an answer, the caller listens.
    if (failure === undefined) socket.off('error', onError)
    onResult(failure)
  }

  return socket
}

function failureOf(answer: Buffer, bodyAt: number): TunnelFailure | undefined {
  const status = Number(/^HTTP\/1\.[01] (\d{3})[ \r]/.exec(answer.toString('latin1', 0, bodyAt))?.[1])
  if (status >= 200 && status <= 299) {
    // Neither TLS nor HTTP lets the server begin: whatever this is, it is not the endpoint's answer to us.
    return answer.length > bodyAt ? proxyFailed('it sent more than an answer') : undefined
  }
  if (status === 403) {
    return {
      failure: 'address_refused',
      detail: 'the host may not be reached: the egress proxy refused it',
      isAboutHost: false,
    }
  }
  if (status === 407) return proxyFailed('it does not take our credentials')
  if (Number.isNaN(status)) return proxyFailed('its answer is not HTTP')
  return proxyFailed(`it answered with ${status}`, status >= 500)
}

function proxyFailed(reason: string, isAboutHost = false): TunnelFailure {
  return { failure: 'proxy_failed', detail: `the egress proxy opened no connection: ${reason}`, isAboutHost }
}

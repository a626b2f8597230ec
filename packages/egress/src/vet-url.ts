import { isIP } from 'node:net'
import { type AddressRule, describeRefusal } from './address-rule.ts'
import type { EgressPolicy } from './egress-policy.ts'
import { portNumber, refusePort, refuseScheme } from './url-limits.ts'

const urlLengthMax = 2048

export type VetUrlCode =
  | 'url_invalid'
  | 'url_too_long'
  | 'url_scheme'
  | 'url_credentials'
  | 'url_fragment'
  | 'url_port'
  | 'url_host_refused'

export type VetUrlResult = { ok: true; url: string } | { ok: false; code: VetUrlCode; detail: string }

/**
 * Judges the URL of an endpoint when it is registered, by its text alone: no lookup is made, since the
 * answer may be another one by the time of an attempt. Names are judged by their addresses at each connect.
 *
 * `url` in the answer is the normalised form (WHATWG URL Standard) and the one to keep: deliveries go to
 * the host that was judged, not to another reading of the same text. `detail` names the rule and repeats
 * nothing of the URL.
 */
export function vetUrl(text: string, { rule, limits }: EgressPolicy): VetUrlResult {
  if (text.length > urlLengthMax) return tooLong
  // URL parsers drop tabs and newlines and turn backslashes into slashes; nobody writes those in good faith.
  if (/[\p{Cc}\s\\]/u.test(text)) {
    return refuse('url_invalid', 'the URL may not contain spaces, control characters or backslashes')
  }
  const url = URL.parse(text)
  if (url === null)
    return refuse('url_invalid', 'the URL cannot be read; it must be like https://example.com/hooks')
  const schemeRefusal = refuseScheme(url.protocol, limits)
  if (schemeRefusal !== undefined) return refuse('url_scheme', schemeRefusal)
  if (url.username !== '' || url.password !== '') {
    return refuse('url_credentials', 'the URL may not contain a user name or password; use a header instead')
  }
  if (text.includes('#'))
    return refuse('url_fragment', 'the URL may not contain a fragment (#): it is never sent')
  const portRefusal = refusePort(portNumber(url.protocol, url.port), limits)
  if (portRefusal !== undefined) return refuse('url_port', portRefusal)
  if (url.href.length > urlLengthMax) return tooLong

  const refusal = refuseHost(url.hostname, rule)
  return refusal === undefined ? { ok: true, url: url.href } : refuse('url_host_refused', refusal)
}

const tooLong = refuse('url_too_long', `the URL may have at most ${urlLengthMax} characters`)

/** Names that no public resolver answers for (RFC 6761, RFC 6762, RFC 8375, ICANN's `.internal`). */
const privateSuffixes = ['.local', '.localdomain', '.internal', '.intranet', '.lan', '.home.arpa']

/** The reason against this host; undefined if there is none that its text could tell. */
function refuseHost(hostname: string, rule: AddressRule): string | undefined {
  const host = hostname.replace(/^\[(.*)\]$/, '$1')
  if (isIP(host) !== 0) {
    const verdict = rule.judge(host)
    return verdict.allowed ? undefined : describeRefusal(verdict.range)
  }

  const name = host.replace(/\.+$/, '')
  if (name === 'localhost' || name.endsWith('.localhost')) {
    const reachable = rule.judge('127.0.0.1').allowed || rule.judge('::1').allowed
    return reachable ? undefined : 'the host is this machine (loopback)'
  }
  // Where the operator allowed private addresses, such names may be meant: their addresses decide at connect.
  if (
    !rule.hasExceptions &&
    (!name.includes('.') || privateSuffixes.some((suffix) => name.endsWith(suffix)))
  ) {
    return 'the host is a name of a private network; a public one is needed'
  }
  return undefined
}

function refuse(code: VetUrlCode, detail: string): VetUrlResult & { ok: false } {
  return { ok: false, code, detail }
}

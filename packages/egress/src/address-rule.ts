import { isIP } from 'node:net'
import ipaddr from 'ipaddr.js'

type Address = ipaddr.IPv4 | ipaddr.IPv6

/** `range` names the block that an address is refused for, such as `private` or `loopback`. */
export type AddressVerdict = { allowed: true } | { allowed: false; range: string }

export interface AddressRule {
  /** `address` is an IP address as text. What cannot be read as one is refused. */
  judge(address: string): AddressVerdict
  /** True when the operator allowed addresses that are not public. */
  readonly hasExceptions: boolean
}

/**
 * An address may be reached only if it is globally routable unicast by the IANA special-purpose address
 * registries, or if it is in one of the `allow` CIDRs.
 *
 * A rule and not a list of bad blocks: IPv6 starts from the one block that is handed out (2000::/3), and
 * every block that ipaddr.js has a name for is refused, also the few that are routable (AS112, AMT): no
 * subscriber lives there. Forms that carry an IPv4 address get the verdict of what they carry
 * (IPv4-mapped, NAT64) or are refused (6to4, Teredo, ISATAP, SIIT, IPv4-compatible, local NAT64).
 *
 * Throws RangeError for text that is not a CIDR.
 *
 * Sources: https://www.iana.org/assignments/iana-ipv4-special-registry,
 * https://www.iana.org/assignments/iana-ipv6-special-registry, RFC 6890, RFC 6052, RFC 5214.
 */
export function createAddressRule(options: { allow?: readonly string[] } = {}): AddressRule {
  const exceptions = (options.allow ?? []).map(parseCidr)

  return {
    hasExceptions: exceptions.length > 0,
    judge(text) {
      const address = parseAddress(text)
      if (address === undefined) return { allowed: false, range: 'unparsable' }
      if (exceptions.some((cidr) => contains(cidr, address))) return { allowed: true }
      const range = specialRange(address)
      return range === undefined ? { allowed: true } : { allowed: false, range }
    },
  }
}

/** The name of the block that makes this address unreachable; undefined for a public address. */
function specialRange(address: Address): string | undefined {
  const range = address.range()
  if (address instanceof ipaddr.IPv4) return range === 'unicast' ? undefined : range

  // NAT64's well-known prefix: on a network with IPv6 only, every IPv4 host is reached through it.
  const carried = carriedByNat64(address)
  if (carried !== undefined) return specialRange(carried)
  if (range !== 'unicast') return range
  if (!address.match(globalUnicast)) return 'notGlobalUnicast'
  if (isIsatap(address)) return 'isatap'
  return undefined
}

// The only block that IANA hands out addresses from; all others are special, or not for anybody yet.
const globalUnicast = parseCidr('2000::/3')
const nat64 = parseCidr('64:ff9b::/96')

function carriedByNat64(address: ipaddr.IPv6): ipaddr.IPv4 | undefined {
  return address.match(nat64) ? new ipaddr.IPv4(address.toByteArray().slice(12)) : undefined
}

/** ISATAP (RFC 5214) hides an IPv4 address behind ::0:5efe or ::200:5efe, under anybody's prefix. */
function isIsatap(address: ipaddr.IPv6): boolean {
  const [, , , , flags, marker] = address.parts
  return marker === 0x5efe && (flags === 0 || flags === 0x0200)
}

/** An IPv4-mapped address is the same destination as the IPv4 address in it, and becomes that. */
function parseAddress(text: string): Address | undefined {
  // isIP() first: ipaddr.js also reads octal, hexadecimal and short forms, which mean other hosts to others.
  // A zone (`fe80::1%eth0`) names a link of this machine.
  if (isIP(text) === 0 || text.includes('%')) return undefined
  const address = ipaddr.parse(withoutDottedTail(text))
  return address instanceof ipaddr.IPv6 && address.isIPv4MappedAddress() ? address.toIPv4Address() : address
}

/** `::8.8.8.8` as `::808:808`: ipaddr.js takes the first for `::ffff:8.8.8.8`, another address. */
function withoutDottedTail(text: string): string {
  if (!text.includes(':')) return text
  return text.replace(/(\d+)\.(\d+)\.(\d+)\.(\d+)$/, (_tail, ...octets: string[]) => {
    const [a, b, c, d] = octets.map(Number) as [number, number, number, number]
    return `${(a * 256 + b).toString(16)}:${(c * 256 + d).toString(16)}`
  })
}

function parseCidr(text: string): [Address, number] {
  const [base, bitsText, ...rest] = text.split('/')
  const bits = /^\d{1,3}$/.test(bitsText ?? '') ? Number(bitsText) : Number.NaN
  const address = base === undefined ? undefined : parseAddress(base)
  if (address === undefined || rest.length > 0) throw new RangeError(`not a CIDR: ${text}`)
  const isMapped = address instanceof ipaddr.IPv4 && base!.includes(':')
  const prefix = isMapped ? bits - 96 : bits
  if (!(prefix >= 0 && prefix <= (address instanceof ipaddr.IPv4 ? 32 : 128))) {
    throw new RangeError(`not a CIDR: ${text}`)
  }
  return [address, prefix]
}

function contains(cidr: [Address, number], address: Address): boolean {
  return (
    cidr[0].kind() === address.kind() && address.match(cidr as [ipaddr.IPv4, number] & [ipaddr.IPv6, number])
  )
}

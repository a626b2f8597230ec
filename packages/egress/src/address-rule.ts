import { isIP } from 'node:net'
import ipaddr from 'ipaddr.js'
import { registryBlock } from './registry-blocks.ts'

type Address = ipaddr.IPv4 | ipaddr.IPv6

/**
 * `range` names the block that an address is refused for, such as `private` or `loopback`; `denied` is the
 * operator's own, and `disagreement` is a mistake of ours: see `AddressRuleOptions.onDisagreement`.
 */
export type AddressVerdict = { allowed: true } | { allowed: false; range: string }

export interface AddressRule {
  /** `address` is an IP address as text. What cannot be read as one is refused. */
  judge(address: string): AddressVerdict
  /** True when the operator allowed addresses that are not public. */
  readonly hasExceptions: boolean
}

export interface AddressRuleOptions {
  /** CIDRs that may be reached although they are not public. */
  allow?: readonly string[]
  /** CIDRs that may not be reached, whatever else says so. */
  deny?: readonly string[]
  /** Default `registryBlock`. */
  secondReading?: (address: string) => string | undefined
  /** Called once for each address that the two readings of the registries disagree about. */
  onDisagreement?: (address: string) => void
}

/** Addresses that were told of; then they are told of again. */
const disagreementsMax = 1_000

/**
 * An address may be reached only if it is globally routable unicast by the IANA special-purpose address
 * registries, or if it is in one of the `allow` CIDRs; never if it is in one of the `deny` CIDRs.
 *
 * The registries are read twice, here with ipaddr.js and in `registry-blocks.ts` without. What only one of
 * the two calls public is refused.
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
export function createAddressRule(options: AddressRuleOptions = {}): AddressRule {
  const exceptions = (options.allow ?? []).map(parseCidr)
  const denials = (options.deny ?? []).map(parseCidr)
  const { secondReading = registryBlock, onDisagreement = () => {} } = options
  const disagreements = new Set<string>()

  function tellOnce(address: string): void {
    if (disagreements.has(address)) return
    if (disagreements.size >= disagreementsMax) disagreements.clear()
    disagreements.add(address)
    onDisagreement(address)
  }

  return {
    hasExceptions: exceptions.length > 0,
    judge(text) {
      const address = parseAddress(text)
      if (address === undefined) return { allowed: false, range: 'unparsable' }
      const carried = carriedByNat64(address)
      if (denials.some((cidr) => contains(cidr, address) || (carried && contains(cidr, carried)))) {
        return { allowed: false, range: 'denied' }
      }
      if (exceptions.some((cidr) => contains(cidr, address))) return { allowed: true }
      const range = specialRange(address)
      if ((range === undefined) !== (secondReading(text) === undefined)) {
        tellOnce(text)
        return { allowed: false, range: 'disagreement' }
      }
      return range === undefined ? { allowed: true } : { allowed: false, range }
    },
  }
}

/** In the words of the rule: nothing of the address, and nothing of what is there. */
export function describeRefusal(range: string): string {
  return range === 'denied'
    ? 'the address is one that this platform does not send to'
    : `the address is not a public one (${range})`
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

function carriedByNat64(address: Address): ipaddr.IPv4 | undefined {
  return address instanceof ipaddr.IPv6 && address.match(nat64)
    ? new ipaddr.IPv4(address.toByteArray().slice(12))
    : undefined
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

/**
 * The second reading of the IANA special-purpose address registries: which block makes an address
 * unreachable, by blocks copied from the registries and with a parser of its own. `address-rule.ts` reads
 * them with ipaddr.js; where the two disagree, an address is refused. So nothing here may be taken from
 * there, and a mistake in either costs a delivery and not a connection to somewhere private.
 *
 * Sources: https://www.iana.org/assignments/iana-ipv4-special-registry (2025-10-09),
 * https://www.iana.org/assignments/iana-ipv6-special-registry (2025-10-09),
 * https://www.iana.org/assignments/ipv6-address-space, RFC 5214 (ISATAP).
 */
export const registryBlocks: readonly { cidr: string; name: string }[] = [
  { cidr: '0.0.0.0/8', name: 'this network' },
  { cidr: '10.0.0.0/8', name: 'private use' },
  { cidr: '100.64.0.0/10', name: 'shared address space' },
  { cidr: '127.0.0.0/8', name: 'loopback' },
  { cidr: '169.254.0.0/16', name: 'link local' },
  { cidr: '172.16.0.0/12', name: 'private use' },
  // With its globally reachable anycast addresses, 192.0.0.9 and 192.0.0.10: no subscriber lives there.
  { cidr: '192.0.0.0/24', name: 'protocol assignments' },
  { cidr: '192.0.2.0/24', name: 'documentation' },
  { cidr: '192.31.196.0/24', name: 'AS112' },
  { cidr: '192.52.193.0/24', name: 'AMT' },
  { cidr: '192.88.99.0/24', name: '6to4 relay' },
  { cidr: '192.168.0.0/16', name: 'private use' },
  { cidr: '192.175.48.0/24', name: 'AS112' },
  { cidr: '198.18.0.0/15', name: 'benchmarking' },
  { cidr: '198.51.100.0/24', name: 'documentation' },
  { cidr: '203.0.113.0/24', name: 'documentation' },
  { cidr: '224.0.0.0/4', name: 'multicast' },
  { cidr: '240.0.0.0/4', name: 'reserved' },
  // IPv6: everything outside 2000::/3, and within it these.
  { cidr: '::/3', name: 'not global unicast' },
  { cidr: '2001::/23', name: 'protocol assignments' },
  { cidr: '2001:db8::/32', name: 'documentation' },
  { cidr: '2002::/16', name: '6to4' },
  { cidr: '2620:4f:8000::/48', name: 'AS112' },
  { cidr: '3fff::/20', name: 'documentation' },
  { cidr: '4000::/2', name: 'not global unicast' },
  { cidr: '8000::/1', name: 'not global unicast' },
]

interface Read {
  family: 4 | 6
  bits: bigint
}

const ranges = registryBlocks.map(({ cidr, name }) => {
  const [base, length] = cidr.split('/') as [string, string]
  const { family, bits } = read(base)!
  const hostBits = BigInt((family === 4 ? 32 : 128) - Number(length))
  return { name, family, first: bits, last: bits + (1n << hostBits) - 1n }
})

const MAPPED = 0xffffn << 32n
const NAT64 = 0x64ff9bn << 96n

/** The name of the block that makes the address unreachable; undefined for a public one. */
export function registryBlock(text: string): string | undefined {
  const address = read(text)
  if (address === undefined) return 'no address'
  const { family, bits } = withoutWrapping(address)
  for (const range of ranges) {
    if (range.family === family && bits >= range.first && bits <= range.last) return range.name
  }
  return family === 6 && isIsatap(bits) ? 'ISATAP' : undefined
}

/** IPv4-mapped, and NAT64 by its well-known prefix, stand for the IPv4 address in them. */
function withoutWrapping({ family, bits }: Read): Read {
  const carried = bits & 0xffff_ffffn
  const prefix = bits - carried
  return family === 6 && (prefix === MAPPED || prefix === NAT64)
    ? { family: 4, bits: carried }
    : { family, bits }
}

/** Interface ids 0:5efe:… and 200:5efe:…: the second with the bit for a unique address set. */
function isIsatap(bits: bigint): boolean {
  return ((bits >> 32n) & 0xfdff_ffffn) === 0x5efen
}

function read(text: string): Read | undefined {
  const family = text.includes(':') ? 6 : 4
  const bits = family === 6 ? readIpv6(text) : readIpv4(text)
  return bits === undefined ? undefined : { family, bits }
}

function readIpv4(text: string): bigint | undefined {
  const octets = text.split('.')
  if (octets.length !== 4 || !octets.every((octet) => /^(0|[1-9]\d{0,2})$/.test(octet))) return undefined
  const numbers = octets.map(Number)
  if (numbers.some((number) => number > 255)) return undefined
  return numbers.reduce((bits, number) => (bits << 8n) | BigInt(number), 0n)
}

function readIpv6(text: string): bigint | undefined {
  const tailAt = text.includes('.') ? text.lastIndexOf(':') + 1 : text.length
  const tail = tailAt === text.length ? undefined : readIpv4(text.slice(tailAt))
  if (tailAt < text.length && tail === undefined) return undefined
  const hex =
    tail === undefined
      ? text
      : `${text.slice(0, tailAt)}${(tail >> 16n).toString(16)}:${(tail & 0xffffn).toString(16)}`
  const halves = hex.split('::')
  if (halves.length > 2) return undefined
  const [head = [], rest = []] = halves.map(readGroups)
  const missing = 8 - head.length - rest.length
  if (halves.length === 2 ? missing < 1 : missing !== 0) return undefined
  const groups = [...head, ...Array.from({ length: missing }, () => 0n), ...rest]
  if (groups.some((group) => group < 0n)) return undefined
  return groups.reduce((bits, group) => (bits << 16n) | group, 0n)
}

/** Of a text that isIP() takes for an address; -1 for what is no group. */
function readGroups(half: string): bigint[] {
  if (half === '') return []
  return half.split(':').map((group) => (/^[0-9a-f]{1,4}$/i.test(group) ? BigInt(`0x${group}`) : -1n))
}

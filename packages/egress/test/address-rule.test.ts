import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { createAddressRule } from '../src/index.ts'
import { registryBlocks } from '../src/registry-blocks.ts'

const rule = createAddressRule()
const isAllowed = (address: string) => rule.judge(address).allowed

// First and last address of every block of the IANA IPv4 special-purpose registry (and of multicast), with
// their neighbours outside where those are public. Blocks that the registry calls globally reachable, but
// where no subscriber can live (AS112, AMT, anycast of protocols), are refused too.
describe.each([
  ['this network', '0.0.0.0', '0.255.255.255', [undefined, '1.0.0.0']],
  ['private 10', '10.0.0.0', '10.255.255.255', ['9.255.255.255', '11.0.0.0']],
  ['shared (CGN)', '100.64.0.0', '100.127.255.255', ['100.63.255.255', '100.128.0.0']],
  ['loopback', '127.0.0.0', '127.255.255.255', ['126.255.255.255', '128.0.0.0']],
  ['link local', '169.254.0.0', '169.254.255.255', ['169.253.255.255', '169.255.0.0']],
  ['private 172.16', '172.16.0.0', '172.31.255.255', ['172.15.255.255', '172.32.0.0']],
  ['protocol assignments', '192.0.0.0', '192.0.0.255', ['191.255.255.255', '192.0.1.0']],
  ['documentation 1', '192.0.2.0', '192.0.2.255', ['192.0.1.255', '192.0.3.0']],
  ['AS112 v4', '192.31.196.0', '192.31.196.255', ['192.31.195.255', '192.31.197.0']],
  ['AMT', '192.52.193.0', '192.52.193.255', ['192.52.192.255', '192.52.194.0']],
  ['6to4 relay', '192.88.99.0', '192.88.99.255', ['192.88.98.255', '192.88.100.0']],
  ['private 192.168', '192.168.0.0', '192.168.255.255', ['192.167.255.255', '192.169.0.0']],
  ['direct delegation AS112', '192.175.48.0', '192.175.48.255', ['192.175.47.255', '192.175.49.0']],
  ['benchmarking', '198.18.0.0', '198.19.255.255', ['198.17.255.255', '198.20.0.0']],
  ['documentation 2', '198.51.100.0', '198.51.100.255', ['198.51.99.255', '198.51.101.0']],
  ['documentation 3', '203.0.113.0', '203.0.113.255', ['203.0.112.255', '203.0.114.0']],
  ['multicast', '224.0.0.0', '239.255.255.255', ['223.255.255.255', undefined]],
  ['reserved and broadcast', '240.0.0.0', '255.255.255.255', [undefined, undefined]],
] as const)('IPv4 %s', (_name, first, last, neighbours) => {
  test(`${first} to ${last} is refused`, () => {
    expect([first, last].filter(isAllowed)).toEqual([])
  })
  test('its public neighbours are not', () => {
    const outside = neighbours.filter((address) => address !== undefined)
    expect(outside.filter(isAllowed)).toEqual(outside)
  })
})

// The same for the IANA IPv6 special-purpose registry, and for every form that carries an IPv4 address.
test.each([
  ['unspecified', '::'],
  ['loopback', '::1'],
  ['IPv4-compatible', '::8.8.8.8'],
  ['SIIT', '::ffff:0:8.8.8.8'],
  ['local NAT64', '64:ff9b:1::'],
  ['local NAT64', '64:ff9b:1:ffff:ffff:ffff:ffff:ffff'],
  ['beside NAT64', '64:ff9b::1:0:0'],
  ['discard', '100::'],
  ['discard', '100::ffff:ffff:ffff:ffff'],
  ['dummy', '100:0:0:1::'],
  ['Teredo', '2001::'],
  ['Teredo', '2001:0:ffff:ffff:ffff:ffff:ffff:ffff'],
  ['protocol assignments', '2001:1::1'],
  ['benchmarking', '2001:2::'],
  ['AMT', '2001:3::'],
  ['AS112', '2001:4:112::'],
  ['deprecated ORCHID', '2001:10::'],
  ['ORCHIDv2', '2001:20::'],
  ['DRIP', '2001:30::'],
  ['protocol assignments, last', '2001:1ff:ffff:ffff:ffff:ffff:ffff:ffff'],
  ['documentation', '2001:db8::'],
  ['documentation', '2001:db8:ffff:ffff:ffff:ffff:ffff:ffff'],
  ['6to4', '2002::'],
  ['6to4 of a public address', '2002:808:808::1'],
  ['6to4, last', '2002:ffff:ffff:ffff:ffff:ffff:ffff:ffff'],
  ['direct delegation AS112', '2620:4f:8000::'],
  ['documentation 2', '3fff::'],
  ['documentation 2, last', '3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff'],
  ['not handed out', '4000::'],
  ['not handed out', '1fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff'],
  ['segment routing', '5f00::'],
  ['segment routing', '5f00:ffff:ffff:ffff:ffff:ffff:ffff:ffff'],
  ['unique local', 'fc00::'],
  ['unique local', 'fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff'],
  ['cloud metadata', 'fd00:ec2::254'],
  ['link local', 'fe80::'],
  ['link local', 'febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff'],
  ['link local with a zone', 'fe80::1%eth0'],
  ['public with a zone', '2606:4700:4700::1111%eth0'],
  ['site local', 'fec0::'],
  ['site local', 'feff:ffff:ffff:ffff:ffff:ffff:ffff:ffff'],
  ['multicast', 'ff00::'],
  ['multicast', 'ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff'],
  ['ISATAP', '2606:4700::5efe:10.0.0.1'],
  ['ISATAP', '2606:4700::200:5efe:8.8.8.8'],
])('IPv6 %s: %s is refused', (_name, address) => {
  expect(isAllowed(address)).toBe(false)
})

test.each(['2001:200::', '2001:4860:4860::8888', '2003::1', '2606:4700:4700::1111', '2a00::1', '3ffe::1'])(
  'IPv6 public unicast: %s is allowed',
  (address) => {
    expect(isAllowed(address)).toBe(true)
  },
)

test.each(['', 'localhost', '0x7f.1', '0177.0.0.1', '2130706433', '127.1', '8.8.8.8 ', '[::1]', '1.2.3.4.5'])(
  'text that is not one canonical address is refused: %j',
  (text) => {
    expect(rule.judge(text)).toEqual({ allowed: false, range: 'unparsable' })
  },
)

test('an IPv4 address that is mapped or behind NAT64 gets the verdict of the IPv4 address', () => {
  fc.assert(
    fc.property(fc.ipV4(), (address) => {
      expect(isAllowed(`::ffff:${address}`)).toBe(isAllowed(address))
      expect(isAllowed(`64:ff9b::${address}`)).toBe(isAllowed(address))
    }),
    { numRuns: 2_000 },
  )
})

describe('the two readings of the registries', () => {
  const told: string[] = []
  const judged = createAddressRule({ onDisagreement: (address) => told.push(address) })

  test('agree at every boundary of every block, in every form of the address', () => {
    const forms = registryBlocks.flatMap(({ cidr }) => boundariesOf(cidr)).flatMap(formsOf)
    expect(forms.length).toBeGreaterThan(300)
    for (const address of forms) judged.judge(address)
    expect(told).toEqual([])
  })

  test('agree about a million random addresses', { timeout: 300_000 }, () => {
    const random = seededBits(20_261_125)
    const verdicts = { allowed: 0, refused: 0 }
    for (let drawn = 0; drawn < 1_000_000; drawn++) {
      verdicts[judged.judge(drawAddress(random)).allowed ? 'allowed' : 'refused'] += 1
    }
    expect(told).toEqual([])
    // Neither is a corner: the draw reaches both.
    expect(Math.min(verdicts.allowed, verdicts.refused)).toBeGreaterThan(100_000)
  })

  test.each([
    ['calls a private address public', '10.0.0.1', () => undefined],
    ['calls a public address private', '8.8.8.8', () => 'private use'],
  ])('a reading that %s is told of once, and the address is refused', (_name, address, secondReading) => {
    const disagreements: string[] = []
    const torn = createAddressRule({ secondReading, onDisagreement: (one) => disagreements.push(one) })
    for (let times = 0; times < 3; times++) {
      expect(torn.judge(address)).toEqual({ allowed: false, range: 'disagreement' })
    }
    expect(disagreements).toEqual([address])
  })
})

describe('allowed CIDRs', () => {
  const development = createAddressRule({ allow: ['127.0.0.0/8', '::1/128', 'fd00:1234::/32'] })

  test('open what they name, in every form of the same destination, and nothing else', () => {
    for (const address of [
      '127.0.0.1',
      '127.255.255.255',
      '::ffff:127.0.0.1',
      '::1',
      'fd00:1234::9',
      '8.8.8.8',
    ]) {
      expect(development.judge(address), address).toEqual({ allowed: true })
    }
    for (const address of [
      '10.0.0.1',
      '169.254.169.254',
      '::',
      'fd00:1235::',
      '64:ff9b::127.0.0.1',
      '::127.0.0.1',
    ]) {
      expect(development.judge(address).allowed, address).toBe(false)
    }
  })

  test('an IPv6 CIDR does not open mapped IPv4 addresses', () => {
    expect(createAddressRule({ allow: ['::/0'] }).judge('::ffff:127.0.0.1').allowed).toBe(false)
    expect(createAddressRule({ allow: ['::ffff:127.0.0.0/104'] }).judge('127.0.0.1').allowed).toBe(true)
  })

  test.each([
    '127.0.0.1',
    '127.0.0.0/33',
    '::/129',
    '127.0.0.0/-1',
    '0x7f.0.0.0/8',
    '::ffff:1.2.3.4/64',
    'x/8',
    '/8',
  ])('%j is not a CIDR', (text) => {
    expect(() => createAddressRule({ allow: [text] })).toThrow(RangeError)
  })
})

describe('denied CIDRs', () => {
  test('close what they name in every form of the same destination, also where it is allowed', () => {
    const rule = createAddressRule({
      allow: ['10.0.0.0/8', '64:ff9b::/96'],
      deny: ['10.1.0.0/16', '8.8.8.0/24', '2606:4700::/32'],
    })
    for (const address of ['10.1.2.3', '::ffff:10.1.2.3', '8.8.8.8', '64:ff9b::8.8.8.8', '2606:4700::1']) {
      expect(rule.judge(address), address).toEqual({ allowed: false, range: 'denied' })
    }
    for (const address of ['10.2.0.1', '8.8.4.4', '2606:4701::1']) {
      expect(rule.judge(address), address).toEqual({ allowed: true })
    }
  })
})

/** First and last address of a block, the one before and the one after, as bits. */
function boundariesOf(cidr: string): { family: 4 | 6; bits: bigint }[] {
  const [base, length] = cidr.split('/') as [string, string]
  const family = base.includes(':') ? 6 : 4
  const width = family === 4 ? 32 : 128
  const first = bitsOf(base, family)
  const last = first + (1n << BigInt(width - Number(length))) - 1n
  return [first - 1n, first, last, last + 1n]
    .filter((bits) => bits >= 0n && bits < 1n << BigInt(width))
    .map((bits) => ({ family, bits }))
}

function bitsOf(base: string, family: 4 | 6): bigint {
  if (family === 4) return base.split('.').reduce((bits, octet) => (bits << 8n) | BigInt(octet), 0n)
  // Of the bases in the table, each has its zeros at the end.
  const groups = base.replace(/::$/, '').split(':').filter(Boolean)
  return [...groups, ...Array<string>(8 - groups.length).fill('0')].reduce(
    (bits, group) => (bits << 16n) | BigInt(`0x${group}`),
    0n,
  )
}

const wrappings = ['::ffff:', '::', '64:ff9b::', '64:ff9b:1::', '::ffff:0:', '2001::', '2606:4700::5efe:']

function formsOf({ family, bits }: { family: 4 | 6; bits: bigint }): string[] {
  if (family === 6) return [ipv6Text(bits)]
  const dotted = ipv4Text(Number(bits))
  const carried = bits.toString(16).padStart(8, '0')
  const in6to4 = `2002:${carried.slice(0, 4)}:${carried.slice(4)}::1`
  return [dotted, in6to4, ...wrappings.map((wrapping) => wrapping + dotted)]
}

/** A stream of 32-bit words that the seed repeats (Mulberry32). */
function seededBits(seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let bits = Math.imul(state ^ (state >>> 15), state | 1)
    bits ^= bits + Math.imul(bits ^ (bits >>> 7), bits | 61)
    return (bits ^ (bits >>> 14)) >>> 0
  }
}

const bases = registryBlocks.map(({ cidr }) => boundariesOf(cidr)[0]!)

/** A third each: anywhere in IPv4, IPv6 near a block or under 2000::/3, and forms that carry IPv4. */
function drawAddress(random: () => number): string {
  const kind = random() % 3
  if (kind === 0) return ipv4Text(random())
  const low = (BigInt(random()) << 32n) | BigInt(random())
  if (kind === 1) {
    const base = bases[random() % bases.length]!
    const near = base.family === 6 && random() % 2 === 0
    const high = near ? base.bits >> 64n : 0x2000_0000_0000_0000n | (low >> 3n)
    // Few bits differ from the base, or many.
    return ipv6Text(((high ^ (BigInt(random()) >> BigInt(random() % 32))) << 64n) | low)
  }
  const dotted = ipv4Text(random())
  const word = BigInt(random())
  const form = random() % (wrappings.length + 2)
  if (form < wrappings.length) return wrappings[form] + dotted
  if (form === wrappings.length) return ipv6Text((0x2002n << 112n) | (word << 80n) | low)
  // ISATAP, and what differs from it in one bit, under a public prefix.
  const marker = (0x5efen ^ (random() % 2 === 0 ? 0n : 1n << (word % 32n))) << 32n
  return ipv6Text((0x2606_4700n << 96n) | marker | BigInt(random()))
}

function ipv4Text(bits: number): string {
  return `${bits >>> 24}.${(bits >>> 16) & 255}.${(bits >>> 8) & 255}.${bits & 255}`
}

function ipv6Text(bits: bigint): string {
  return bits
    .toString(16)
    .padStart(32, '0')
    .replace(/(.{4})(?=.)/g, '$1:')
}

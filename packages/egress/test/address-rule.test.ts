import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { createAddressRule } from '../src/index.ts'

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

test('the rule agrees with an independent reading of the registries on random addresses', () => {
  fc.assert(
    fc.property(fc.nat({ max: 0xffff_ffff }), (bits) => {
      const address = [bits >>> 24, (bits >>> 16) & 255, (bits >>> 8) & 255, bits & 255].join('.')
      expect(isAllowed(address), address).toBe(
        !specialIpv4.some(([base, length]) => inBlock(bits, base, length)),
      )
    }),
    { numRuns: 20_000 },
  )
  fc.assert(
    fc.property(fc.ipV6(), (address) => {
      // Outside 2000::/3 nothing is public except the two forms that carry a public IPv4 address.
      if (!isAllowed(address)) return
      expect(address).toMatch(/^[23][0-9a-f]{3}:|^(0*:){2,}.*ffff:|^0*64:ff9b:/i)
    }),
    { numRuns: 5_000 },
  )
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

/** Base and prefix length of every block that is not public, typed from the registry. */
const specialIpv4: [number, number][] = [
  [0x00000000, 8],
  [0x0a000000, 8],
  [0x64400000, 10],
  [0x7f000000, 8],
  [0xa9fe0000, 16],
  [0xac100000, 12],
  [0xc0000000, 24],
  [0xc0000200, 24],
  [0xc01fc400, 24],
  [0xc034c100, 24],
  [0xc0586300, 24],
  [0xc0a80000, 16],
  [0xc0af3000, 24],
  [0xc6120000, 15],
  [0xc6336400, 24],
  [0xcb007100, 24],
  [0xe0000000, 3],
]

function inBlock(bits: number, base: number, length: number): boolean {
  return bits >>> (32 - length) === base >>> (32 - length)
}

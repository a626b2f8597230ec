import { ALLOWED_ADDRESS, REFUSED_PORT } from './addresses.ts'
import type { DnsZone } from './dns-server.ts'

/** A URL that an endpoint might be given, and what each gate makes of it. */
export interface UrlInput {
  url: string
  /** Of an API without exceptions. `accepted`: a name tells nothing before it is looked up. */
  atRegistration: 'refused' | 'accepted'
  /**
   * `refused`: its own outcome; `unsent`: that, or any other without a connection; `changing`: refused or delivered,
   * as the name is when it is looked up; `any`: but no canary.
   */
  atConnect: 'refused' | 'unsent' | 'changing' | 'any'
}

/** First and last of each block of the IANA registries that is not public, and of what it may be taken for. */
const reservedIpv4 = [
  ...['0.0.0.0', '0.255.255.255', '10.0.0.0', '10.255.255.255', '100.64.0.0', '100.127.255.255'],
  ...['127.0.0.0', '127.0.0.1', '127.1.2.3', '127.255.255.254', '127.255.255.255'],
  ...['169.254.0.0', '169.254.255.255', '172.16.0.0', '172.31.255.255', '192.0.0.0', '192.0.0.255'],
  ...['192.0.2.0', '192.0.2.255', '192.31.196.0', '192.31.196.255', '192.52.193.0', '192.52.193.255'],
  ...['192.88.99.0', '192.88.99.255', '192.168.0.0', '192.168.255.255', '192.175.48.0', '192.175.48.255'],
  ...['198.18.0.0', '198.19.255.255', '198.51.100.0', '198.51.100.255', '203.0.113.0', '203.0.113.255'],
  ...['224.0.0.0', '239.255.255.255', '240.0.0.0', '255.255.255.254', '255.255.255.255'],
]

const reservedIpv6 = [
  ...['::', '::1', '::7f00:1', '::ffff:7f00:1', '::ffff:127.0.0.1', '::ffff:0:127.0.0.1', '::127.0.0.1'],
  ...['::ffff:10.0.0.1', '::ffff:169.254.169.254', '64:ff9b::127.0.0.1', '64:ff9b::a00:1'],
  ...[
    '64:ff9b::169.254.169.254',
    '64:ff9b:1::',
    '64:ff9b:1:ffff:ffff:ffff:ffff:ffff',
    '100::',
    '100:0:0:1::',
  ],
  ...[
    '2001::',
    '2001:0:7f00:1::',
    '2001:1::1',
    '2001:2::',
    '2001:3::',
    '2001:4:112::',
    '2001:10::',
    '2001:20::',
  ],
  ...['2001:30::', '2001:1ff:ffff:ffff:ffff:ffff:ffff:ffff', '2001:db8::', '2001:db8:ffff::1'],
  ...['2002::', '2002:7f00:1::', '2002:7f00:1::1', '2002:a00:1::', '2620:4f:8000::', '3fff::', '3fff:fff::1'],
  ...['4000::', '5f00::', '1fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff', 'fc00::', 'fd00::1', 'fd00:ec2::254'],
  ...[
    'fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff',
    'fe80::1',
    'febf:ffff::1',
    'fec0::',
    'feff::1',
    'ff00::',
    'ff02::1',
  ],
  ...['2606:4700::5efe:127.0.0.1', '2606:4700::200:5efe:7f00:1', 'fe80::5efe:127.0.0.1'],
  ...['0:0:0:0:0:0:0:1', '0000:0000:0000:0000:0000:0000:0000:0001', '0:0:0:0:0:FFFF:7F00:0001'],
]

/** Other ways to write 127.0.0.1, 10.0.0.1 and 169.254.169.254. */
const encodedIpv4 = [
  ...['2130706433', '0x7f000001', '0x7F000001', '017700000001', '00000000017700000001', '0x7f.1', '0x7f.0.1'],
  ...['127.1', '127.0.1', '127.0.0.1.', '0177.0.0.1', '0177.0.0.0x1', '0x7f.0x0.0x0.0x1'],
  ...['127.0.0.01', '127.0.0.0x1', '127.00.00.01', '127.0.0.0000000001', '0', '0x0', '00', '0.0'],
  ...['%31%32%37.0.0.1', '127%2e0%2e0%2e1', '%31%32%37%2E%30%2E%30%2E%31', '127.0.0.%31', '%30'],
  ...[
    '\uff11\uff12\uff17.0.0.1',
    '\u2460\u2461\u2466.0.0.1',
    '\u2460\u2461\u2466\u3002\u24ea\u3002\u24ea\u3002\u2460',
  ],
  ...[
    '127\u30020\u30020\u30021',
    '127\uff0e0\uff0e0\uff0e1',
    '127\uff610\uff610\uff611',
    '\ud835\udfcf\ud835\udfd0\ud835\udfd5.0.0.1',
  ],
  ...[
    '\u00b9\u00b2\u2077.0.0.1',
    '\u2081\u2082\u2087.0.0.1',
    '12\u00ad7.0.0.1',
    '12\u200b7.0.0.1',
    '127.0.0\u2024.1',
  ],
  ...[
    '167772161',
    '0xa000001',
    '012.0.0.1',
    '10.1',
    '2852039166',
    '0xa9fea9fe',
    '0251.0376.0251.0376',
    '169.254.43518',
  ],
  ...['127.0.0.1.1', '127.0.0.256', '127.0.0.1000', '4294967296', '0x100000000', '256.0.0.1', '127..0.1'],
]

const privateNames = [
  ...[
    'localhost',
    'LOCALHOST',
    'localhost.',
    'localhost..',
    'a.localhost',
    'a.b.localhost.',
    'loc\u0430lhost.localhost',
  ],
  ...[
    '\u24db\u24de\u24d2\u24d0\u24db\u24d7\u24de\u24e2\u24e3',
    '\uff4c\uff4f\uff43\uff41\uff4c\uff48\uff4f\uff53\uff54',
  ],
  ...[
    'printer.local',
    'printer.local.',
    'router.lan',
    'box.home.arpa',
    'db.internal',
    'wiki.intranet',
    'a.localdomain',
  ],
  ...['redis', 'postgres', 'kubernetes', 'kubernetes.default.svc.cluster.local', 'intranet', 'wpad'],
  ...[
    'metadata.google.internal',
    'metadata.google.internal.',
    'METADATA.google.internal',
    'metadata.azure.internal',
  ],
  ...['instance-data.ec2.internal', 'metadata', 'metadata.packet.local', 'rancher-metadata'],
]

/** Cloud metadata by address, with the paths that are asked for. */
const metadata = [
  'http://169.254.169.254/latest/meta-data/iam/security-credentials/',
  'http://169.254.169.254/computeMetadata/v1/instance/service-accounts/default/token',
  'http://169.254.169.254/metadata/identity/oauth2/token?api-version=2018-02-01',
  'http://169.254.170.2/v2/credentials/',
  'http://[fd00:ec2::254]/latest/meta-data/',
  'http://100.100.100.200/latest/meta-data/',
  'http://192.0.0.192/latest/',
  'http://169.254.169.254:80/openstack/latest/meta_data.json',
  'https://169.254.169.254/',
]

/** To a host that may be reached, by its text. */
const unsendable = [
  'http://public.abuse.example:0/',
  'ftp://public.abuse.example/',
  'ws://public.abuse.example/',
  `http://public.abuse.example/${'\u00e9'.repeat(1_000)}`,
]

/** What one parser reads as one host and another as the next. */
function trickyUrls(canary: string, port: number): string[] {
  return [
    `http://user@${canary}/`,
    `http://user:password@${canary}/`,
    `http://${ALLOWED_ADDRESS}@${canary}/`,
    `http://public.abuse.example:80@${canary}/`,
    `http://public.abuse.example%40${canary}/`,
    `http://${canary}%23@public.abuse.example/`,
    `http://public.abuse.example\\@${canary}/`,
    `http://${canary}\\@public.abuse.example/`,
    `http:\\\\${canary}\\`,
    `http:${canary}/`,
    `http:/${canary}/`,
    `http:///${canary}/`,
    `http:////${canary}/`,
    `//${canary}/`,
    `${canary}/`,
    `http://${canary}#@public.abuse.example/`,
    `http://public.abuse.example#@${canary}/`,
    `http://${canary}?@public.abuse.example/`,
    `http://public.abuse.example;@${canary}/`,
    `http://public.abuse.example&@${canary}/`,
    `http://[${canary}]/`,
    `http://[::1%25lo]:${port}/`,
    `http://[::1%lo]:${port}/`,
    `http://[fe80::1%25eth0]:${port}/`,
    `http://[fe80::1%eth0]:${port}/`,
    `http://[::1]@public.abuse.example:${port}/`,
    `http://[::1:${port}/`,
    `http://::1:${port}/`,
    `http://0:0:0:0:0:0:0:1:${port}/`,
    ` http://${canary}/`,
    `http://${canary}/ `,
    `http://\t${canary}/`,
    `ht\ntp://${canary}/`,
    `http://127.0.\n0.1:${port}/`,
    `http://127.0.0.1\r\nhost: public.abuse.example\r\n\r\n:${port}/`,
    `http://127.0.0.1%0d%0ahost:x:${port}/`,
    `http://127.0.0.1%00.abuse.example:${port}/`,
    `http://127.0.0.1\0.abuse.example:${port}/`,
    `http://127.0.0.1:0/`,
    `http://127.0.0.1:65536/`,
    `http://127.0.0.1:${port}:80/`,
    `http://127.0.0.1:+${port}/`,
    `HTTP://${canary}/`,
    `hTtPs://${canary}/`,
    `ftp://${canary}/`,
    `file:///etc/passwd`,
    `file://${canary}/etc/passwd`,
    `gopher://${canary}/_POST`,
    `dict://${canary}/info`,
    `data:text/html,x`,
    `javascript:alert(1)`,
    `ws://${canary}/`,
    `unix:///var/run/docker.sock`,
    `http+unix://%2Fvar%2Frun%2Fdocker.sock/`,
    `jar:http://${canary}!/`,
    `http://`,
    `http://:${port}/`,
    `http://@${canary}/`,
    `http://.${canary}/`,
    `http://-/`,
    `blob:http://${canary}/`,
    `view-source:http://${canary}/`,
  ]
}

/** Names of the suite's own DNS server, under a domain that a gate takes for public. */
const names: Record<string, ReturnType<DnsZone> | { turns: readonly string[] }> = {
  both: { addresses: [ALLOWED_ADDRESS, '127.0.0.1'] },
  'both-reversed': { addresses: ['127.0.0.1', ALLOWED_ADDRESS] },
  'both-families': { addresses: [ALLOWED_ADDRESS, '::1'] },
  'both-mapped': { addresses: [ALLOWED_ADDRESS, '::ffff:127.0.0.1'] },
  'last-of-many': {
    addresses: [...Array.from({ length: 20 }, (_, at) => `127.77.0.${at + 1}`), '127.0.0.1'],
  },
  'only-v6-loopback': { addresses: ['::1'] },
  'only-loopback': { addresses: ['127.0.0.1'] },
  'other-loopback': { addresses: ['127.1.2.3'] },
  beside: { addresses: ['127.76.255.255'] },
  zero: { addresses: ['0.0.0.0'] },
  'v6-zero': { addresses: ['::'] },
  mapped: { addresses: ['::ffff:127.0.0.1'] },
  compatible: { addresses: ['::127.0.0.1'] },
  nat64: { addresses: ['64:ff9b::7f00:1'] },
  'local-nat64': { addresses: ['64:ff9b:1::7f00:1'] },
  'six-to-four': { addresses: ['2002:7f00:1::'] },
  teredo: { addresses: ['2001:0:7f00:1::80ff:fffe'] },
  siit: { addresses: ['::ffff:0:7f00:1'] },
  isatap: { addresses: ['2001:db8::5efe:7f00:1'] },
  'cname-localhost': { cname: 'localhost', addresses: ['127.0.0.1'] },
  'cname-private': { cname: 'db.internal', addresses: ['127.1.2.3'] },
  'cname-v6': { cname: 'six.abuse.example', addresses: ['::1'] },
  'cname-both': { cname: 'cdn.abuse.example', addresses: [ALLOWED_ADDRESS, '127.0.0.1'] },
  '127-0-0-1': { addresses: ['127.0.0.1'] },
  '127.0.0.1': { addresses: ['127.0.0.1'] },
  '*': { addresses: ['127.0.0.1'] },
  'xn--80ak6aa92e': { addresses: ['127.0.0.1'] },
  // Another answer at every question: whoever asks twice connects to the second.
  rebind: { turns: [ALLOWED_ADDRESS, '127.0.0.1'] },
  'rebind-reversed': { turns: ['127.0.0.1', ALLOWED_ADDRESS] },
  'rebind-late': { turns: [ALLOWED_ADDRESS, ALLOWED_ADDRESS, '127.0.0.1'] },
  'rebind-thrice': { turns: [ALLOWED_ADDRESS, '127.0.0.1', '127.1.2.3'] },
  silent: { broken: 'silent' },
  garbage: { broken: 'garbage' },
  missing: { broken: 'missing' },
  failing: { broken: 'failure' },
  empty: { addresses: [] },
}

/** They stand for no address. */
const UNANSWERED = new Set(['silent', 'garbage', 'missing', 'failing', 'empty'])

function isChanging(name: string): boolean {
  return 'turns' in names[name]!
}

export const ALLOWED_NAME = 'allowed.abuse.example'

export const zone: DnsZone = (name, times) => {
  if (name === ALLOWED_NAME) return { addresses: [ALLOWED_ADDRESS] }
  const answer = names[name.replace(/\.abuse\.example$/, '')]
  // Whatever else is asked for is private.
  if (answer === undefined) return { addresses: ['127.0.0.1'] }
  if ('turns' in answer) return { addresses: [answer.turns[times % answer.turns.length]!] }
  return answer
}

/** @param port of the canaries, and of the allowed receiver beside them */
export function urlInputs(port: number): UrlInput[] {
  const literal = (host: string): UrlInput => ({
    url: `http://${host}:${port}/`,
    atRegistration: 'refused',
    atConnect: 'unsent',
  })
  const isWhole = (url: string) => URL.canParse(url)
  return [
    ...reservedIpv4.map((host): UrlInput => ({ ...literal(host), atConnect: 'refused' })),
    ...reservedIpv6.map((host): UrlInput => ({ ...literal(`[${host}]`), atConnect: 'refused' })),
    ...encodedIpv4.map(literal),
    ...privateNames.map(literal),
    ...metadata.map((url): UrlInput => ({ url, atRegistration: 'refused', atConnect: 'refused' })),
    ...unsendable.map((url): UrlInput => ({ url, atRegistration: 'refused', atConnect: 'unsent' })),
    {
      url: `http://${ALLOWED_ADDRESS}:${REFUSED_PORT}/`,
      atRegistration: 'refused',
      atConnect: 'refused',
    },
    ...trickyUrls(`127.0.0.1:${port}`, port).map(
      (url): UrlInput => ({ url, atRegistration: 'refused', atConnect: isWhole(url) ? 'any' : 'unsent' }),
    ),
    ...Object.keys(names).map((name): UrlInput => {
      const url = `http://${name}.abuse.example:${port}/`
      return {
        url,
        atRegistration: isWhole(url) ? 'accepted' : 'refused',
        atConnect:
          !isWhole(url) || UNANSWERED.has(name) ? 'unsent' : isChanging(name) ? 'changing' : 'refused',
      }
    }),
    ...['ONLY-LOOPBACK.abuse.example.', 'only-loopback\u3002abuse\u3002example', 'both.abuse.example.'].map(
      (host): UrlInput => ({ ...literal(host), atRegistration: 'accepted', atConnect: 'refused' }),
    ),
  ]
}

/** What an answer may say to lead a client elsewhere: head and body, without the length. */
export function redirects(port: number): { name: string; status: number; headers: string; body: string }[] {
  const to = `http://127.0.0.1:${port}/`
  const found = (status: number, headers: string, body = '') => ({
    name: `${status} ${headers.split('\r\n')[0]}${body}`,
    ...{ status, headers, body },
  })
  return [
    ...[300, 301, 302, 303, 304, 305, 306, 307, 308, 399].map((status) =>
      found(status, `location: ${to}\r\n`),
    ),
    found(200, `location: ${to}\r\n`),
    found(201, `location: ${to}\r\ncontent-location: ${to}\r\n`),
    found(302, `location: //127.0.0.1:${port}/\r\n`),
    found(302, `location: \\\\127.0.0.1:${port}\\\r\n`),
    found(302, `location: http://[::1]:${port}/\r\n`),
    found(302, `location: http://2130706433:${port}/\r\n`),
    found(302, `location: http://both.abuse.example:${port}/\r\n`),
    found(302, 'location: file:///etc/passwd\r\n'),
    found(302, `location: ${to}\r\nlocation: ${to}\r\n`),
    found(302, `uri: ${to}\r\nrefresh: 0; url=${to}\r\n`),
    found(200, `refresh: 0; url=${to}\r\n`, `<meta http-equiv="refresh" content="0; url=${to}">`),
    found(200, `alt-svc: h2="127.0.0.1:${port}", h3=":${port}"\r\n`),
    found(200, `link: <${to}>; rel=preload\r\n`),
    found(401, `www-authenticate: Basic realm="${to}"\r\n`),
    found(407, `proxy-authenticate: Basic\r\nproxy: ${to}\r\n`),
    found(421, ''),
    found(426, 'upgrade: h2c\r\nconnection: upgrade\r\n'),
    found(503, `retry-after: 0\r\nlocation: ${to}\r\n`),
  ]
}

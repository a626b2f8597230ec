import { pathToFileURL } from 'node:url'

/** The parts of the suite. */
export const PARTS = [
  ...['urls', 'responders', 'headers', 'payloads', 'fuzz', 'roles', 'limits', 'leaks', 'cost'],
] as const
export type Part = (typeof PARTS)[number]

/** Text of a source file, and what stands there without the guard. */
interface Edit {
  /** From the root of the repository. */
  file: string
  from: string | RegExp
  to: string
}

/** Something that the product does not do without harm. */
export interface Guard {
  name: string
  /** What is not done any more. */
  without: string
  edits: readonly Edit[]
  /** The part of the suite that has to find that out. */
  part: Part
  /** Of the part `responders`: these alone. */
  responders?: readonly string[]
  /** The mark that is not held without it. */
  mark: string
  /** What has to be among its findings, where the mark has more than one guard. */
  finding?: RegExp
}

const egress = (file: string) => `packages/egress/src/${file}.ts`
const api = (file: string) => `apps/api/src/${file}.ts`
const ADDRESS_RULE = egress('address-rule')
const VET_URL = egress('vet-url')
const CONNECTOR = egress('connector')
const POST = egress('post')
const EXCHANGE = egress('exchange')
const ENDPOINT = 'packages/contracts/src/endpoint.ts'
const TARGETS = 'packages/dispatch/src/targets.ts'
const VAULT = 'packages/store/src/vault.ts'
const API_KEYS = 'packages/store/src/api-keys.ts'
const LOGGER = 'packages/runtime/src/logger.ts'
const CLI_API = 'apps/cli/src/api.ts'

const REGISTERED = 'let through at registration'
const SENT = 'sent, or left without a record'
const CANARY = 'connections to a canary'
const TOLD = 'bytes that a canary was sent'
const DISAGREE = 'addresses that two readings disagree about'
const OUTCOME = 'attempts with another outcome than theirs'
const RECORD = 'attempts without a record'
const LARGE = 'answers that were kept beyond the limits'
const ALTERED = 'bodies that were not kept as they were sent'
const HEADERS = 'headers let through at registration'
const WON = 'headers that won at sending'
const PAYLOADS = 'payloads not refused, or not kept byte by byte'
const RAW = 'raw requests that were taken, or broke something'
const LET_IN = 'routes that let somebody in who may not'
const FOREIGN = "what is another owner's and not the same as missing"
const HARDENED = 'what a hardened set-up lets through'
const ANSWERS = 'answers without what a browser is owed'
const SECRETS = 'secrets found'

const lookUpAgain: Edit = {
  file: CONNECTOR,
  from: 'lookup: (_hostname, _options, answer) => answer(null, addresses),',
  to: 'lookup: (name, _options, answer) => lookup(name, { all: true }, (error, others) => answer(error, others)),',
}
const reservedAreSent: Edit = {
  file: TARGETS,
  from: 'filter(([name]) => refusedHeader(name) === undefined)',
  to: 'filter(([name]) => refusedHeader(name) !== name)',
}
const importInterceptors: Edit = {
  file: POST,
  from: "import { Pool } from 'undici'",
  to: "import { interceptors, Pool } from 'undici'",
}
const keptPlain: readonly Edit[] = [
  {
    file: VAULT,
    from: 'return Buffer.concat([Buffer.of(VERSION), nonce, cipher.getAuthTag(), ...encrypted])',
    to: 'return Buffer.concat([Buffer.from(plain)].slice(0, encrypted.length))',
  },
  {
    file: VAULT,
    from: /const tagAt = 1 \+ NONCE_BYTES\n/,
    to: 'if (bytes.length > 0) return Buffer.from(bytes)\n$&',
  },
]
/** A line that somebody could write while looking for a mistake. */
const carelessLine = (fields: string): Edit => ({
  file: CLI_API,
  from: "context.logger.info({ url }, 'api.ready')",
  to: `context.logger.info({ url, ${fields} }, 'api.ready')`,
})

/**
 * Every guard, and where it is. What is taken out together covers each other: with one of them gone, the other
 * one still stands before the same harm.
 */
export const guards: readonly Guard[] = [
  // Where deliveries may go.
  {
    name: 'address-rule',
    without: 'no address is judged',
    edits: [
      { file: ADDRESS_RULE, from: 'judge(text) {\n', to: "$&if (text !== '') return { allowed: true }\n" },
    ],
    part: 'urls',
    mark: CANARY,
  },
  {
    name: 'first-reading',
    without: 'the registries are not read with ipaddr.js',
    edits: [
      {
        file: ADDRESS_RULE,
        from: 'const range = specialRange(address)',
        to: 'const range = [specialRange(address)].find((one) => one === undefined)',
      },
    ],
    part: 'urls',
    mark: DISAGREE,
  },
  {
    name: 'second-reading',
    without: 'the registries are not read a second time',
    edits: [
      {
        file: ADDRESS_RULE,
        from: 'secondReading(text) === undefined',
        to: "secondReading('8.8.8.8') === undefined",
      },
    ],
    part: 'urls',
    mark: DISAGREE,
  },
  {
    name: 'url-host',
    without: 'the host of a URL is not judged at registration',
    edits: [
      {
        file: VET_URL,
        from: 'const refusal = refuseHost(url.hostname, rule)',
        to: "const refusal = refuseHost('example.com', rule)",
      },
    ],
    part: 'urls',
    mark: REGISTERED,
  },
  {
    name: 'url-characters',
    without: 'a URL may have spaces, control characters and backslashes',
    edits: [{ file: VET_URL, from: String.raw`if (/[\p{Cc}\s\\]/u.test(text)) {`, to: "if (text === '') {" }],
    part: 'urls',
    mark: REGISTERED,
  },
  {
    name: 'url-scheme',
    without: 'a URL may have any scheme at registration',
    edits: [{ file: VET_URL, from: 'if (schemeRefusal !== undefined)', to: "if (schemeRefusal === '')" }],
    part: 'urls',
    mark: REGISTERED,
  },
  {
    name: 'url-credentials',
    without: 'a URL may have a user name and a password',
    edits: [
      { file: VET_URL, from: "if (url.username !== '' || url.password !== '') {", to: "if (text === '') {" },
    ],
    part: 'urls',
    mark: REGISTERED,
  },
  {
    name: 'url-fragment',
    without: 'a URL may have a fragment',
    edits: [{ file: VET_URL, from: "if (text.includes('#'))", to: "if (text === '')" }],
    part: 'urls',
    mark: REGISTERED,
  },
  {
    name: 'url-port',
    without: 'a URL may have any port at registration',
    edits: [{ file: VET_URL, from: 'if (portRefusal !== undefined)', to: "if (portRefusal === '')" }],
    part: 'urls',
    mark: REGISTERED,
  },
  {
    name: 'url-length',
    without: 'a URL may be of any length once its characters are escaped',
    edits: [{ file: VET_URL, from: 'if (url.href.length > urlLengthMax)', to: "if (url.href === '')" }],
    part: 'urls',
    mark: REGISTERED,
  },
  {
    name: 'literal-hosts',
    without: 'a host that is an address is not judged before it is dialled',
    edits: [
      {
        file: CONNECTOR,
        from: 'if (!allAllowed(vetted)) return',
        to: 'if (!isLiteral && !allAllowed(vetted)) return',
      },
    ],
    part: 'urls',
    mark: CANARY,
  },
  {
    name: 'names',
    without: 'the addresses of a name are not judged before they are dialled',
    edits: [
      {
        file: CONNECTOR,
        from: 'if (!allAllowed(vetted)) return',
        to: 'if (isLiteral && !allAllowed(vetted)) return',
      },
    ],
    part: 'urls',
    mark: CANARY,
  },
  {
    name: 'all-addresses',
    without: 'only the first address of a name is judged',
    edits: [
      {
        file: CONNECTOR,
        from: 'if (!allAllowed(vetted)) return',
        to: 'if (!allAllowed(vetted.slice(0, 1))) return',
      },
    ],
    part: 'urls',
    mark: SENT,
  },
  {
    name: 'only-vetted-dialled',
    without: 'a name is looked up again to be dialled',
    edits: [lookUpAgain],
    part: 'urls',
    mark: CANARY,
  },
  {
    name: 'peer-judged',
    without: "the peer's address is not judged, and a name is looked up again to be dialled",
    edits: [
      lookUpAgain,
      {
        file: CONNECTOR,
        from: "if (settled || !allAllowed([socket?.remoteAddress ?? ''])) return",
        to: 'if (settled) return',
      },
    ],
    part: 'urls',
    mark: TOLD,
  },
  {
    name: 'ports-at-connect',
    without: 'any port is connected to',
    edits: [{ file: CONNECTOR, from: '?? refusePort(port, limits)', to: '' }],
    part: 'urls',
    mark: SENT,
  },
  {
    name: 'https-only-at-connect',
    without: 'http is connected to where only https may be',
    edits: [{ file: CONNECTOR, from: 'refuseScheme(protocol, limits) ??', to: '' }],
    part: 'limits',
    mark: HARDENED,
    finding: /was posted to/,
  },
  {
    name: 'https-only',
    without: 'POSTHORN_EGRESS_HTTPS_ONLY means nothing',
    edits: [
      { file: egress('url-limits'), from: 'limits.httpsOnly === true', to: 'limits.httpsOnly === null' },
    ],
    part: 'limits',
    mark: HARDENED,
  },
  {
    name: 'ports',
    without: 'POSTHORN_EGRESS_PORTS means nothing',
    edits: [
      { file: egress('url-limits'), from: 'if (ports.length === 0 ||', to: 'if (ports.length >= 0 ||' },
    ],
    part: 'limits',
    mark: HARDENED,
  },
  {
    name: 'redirects',
    without: 'redirects are followed',
    edits: [
      importInterceptors,
      {
        file: POST,
        from: 'origin.pool.dispatch(',
        to: 'origin.pool.compose(interceptors.redirect({ maxRedirections: 3 })).dispatch(',
      },
    ],
    part: 'urls',
    mark: 'redirects that changed the outcome',
  },
  // What is answered.
  {
    name: 'deadline',
    without: 'an attempt has no deadline',
    edits: [{ file: POST, from: 'setTimeout(onDeadline, timeoutMs)', to: 'setTimeout(() => {}, timeoutMs)' }],
    part: 'responders',
    responders: ['never answers'],
    mark: RECORD,
  },
  {
    name: 'connect-deadline',
    without: 'a connection has no deadline of its own',
    edits: [
      {
        file: CONNECTOR,
        from: 'setTimeout(onDeadline, connectTimeoutMs)',
        to: 'setTimeout(() => {}, connectTimeoutMs)',
      },
    ],
    part: 'responders',
    responders: ['no handshake'],
    mark: OUTCOME,
  },
  {
    name: 'header-bytes',
    without: 'the headers of an answer have no limit',
    edits: [{ file: POST, from: 'maxHeaderSize: 16_384', to: 'maxHeaderSize: 1 << 30' }],
    part: 'responders',
    responders: ['endless header'],
    mark: OUTCOME,
  },
  {
    name: 'kept-headers',
    without: 'all headers of an answer are kept',
    edits: [{ file: EXCHANGE, from: 'if (bytes > headerBytesMax)', to: 'if (bytes < 0)' }],
    part: 'responders',
    responders: ['headers of 12 KB'],
    mark: LARGE,
  },
  {
    name: 'body-bytes',
    without: 'the body of an answer has no limit',
    edits: [
      {
        file: EXCHANGE,
        from: 'const room = this.#options.responseBytesMax - this.#bodyBytes',
        to: 'const room = 1 << 30',
      },
    ],
    part: 'responders',
    responders: ['a body of 64 KB'],
    mark: LARGE,
  },
  {
    name: 'interim-answers',
    without: 'any number of 1xx is waited through',
    edits: [
      {
        file: EXCHANGE,
        from: 'if (this.#interimAnswers > interimAnswersMax)',
        to: 'if (this.#interimAnswers < 0)',
      },
    ],
    part: 'responders',
    responders: ['20 times 1xx, then an answer'],
    mark: OUTCOME,
  },
  {
    name: 'bound-answers',
    without: 'bytes that are neither header nor body have no limit',
    edits: [{ file: CONNECTOR, from: 'boundAnswers(socket!)', to: '' }],
    part: 'responders',
    responders: ['endless chunk extension', 'endless status line'],
    mark: OUTCOME,
  },
  {
    name: 'not-inflated',
    without: 'compressed bodies are inflated',
    edits: [
      importInterceptors,
      {
        file: POST,
        from: 'origin.pool.dispatch(',
        to: 'origin.pool.compose(interceptors.decompress()).dispatch(',
      },
    ],
    part: 'responders',
    responders: ['gzip bomb'],
    mark: ALTERED,
  },
  {
    name: 'asks-for-identity',
    without: 'compressed bodies are asked for',
    edits: [{ file: POST, from: "'accept-encoding', 'identity'", to: "'accept-encoding', 'gzip'" }],
    part: 'headers',
    mark: WON,
  },
  // Between worker and receiver.
  {
    name: 'tls-verified',
    without: 'certificates are not verified',
    edits: [{ file: CONNECTOR, from: 'rejectUnauthorized: true', to: 'rejectUnauthorized: false' }],
    part: 'responders',
    responders: ['expired certificate'],
    mark: OUTCOME,
  },
  {
    name: 'tls-name',
    without: 'a certificate may be for another name',
    edits: [
      {
        file: CONNECTOR,
        from: 'checkServerIdentity: (_servername, certificate) => checkServerIdentity(name, certificate),',
        to: 'checkServerIdentity: () => undefined,',
      },
    ],
    part: 'responders',
    responders: ['certificate for another name'],
    mark: OUTCOME,
  },
  {
    name: 'tls-version',
    without:
      'TLS 1.0 is spoken: neither our setting, nor the default of Node, nor the level of OpenSSL forbids it',
    edits: [
      {
        file: CONNECTOR,
        from: "minVersion: 'TLSv1.2',",
        to: "minVersion: 'TLSv1', ciphers: 'ALL:@SECLEVEL=0',",
      },
    ],
    part: 'responders',
    responders: ['TLS 1.0', 'TLS 1.1'],
    mark: OUTCOME,
  },
  {
    name: 'signature',
    without: 'the signature is not that of the bytes that are sent',
    edits: [
      { file: 'packages/signing/src/sign.ts', from: '.update(head).update(body)', to: '.update(head)' },
    ],
    part: 'headers',
    mark: 'deliveries that do not verify',
  },
  // Headers of an endpoint.
  {
    name: 'reserved-headers',
    without: 'reserved names are not refused at registration',
    edits: [{ file: api('routes/endpoints'), from: ': refusedHeader(name)\n', to: ': undefined\n' }],
    part: 'headers',
    mark: HEADERS,
  },
  {
    name: 'header-names',
    without: 'a header may have any name',
    edits: [{ file: ENDPOINT, from: /pattern: "\^\[A-Za-z0-9!#[^"]*"/, to: 'pattern: "^[^]*$$"' }],
    part: 'headers',
    mark: HEADERS,
  },
  {
    name: 'header-values',
    without: 'a header may have any value',
    edits: [{ file: ENDPOINT, from: /pattern: '\^\(\[\\\\x21[^']*'/, to: "pattern: '^[^]*$$'" }],
    part: 'headers',
    mark: HEADERS,
  },
  {
    name: 'reserved-headers-at-sending',
    without: 'reserved names that are in the database are sent',
    edits: [reservedAreSent],
    part: 'headers',
    mark: WON,
  },
  {
    name: 'framing-headers-at-sending',
    without: 'headers that frame the request are sent: neither dispatch nor egress leaves them out',
    edits: [reservedAreSent, { file: POST, from: 'if (isFramingHeader(lowerName)) continue', to: '' }],
    part: 'headers',
    mark: WON,
  },
  // What the API is sent.
  {
    name: 'body-limit',
    without: 'a body may be of any size',
    edits: [
      {
        file: api('routes/messages'),
        from: 'bodyLimit: settings.payloadBytesMax,',
        to: 'bodyLimit: 1 << 30,',
      },
    ],
    part: 'payloads',
    mark: PAYLOADS,
  },
  {
    name: 'key-count',
    without: 'a body may have any number of keys',
    edits: [{ file: api('json-body'), from: 'if (hasMoreKeysThan(raw, keysMax))', to: 'if (keysMax < 0)' }],
    part: 'payloads',
    mark: PAYLOADS,
  },
  {
    name: 'nesting',
    without: 'a body may be nested as deep as it likes',
    edits: [
      { file: api('json-members'), from: 'if (scan.depth + open > scan.depthMax)', to: 'if (open < 0)' },
    ],
    part: 'payloads',
    mark: PAYLOADS,
  },
  {
    name: 'forbidden-keys',
    without: 'a body may have the key `__proto__`',
    edits: [{ file: api('json-members'), from: 'if (key === FORBIDDEN_KEY)', to: "if (key === '\\0')" }],
    part: 'payloads',
    mark: PAYLOADS,
  },
  {
    name: 'utf-8',
    without: 'a body may be no UTF-8',
    edits: [{ file: api('json-body'), from: 'if (!isUtf8(raw))', to: 'if (raw.length < 0)' }],
    part: 'payloads',
    mark: PAYLOADS,
  },
  {
    name: 'content-encoding',
    without: 'a compressed body is read as it is',
    edits: [
      {
        file: api('json-body'),
        from: "if ((request.headers['content-encoding'] ?? 'identity') !== 'identity')",
        to: 'if (raw.length < 0)',
      },
    ],
    part: 'payloads',
    mark: RAW,
  },
  {
    name: 'unknown-members',
    without: 'a body may have members that no schema knows',
    edits: [
      {
        file: api('validation'),
        from: 'const validator = Compile(schema)',
        to: `const validator = Compile(JSON.parse(JSON.stringify(schema).replaceAll('"additionalProperties":false,', '')
          .replaceAll(',"additionalProperties":false', '')))`,
      },
    ],
    part: 'payloads',
    mark: PAYLOADS,
  },
  {
    name: 'bytes-kept',
    without: 'data is parsed and written anew',
    edits: [
      {
        file: api('json-members'),
        from: 'return scan.spaced ? withoutSpace(value) : value',
        to: "return Buffer.from(JSON.stringify(JSON.parse(value.toString('utf8'))))",
      },
    ],
    part: 'payloads',
    mark: PAYLOADS,
  },
  // Who may do what.
  {
    name: 'authentication',
    without: 'who has no valid key is let in',
    edits: [
      {
        file: api('authenticate'),
        from: 'limitFailures(request).then((refusal) => done(refusal ?? unauthorized()), done)',
        to: 'done(admit(request, ROOT))',
      },
    ],
    part: 'roles',
    mark: LET_IN,
  },
  {
    name: 'revoked-keys',
    without: 'keys that were revoked go on',
    edits: [{ file: API_KEYS, from: 'AND revoked_at IS NULL AND (', to: 'AND (' }],
    part: 'roles',
    mark: LET_IN,
  },
  {
    name: 'expired-keys',
    without: 'keys that have expired go on',
    edits: [{ file: API_KEYS, from: 'AND (expires_at IS NULL OR expires_at > now())', to: '' }],
    part: 'roles',
    mark: LET_IN,
  },
  {
    name: 'token-signature',
    without: 'owner tokens are not verified',
    edits: [
      {
        file: api('owner-token'),
        from: 'if (!timingSafeEqual(given, mac(key, signed))) return undefined',
        to: '',
      },
    ],
    part: 'roles',
    mark: LET_IN,
  },
  {
    name: 'token-expiry',
    without: 'owner tokens that have expired go on',
    edits: [
      {
        file: api('authenticate'),
        from: 'found !== undefined && Date.now() < found.expiresAtMs',
        to: 'found !== undefined',
      },
    ],
    part: 'roles',
    mark: LET_IN,
  },
  {
    name: 'roles',
    without: 'every role may do everything',
    edits: [
      {
        file: 'packages/contracts/src/role.ts',
        from: /return role === 'admin' \|\| [^\n]*/,
        to: 'return routeRoles.length >= 0',
      },
    ],
    part: 'roles',
    mark: LET_IN,
  },
  {
    name: 'role-without-owner',
    without: 'a key of the role owner without an owner is for all owners, and the database may have one',
    edits: [
      {
        file: 'packages/contracts/src/role.ts',
        from: "if ((role === 'owner') !== (ownerId !== null)) return false",
        to: '',
      },
    ],
    part: 'roles',
    mark: LET_IN,
    finding: /without an owner/,
  },
  {
    name: 'ownership',
    without: "an owner finds what is another's",
    edits: [
      {
        file: api('principal'),
        from: 'return request.principal?.ownerId ?? undefined',
        to: 'return request.principal === null ? undefined : undefined',
      },
    ],
    part: 'roles',
    mark: FOREIGN,
  },
  {
    name: 'audit-log',
    without: 'changes are not written into the audit log',
    edits: [{ file: api('audit'), from: 'await insertAuditEntry(store.pool, entry)', to: '' }],
    part: 'roles',
    mark: 'changes that the audit log does not have',
  },
  {
    name: 'failure-limit',
    without: 'keys can be guessed at any rate',
    edits: [
      {
        file: api('failure-limit'),
        from: 'if (error instanceof RateLimiterRes) return',
        to: 'if (!(error instanceof RateLimiterRes)) return',
      },
    ],
    part: 'limits',
    mark: HARDENED,
    finding: /guesses/,
  },
  {
    name: 'key-rate-limit',
    without: 'a key may be used at any rate',
    edits: [{ file: api('key-rate-limit'), from: 'if (waitMs > 0)', to: 'if (waitMs < 0)' }],
    part: 'limits',
    mark: HARDENED,
    finding: /with one key/,
  },
  {
    name: 'cors',
    without: 'pages of any origin may read answers',
    edits: [
      { file: api('cors'), from: 'if (origins.length === 0) return', to: '' },
      { file: api('cors'), from: 'origin: [...origins]', to: 'origin: true' },
    ],
    part: 'limits',
    mark: ANSWERS,
    finding: /access-control/,
  },
  {
    name: 'security-headers',
    without: 'answers have no headers for browsers',
    edits: [{ file: api('security-headers'), from: 'reply.headers(SECURITY_HEADERS)', to: '' }],
    part: 'limits',
    mark: ANSWERS,
  },
  // What is secret.
  {
    name: 'sealed',
    without: 'secrets are in the database as they are',
    edits: keptPlain,
    part: 'leaks',
    mark: SECRETS,
    finding: /is in the stores/,
  },
  {
    name: 'not-in-lists',
    without: 'values of secret headers are listed, and are in the database as they are',
    edits: [
      ...keptPlain,
      {
        file: api('routes/endpoints'),
        from: '[name, { secret: true as const }] as const',
        to: "[name, Buffer.from(String((secretHeaders as Record<string, unknown>)[name]), 'base64').toString()] as never",
      },
    ],
    part: 'leaks',
    mark: SECRETS,
    finding: /secret header is in the answers/,
  },
  {
    name: 'logger-fields',
    without: 'fields of a log line are not redacted, and a careless line has all settings',
    edits: [
      carelessLine('...context.settings'),
      { file: LOGGER, from: "censor: '[redacted]'", to: 'censor: (value: unknown) => value' },
    ],
    part: 'leaks',
    mark: SECRETS,
    finding: /is in the logs/,
  },
  {
    name: 'logger-texts',
    without: 'texts of a log line are not redacted, and a careless line quotes a URL with a password',
    edits: [
      carelessLine("note: 'through '.concat(String(process.env.POSTHORN_EGRESS_PROXY))"),
      { file: LOGGER, from: 'hooks: { streamWrite: redactText },', to: '' },
    ],
    part: 'leaks',
    mark: SECRETS,
    finding: /is in the logs/,
  },
  {
    name: 'jobs-of-ids',
    without: 'a job has the payload of the last message beside the ids',
    edits: [
      {
        file: 'packages/dispatch/src/accept.ts',
        from: 'payload: messagePayload(event.type, timestamp, event.data),',
        to: `payload: ((globalThis as { lastPayload?: Buffer }).lastPayload =
          messagePayload(event.type, timestamp, event.data)),`,
      },
      {
        file: 'packages/queue/src/delivery-queue.ts',
        from: 'to.add(JOB, { ids: packIds(chunk) })',
        to: `to.add(JOB, { ids: packIds(chunk),
          payload: (globalThis as { lastPayload?: Buffer }).lastPayload?.toString() } as never)`,
      },
    ],
    part: 'leaks',
    mark: SECRETS,
    finding: /payload is in the jobs/,
  },
  {
    name: 'refusals',
    without: 'a refusal repeats what it refuses',
    edits: [
      {
        file: VET_URL,
        from: "return refuse('url_credentials', 'the URL may",
        to: "return refuse('url_credentials', text + ' the URL may",
      },
    ],
    part: 'leaks',
    mark: SECRETS,
    finding: /is in the refusals/,
  },
]

/** What a process says on stderr for each file that it reads without the guard. */
export const TAKEN_OUT = 'A guard was taken out of'

export function findGuard(name: string | undefined): Guard {
  const guard = guards.find((one) => one.name === name)
  if (guard === undefined) {
    throw new Error(`There is no guard ${name}; there are ${guards.map((one) => one.name).join(', ')}.`)
  }
  return guard
}

/**
 * The source without the guard.
 *
 * @throws where a text that is to be replaced is not there any more: the guard would not be taken out
 */
export function applyEdits(file: string, source: string, edits: readonly Edit[]): string {
  return edits
    .filter((edit) => edit.file === file)
    .reduce((text, { from, to }) => {
      const edited = text.replace(from, to)
      if (edited === text) throw new Error(`${file} has no ${from} any more, which a guard is taken out by.`)
      return edited
    }, source)
}

const ROOT = pathToFileURL(`${new URL('../../..', import.meta.url).pathname}`).href

/** Path from the root of the repository; undefined: it is no file of ours. */
export function fromRoot(url: string): string | undefined {
  return url.startsWith(ROOT) && !url.includes('/node_modules/') ? url.slice(ROOT.length) : undefined
}

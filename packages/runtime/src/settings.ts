import { isIP } from 'node:net'
import {
  RETRY_ATTEMPTS_MAX,
  RETRY_DELAY_MAX_MS,
  type RetryPolicy,
  retryPolicyFault,
} from '@posthorn/contracts'
import { formatDuration, parseDuration } from './duration.ts'
import { nearestName } from './nearest-name.ts'

export const logLevels = ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'] as const
export type LogLevel = (typeof logLevels)[number]

/** Everything that the environment decides, read once at start. */
export interface Settings {
  /** `embedded` without DATABASE_URL, `postgres` with it, `redis` with both URLs. */
  mode: 'embedded' | 'postgres' | 'redis'
  databaseUrl?: string
  redisUrl?: string
  host: string
  /** 0 takes any free port. */
  port: number
  /** The root key. */
  apiKey?: string
  /** Of 32 bytes each: the first encrypts, all of them decrypt. */
  masterKeys?: Buffer[]
  /** CIDRs that deliveries may reach although they are not public. */
  egressAllow: string[]
  /** CIDRs that deliveries may not reach, whatever else says so. */
  egressDeny: string[]
  /** Ports that deliveries may go to, first and last included; empty: any but 0. */
  egressPorts: { first: number; last: number }[]
  egressHttpsOnly: boolean
  /** `http://user:password@host:port` of a proxy that opens tunnels. */
  egressProxy?: string
  /** Who looks up names and judges their addresses. */
  egressNamesCheckedBy: 'posthorn' | 'proxy'
  /** Origins whose pages may read answers of the API. */
  corsOrigins: string[]
  /** CIDRs of proxies whose word on where a request came from is taken. */
  trustedProxies: string[]
  /** Requests a second with one key; null: no limit. */
  apiRateLimit: number | null
  /** Requests a minute without a valid key from one address; null: no limit. */
  authFailureLimit: number | null
  dataDir: string
  logLevel: LogLevel
  payloadBytesMax: number
  /** Worker processes of `posthorn worker` and `posthorn start`. */
  workers: number
  /** Attempts in flight at once in one worker process. */
  workerConcurrency: number
  /** Attempts in flight at once to one endpoint. */
  endpointConcurrency: number
  /** How long a worker may hold a delivery before another may take it. */
  leaseMs: number
  /** One deadline over a whole attempt: lookup, connect, headers and body. */
  attemptTimeoutMs: number
  connectTimeoutMs: number
  /** Due deliveries in all past which emits are refused. */
  backlogMax: number
  /** The part of what is due that one owner may have while the platform is behind. */
  ownerShare: number
  /** For endpoints that have no policy of their own. */
  retryPolicy: RetryPolicy
  /** How long an endpoint that only fails is left alone at first. */
  breakerPauseMs: number
  /** An endpoint that did nothing but fail for so long is disabled; null: none is. */
  disableAfterMs: number | null
  /** Payloads that are older are expunged; null: none is. */
  payloadRetentionMs: number | null
}

/** A setting that cannot be used. The message is one line, names the setting and holds no secret. */
export class SettingsError extends Error {
  readonly code = 'bad_setting'
  readonly setting: string

  constructor(setting: string, message: string) {
    super(message)
    this.name = 'SettingsError'
    this.setting = setting
  }
}

/** Reads and checks the environment; empty text counts as not set. Throws SettingsError. */
export function parseSettings(env: Record<string, string | undefined>): Settings {
  refuseUnknown(env)

  const databaseUrl = read(env, definitions.databaseUrl)
  const redisUrl = read(env, definitions.redisUrl)
  const apiKey = read(env, definitions.apiKey)
  const masterKeys = read(env, definitions.masterKeys)
  const egressProxy = read(env, definitions.egressProxy)
  if (redisUrl !== undefined && databaseUrl === undefined) {
    throw new SettingsError(
      'REDIS_URL',
      'REDIS_URL is set without DATABASE_URL: Redis only holds the queue; set DATABASE_URL too, or neither',
    )
  }

  const settings: Settings = {
    mode: databaseUrl === undefined ? 'embedded' : redisUrl === undefined ? 'postgres' : 'redis',
    ...(databaseUrl !== undefined && { databaseUrl }),
    ...(redisUrl !== undefined && { redisUrl }),
    host: readOrDefault(env, definitions.host),
    port: readOrDefault(env, definitions.port),
    ...(apiKey !== undefined && { apiKey }),
    ...(masterKeys !== undefined && { masterKeys }),
    egressAllow: read(env, definitions.egressAllow) ?? [],
    egressDeny: read(env, definitions.egressDeny) ?? [],
    egressPorts: read(env, definitions.egressPorts) ?? [],
    egressHttpsOnly: readOrDefault(env, definitions.egressHttpsOnly).value,
    ...(egressProxy !== undefined && { egressProxy }),
    egressNamesCheckedBy: readOrDefault(env, definitions.egressNamesCheckedBy),
    corsOrigins: read(env, definitions.corsOrigins) ?? [],
    trustedProxies: read(env, definitions.trustedProxies) ?? [],
    apiRateLimit: readOrDefault(env, definitions.apiRateLimit).count,
    authFailureLimit: readOrDefault(env, definitions.authFailureLimit).count,
    dataDir: readOrDefault(env, definitions.dataDir),
    logLevel: readOrDefault(env, definitions.logLevel),
    payloadBytesMax: readOrDefault(env, definitions.payloadBytesMax),
    workers: readOrDefault(env, definitions.workers),
    workerConcurrency: readOrDefault(env, definitions.workerConcurrency),
    endpointConcurrency: readOrDefault(env, definitions.endpointConcurrency),
    leaseMs: readOrDefault(env, definitions.leaseMs),
    attemptTimeoutMs: readOrDefault(env, definitions.attemptTimeoutMs),
    connectTimeoutMs: readOrDefault(env, definitions.connectTimeoutMs),
    retryPolicy: readRetryPolicy(env),
    backlogMax: readOrDefault(env, definitions.backlogMax),
    ownerShare: readOrDefault(env, definitions.ownerShare),
    breakerPauseMs: readOrDefault(env, definitions.breakerPauseMs),
    disableAfterMs: readOrDefault(env, definitions.disableAfter).ms,
    payloadRetentionMs: readOrDefault(env, definitions.payloadRetention).ms,
  }
  if (settings.egressNamesCheckedBy === 'proxy' && egressProxy === undefined) {
    throw new SettingsError(
      'POSTHORN_EGRESS_NAMES_CHECKED_BY',
      'POSTHORN_EGRESS_NAMES_CHECKED_BY is proxy, and there is none: set POSTHORN_EGRESS_PROXY too',
    )
  }
  if (settings.leaseMs <= settings.attemptTimeoutMs) {
    throw new SettingsError(
      'POSTHORN_LEASE',
      `POSTHORN_LEASE (${formatDuration(settings.leaseMs)}) must be longer than POSTHORN_ATTEMPT_TIMEOUT ` +
        `(${formatDuration(settings.attemptTimeoutMs)}): otherwise a delivery is taken while it is being sent`,
    )
  }
  return settings
}

/** The settings as a table, one row each, for the README and `--help`. */
export function describeSettings(): { name: string; default: string; meaning: string }[] {
  return Object.values(definitions).map(({ name, default: text, meaning }) => ({
    name,
    default: text ?? '',
    meaning,
  }))
}

interface Definition<T> {
  name: string
  meaning: string
  /** The default as one would write it in the environment. */
  default?: string
  /** Ends the sentence "it must be". */
  expected: string
  /** Values of secret settings are never repeated in an error. */
  secret?: true
  parse: (text: string) => T | undefined
}

const definitions = {
  databaseUrl: define({
    name: 'DATABASE_URL',
    meaning: 'The PostgreSQL database. Without it, Posthorn runs one of its own in the data folder.',
    expected: 'a URL that starts with postgres:// or postgresql://',
    secret: true,
    parse: parseUrlOf('postgres:', 'postgresql:'),
  }),
  redisUrl: define({
    name: 'REDIS_URL',
    meaning: 'The Redis that holds the queue; needs DATABASE_URL. Without it, the queue is in PostgreSQL.',
    expected: 'a URL that starts with redis://, rediss://, redis+cluster:// or redis+sentinel://',
    secret: true,
    parse: parseUrlOf('redis:', 'rediss:', 'redis+cluster:', 'redis+sentinel:'),
  }),
  port: define({
    name: 'POSTHORN_PORT',
    meaning: 'The port that the API listens on; 0 takes any free one.',
    default: '7676',
    expected: 'a whole number from 0 to 65535',
    parse: parseWhole(0, 65_535),
  }),
  host: define({
    name: 'POSTHORN_HOST',
    meaning: 'The address that the API listens on; `0.0.0.0` or `::` for all.',
    default: '127.0.0.1',
    expected: 'a host name or an IP address, without a port',
    parse: (text) => (isIP(text) !== 0 || /^[A-Za-z0-9.-]{1,253}$/.test(text) ? text : undefined),
  }),
  apiKey: define({
    name: 'POSTHORN_API_KEY',
    meaning: 'The root API key. In embedded mode one is made and printed at the first start.',
    expected: 'at least 16 visible ASCII characters',
    secret: true,
    parse: (text) => (/^[\x21-\x7e]{16,512}$/.test(text) ? text : undefined),
  }),
  masterKeys: define({
    name: 'POSTHORN_MASTER_KEY',
    meaning:
      'Encrypts signing secrets and secret headers in the database: 32 bytes in base64 or hex, as ' +
      '`openssl rand -base64 32` makes them. Needed with DATABASE_URL; in embedded mode one is made at the first ' +
      'start. Several, separated by commas, while one is replaced: the first encrypts, all decrypt.',
    expected:
      '32 bytes in base64 or hex (make some with: openssl rand -base64 32), or several of these separated by commas',
    secret: true,
    parse: parseMasterKeys,
  }),
  egressAllow: define({
    name: 'POSTHORN_EGRESS_ALLOW',
    meaning:
      'CIDRs, separated by commas, that deliveries may reach although they are not public, ' +
      'such as `127.0.0.0/8,::1/128` for development.',
    expected: 'CIDRs separated by commas, such as 127.0.0.0/8,::1/128',
    parse: parseCidrs,
  }),
  egressDeny: define({
    name: 'POSTHORN_EGRESS_DENY',
    meaning: 'CIDRs that deliveries may not reach, also where POSTHORN_EGRESS_ALLOW names them.',
    expected: 'CIDRs separated by commas, such as 203.0.113.0/24',
    parse: parseCidrs,
  }),
  egressPorts: define({
    name: 'POSTHORN_EGRESS_PORTS',
    meaning: 'Ports that deliveries may go to, such as `443,8000-8999`. Without it, any but 0.',
    expected: 'ports and ranges of them separated by commas, such as 443,8000-8999',
    parse: parsePorts,
  }),
  egressHttpsOnly: define({
    name: 'POSTHORN_EGRESS_HTTPS_ONLY',
    meaning: '`true`: deliveries go to https:// URLs only.',
    default: 'false',
    expected: 'true or false',
    parse: parseBoolean,
  }),
  egressProxy: define({
    name: 'POSTHORN_EGRESS_PROXY',
    meaning:
      'An HTTP proxy that deliveries go through (CONNECT), such as `http://user:password@proxy:3128`. ' +
      'It is asked for the addresses that Posthorn looked up and judged.',
    expected: 'a URL such as http://proxy:3128 or http://user:password@proxy:3128, without a path',
    secret: true,
    parse: parseProxy,
  }),
  egressNamesCheckedBy: define({
    name: 'POSTHORN_EGRESS_NAMES_CHECKED_BY',
    meaning:
      '`proxy` leaves it to POSTHORN_EGRESS_PROXY to look up names and to refuse those of private addresses: ' +
      'Posthorn then judges addresses in URLs only.',
    default: 'posthorn',
    expected: 'posthorn or proxy',
    parse: (text) => (text === 'posthorn' || text === 'proxy' ? text : undefined),
  }),
  corsOrigins: define({
    name: 'POSTHORN_CORS_ORIGINS',
    meaning:
      'Origins, separated by commas, whose pages may call the API from a browser, ' +
      'such as `https://portal.example.com`. Without it, none may.',
    expected: 'origins separated by commas, such as https://portal.example.com, without a path',
    parse: parseOrigins,
  }),
  trustedProxies: define({
    name: 'POSTHORN_TRUSTED_PROXIES',
    meaning:
      'CIDRs, separated by commas, of proxies in front of the API: ' +
      'from these, X-Forwarded-For says where a request came from.',
    expected: 'CIDRs separated by commas, such as 10.0.0.0/8',
    parse: parseCidrs,
  }),
  apiRateLimit: define({
    name: 'POSTHORN_API_RATE_LIMIT',
    meaning:
      'Requests a second with one API key, by all processes together and over ten seconds; ' +
      'past it they are answered with 429. `off`: no limit.',
    default: '20000',
    expected: 'a whole number from 1 to 1000000, or off',
    parse: parseWholeOrOff(1, 1_000_000),
  }),
  authFailureLimit: define({
    name: 'POSTHORN_AUTH_FAILURE_LIMIT',
    meaning:
      'Requests a minute without a valid API key from one address; ' +
      'past it they are answered with 429. A valid key always passes. `off`: no limit.',
    default: '30',
    expected: 'a whole number from 1 to 1000000, or off',
    parse: parseWholeOrOff(1, 1_000_000),
  }),
  dataDir: define({
    name: 'POSTHORN_DATA_DIR',
    meaning: 'The folder for the embedded database and the keys made at the first start.',
    default: '.posthorn',
    expected: 'the path of a folder',
    parse: (text) => (text.includes('\0') ? undefined : text),
  }),
  logLevel: define({
    name: 'POSTHORN_LOG_LEVEL',
    meaning: `The least severe level that is logged: ${logLevels.map((level) => `\`${level}\``).join(', ')}.`,
    default: 'info',
    expected: `one of ${logLevels.join(', ')}`,
    parse: (text) => logLevels.find((level) => level === text),
  }),
  payloadBytesMax: define({
    name: 'POSTHORN_PAYLOAD_MAX',
    meaning: 'The largest body of a request to the API, in bytes.',
    default: '262144',
    expected: 'a whole number of bytes from 1024 to 16777216',
    parse: parseWhole(1_024, 16_777_216),
  }),
  workers: define({
    name: 'POSTHORN_WORKERS',
    meaning:
      'Worker processes that `worker` and `start` run and watch over; with 1, it is the process itself.',
    default: '1',
    expected: 'a whole number from 1 to 64',
    parse: parseWhole(1, 64),
  }),
  workerConcurrency: define({
    name: 'POSTHORN_WORKER_CONCURRENCY',
    meaning: 'Attempts in flight at once in one worker process.',
    default: '256',
    expected: 'a whole number from 1 to 10000',
    parse: parseWhole(1, 10_000),
  }),
  endpointConcurrency: define({
    name: 'POSTHORN_ENDPOINT_CONCURRENCY',
    meaning: 'Attempts in flight at once to one endpoint.',
    default: '10',
    expected: 'a whole number from 1 to 1000',
    parse: parseWhole(1, 1_000),
  }),
  leaseMs: define({
    name: 'POSTHORN_LEASE',
    meaning:
      'How long a worker may hold a delivery before another may take it; longer than the attempt timeout.',
    default: '60s',
    expected: 'a duration from 1s to 1h, such as 60s',
    parse: parseDurationWithin(1_000, 3_600_000),
  }),
  attemptTimeoutMs: define({
    name: 'POSTHORN_ATTEMPT_TIMEOUT',
    meaning: 'One deadline over a whole attempt: lookup, connect, headers and body.',
    default: '15s',
    expected: 'a duration from 10ms to 10m, such as 15s',
    parse: parseDurationWithin(10, 600_000),
  }),
  connectTimeoutMs: define({
    name: 'POSTHORN_CONNECT_TIMEOUT',
    meaning: 'The part of an attempt that lookup, connect and TLS may take together.',
    default: '5s',
    expected: 'a duration from 10ms to 10m, such as 5s',
    parse: parseDurationWithin(10, 600_000),
  }),
  retryDelays: define({
    name: 'POSTHORN_RETRY_DELAYS',
    meaning: 'The wait after each failed attempt. One more attempt than waits, then the delivery is dead.',
    default: '5s,5m,30m,2h,5h,10h,14h,20h,24h',
    expected: `1 to ${RETRY_ATTEMPTS_MAX - 1} durations of at most 30d, separated by commas, such as 5s,5m,2h`,
    parse: parseDelays,
  }),
  retryPolicy: define({
    name: 'POSTHORN_RETRY_POLICY',
    meaning:
      'Instead of POSTHORN_RETRY_DELAYS: waits that grow, such as ' +
      '`exponential base=5s factor=3 max=24h attempts=10`, with `jitter=0.2` or another if need be.',
    expected:
      '"exponential base=5s factor=3 max=24h attempts=10" with base and max of at most 30d, ' +
      `a factor from 1 to 10, 1 to ${RETRY_ATTEMPTS_MAX} attempts, and perhaps jitter=0.2, from 0 to 0.5`,
    parse: parseExponential,
  }),
  backlogMax: define({
    name: 'POSTHORN_BACKLOG_MAX',
    meaning: 'Due deliveries of all owners past which the API answers emits with 503 until workers catch up.',
    default: '1000000',
    expected: 'a whole number from 1 to 999999999',
    parse: parseWhole(1, 999_999_999),
  }),
  ownerShare: define({
    name: 'POSTHORN_OWNER_SHARE',
    meaning:
      'With half of POSTHORN_BACKLOG_MAX due, the part of it that may be one owner’s; ' +
      'past it that owner’s emits are answered with 429.',
    default: '25%',
    expected: 'a whole number of percent from 1% to 100%, such as 25%',
    parse: parsePercent,
  }),
  breakerPauseMs: define({
    name: 'POSTHORN_BREAKER_PAUSE',
    meaning:
      'How long an endpoint that only fails is left alone before one delivery probes it; ' +
      'twice as long after each probe that fails, up to 30 times as long.',
    default: '10s',
    expected: 'a duration from 100ms to 1h, such as 10s',
    parse: parseDurationWithin(100, 3_600_000),
  }),
  disableAfter: define({
    name: 'POSTHORN_DISABLE_AFTER',
    meaning: 'An endpoint that did nothing but fail for so long is disabled; `0` or `off`: none is.',
    default: '5d',
    expected: 'a duration from 1s to 365d, such as 5d, or off',
    parse: parseDurationOrOff(1_000, 365 * 86_400_000),
  }),
  payloadRetention: define({
    name: 'POSTHORN_PAYLOAD_RETENTION',
    meaning:
      'Payloads that were accepted longer ago are expunged by the workers, with what receivers answered; ' +
      'what still waits to be sent is cancelled. `0` or `off`: none is.',
    default: 'off',
    expected: 'a duration from 1h to 3650d, such as 30d, or off',
    parse: parseDurationOrOff(3_600_000, 3_650 * 86_400_000),
  }),
}

function define<T, D extends Definition<T>>(definition: D & Definition<T>): D & Definition<T> {
  return definition
}

/** `POSTHORN_TEST_…` configures the test run, never the program. */
function refuseUnknown(env: Record<string, string | undefined>): void {
  const known = Object.values(definitions).map((definition) => definition.name as string)
  for (const name of Object.keys(env)) {
    if (!name.startsWith('POSTHORN_') || name.startsWith('POSTHORN_TEST_') || known.includes(name)) continue
    // Compared without the prefix that they share, which would make all of them look near.
    const short = (other: string) => other.replace('POSTHORN_', '')
    const nearest = nearestName(short(name), known.map(short))
    const hint = known.find((other) => short(other) === nearest)
    throw new SettingsError(
      name,
      `${name} is not a setting of Posthorn${hint === undefined ? '' : `; did you mean ${hint}?`}`,
    )
  }
}

function read<T>(env: Record<string, string | undefined>, definition: Definition<T>): T | undefined {
  const text = env[definition.name]?.trim()
  if (text === undefined || text === '') return undefined
  const value = definition.parse(text)
  if (value !== undefined) return value
  const shown = definition.secret === true ? 'cannot be used' : `is ${JSON.stringify(text.slice(0, 100))}`
  throw new SettingsError(definition.name, `${definition.name} ${shown}: it must be ${definition.expected}`)
}

function readOrDefault<T>(
  env: Record<string, string | undefined>,
  definition: Definition<T> & { default: string },
): T {
  return read(env, definition) ?? definition.parse(definition.default)!
}

/** The two settings of the policy as one; judged as an endpoint's is. */
function readRetryPolicy(env: Record<string, string | undefined>): RetryPolicy {
  const { retryPolicy, retryDelays } = definitions
  const exponential = read(env, retryPolicy)
  if (exponential !== undefined && read(env, retryDelays) !== undefined) {
    throw new SettingsError(
      retryPolicy.name,
      `${retryPolicy.name} and ${retryDelays.name} are both set: they say the same in two ways; set one of them`,
    )
  }
  const policy = exponential ?? { delaysMs: readOrDefault(env, retryDelays) }
  const fault = retryPolicyFault(policy)
  if (fault === undefined) return policy
  const { name } = exponential === undefined ? retryDelays : retryPolicy
  throw new SettingsError(name, `${name} cannot be used: ${fault.member} ${fault.message}`)
}

/** 32 bytes each, in base64, base64url or hex. */
export function parseMasterKeys(text: string): Buffer[] | undefined {
  const keys = text.split(',').map((part) => parseMasterKey(part.trim()))
  return keys.every((key) => key !== undefined) ? keys : undefined
}

function parseMasterKey(text: string): Buffer | undefined {
  if (/^[0-9a-f]{64}$/i.test(text)) return Buffer.from(text, 'hex')
  return /^[A-Za-z0-9+/_-]{43}=?$/.test(text) ? Buffer.from(text, 'base64') : undefined
}

function parseUrlOf(...protocols: string[]): (text: string) => string | undefined {
  return (text) => {
    const url = URL.parse(text)
    return url !== null && protocols.includes(url.protocol) ? text : undefined
  }
}

function parseWhole(min: number, max: number): (text: string) => number | undefined {
  return (text) => {
    const value = /^\d{1,9}$/.test(text) ? Number(text) : Number.NaN
    return value >= min && value <= max ? value : undefined
  }
}

/** Wrapped, since undefined is for what cannot be read. */
function parseWholeOrOff(min: number, max: number): (text: string) => { count: number | null } | undefined {
  return (text) => {
    if (text === 'off') return { count: null }
    const count = parseWhole(min, max)(text)
    return count === undefined ? undefined : { count }
  }
}

/** `25%` is 0.25. */
function parsePercent(text: string): number | undefined {
  const percent = text.endsWith('%') ? parseWhole(1, 100)(text.slice(0, -1)) : undefined
  return percent === undefined ? undefined : percent / 100
}

function parseDecimal(min: number, max: number): (text: string) => number | undefined {
  return (text) => {
    const value = /^\d{1,3}(\.\d{1,6})?$/.test(text) ? Number(text) : Number.NaN
    return value >= min && value <= max ? value : undefined
  }
}

function parseDurationWithin(minMs: number, maxMs: number): (text: string) => number | undefined {
  return (text) => {
    const durationMs = parseDuration(text)
    return durationMs !== undefined && durationMs >= minMs && durationMs <= maxMs ? durationMs : undefined
  }
}

/** Wrapped, since undefined is for what cannot be read. */
function parseDurationOrOff(
  minMs: number,
  maxMs: number,
): (text: string) => { ms: number | null } | undefined {
  return (text) => {
    if (text === '0' || text === 'off') return { ms: null }
    const ms = parseDurationWithin(minMs, maxMs)(text)
    return ms === undefined ? undefined : { ms }
  }
}

function parseDelays(text: string): number[] | undefined {
  const delays = text.split(',').map((part) => parseDelay(part.trim()))
  return delays.length < RETRY_ATTEMPTS_MAX && delays.every((delay) => delay !== undefined)
    ? delays
    : undefined
}

const parseDelay = parseDurationWithin(0, RETRY_DELAY_MAX_MS)

/** `exponential base=5s factor=3 max=24h attempts=10 jitter=0.2`, the members in any order. */
function parseExponential(text: string): RetryPolicy | undefined {
  const [kind, ...words] = text.split(/\s+/)
  const given: Record<string, string> = {}
  for (const word of words) {
    const [, name, value] = /^(base|factor|max|attempts|jitter)=(.+)$/.exec(word) ?? []
    if (name === undefined || value === undefined || given[name] !== undefined) return undefined
    given[name] = value
  }
  const baseMs = parseDelay(given.base ?? '')
  const factor = parseDecimal(1, 10)(given.factor ?? '')
  const maxMs = parseDelay(given.max ?? '')
  const attempts = parseWhole(1, RETRY_ATTEMPTS_MAX)(given.attempts ?? '')
  const jitter = parseDecimal(0, 0.5)(given.jitter ?? '0')
  const isWhole = [baseMs, factor, maxMs, attempts, jitter].every((value) => value !== undefined)
  if (kind !== 'exponential' || !isWhole) return undefined
  return {
    baseMs: baseMs!,
    factor: factor!,
    maxMs: maxMs!,
    attempts: attempts!,
    ...(given.jitter !== undefined && { jitter: jitter! }),
  }
}

/** Wrapped, since undefined is for what cannot be read and false is a value. */
function parseBoolean(text: string): { value: boolean } | undefined {
  return text === 'true' || text === 'false' ? { value: text === 'true' } : undefined
}

function parsePorts(text: string): { first: number; last: number }[] | undefined {
  const port = parseWhole(1, 65_535)
  const ranges = text.split(',').map((part) => {
    const [, from, to = from] = /^(\d+)(?:\s*-\s*(\d+))?$/.exec(part.trim()) ?? []
    const [first, last] = [port(from ?? ''), port(to ?? '')]
    return first === undefined || last === undefined || last < first ? undefined : { first, last }
  })
  return ranges.every((range) => range !== undefined) ? ranges : undefined
}

function parseProxy(text: string): string | undefined {
  const url = URL.parse(text)
  const isPlain = url?.pathname === '/' && url.search === '' && url.hash === ''
  return url?.protocol === 'http:' && url.port !== '0' && isPlain && isDecodable(url) ? url.href : undefined
}

/** A colon would end the user name where the proxy reads it (RFC 7617). */
function isDecodable({ username, password }: URL): boolean {
  try {
    return !decodeURIComponent(username).includes(':') && decodeURIComponent(password) !== undefined
  } catch {
    return false
  }
}

function parseOrigins(text: string): string[] | undefined {
  const origins = text.split(',').map((part) => part.trim())
  // As a browser sends them. `*` and `null` are none: they would name pages that nobody meant.
  return origins.every((origin) => /^https?:/.test(origin) && URL.parse(origin)?.origin === origin)
    ? origins
    : undefined
}

function parseCidrs(text: string): string[] | undefined {
  const cidrs = text.split(',').map((part) => part.trim())
  return cidrs.every(isCidr) ? cidrs : undefined
}

function isCidr(text: string): boolean {
  const [address, bits, ...rest] = text.split('/')
  if (address === undefined || bits === undefined || rest.length > 0) return false
  const family = address.includes('%') ? 0 : isIP(address)
  return family !== 0 && /^\d{1,3}$/.test(bits) && Number(bits) <= (family === 4 ? 32 : 128)
}

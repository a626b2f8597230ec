import { expect, test } from 'vitest'
import { describeSettings, parseSettings, SettingsError } from '../src/index.ts'

test('an empty environment runs embedded, with the defaults of the design', () => {
  const minutesMs = 60_000
  const hoursMs = 60 * minutesMs
  expect(parseSettings({})).toEqual({
    mode: 'embedded',
    host: '127.0.0.1',
    port: 7676,
    egressAllow: [],
    egressDeny: [],
    egressPorts: [],
    egressHttpsOnly: false,
    egressNamesCheckedBy: 'posthorn',
    corsOrigins: [],
    trustedProxies: [],
    apiRateLimit: 20_000,
    authFailureLimit: 30,
    dataDir: '.posthorn',
    logLevel: 'info',
    payloadBytesMax: 262_144,
    workers: 1,
    workerConcurrency: 256,
    endpointConcurrency: 10,
    leaseMs: 60_000,
    attemptTimeoutMs: 15_000,
    connectTimeoutMs: 5_000,
    backlogMax: 1_000_000,
    ownerShare: 0.25,
    retryPolicy: {
      delaysMs: [
        5_000,
        5 * minutesMs,
        30 * minutesMs,
        2 * hoursMs,
        5 * hoursMs,
        10 * hoursMs,
        14 * hoursMs,
        20 * hoursMs,
        24 * hoursMs,
      ],
    },
    breakerPauseMs: 10_000,
    disableAfterMs: 5 * 24 * hoursMs,
    payloadRetentionMs: null,
  })
})

test('the URLs alone choose the mode', () => {
  const databaseUrl = 'postgres://posthorn:pw@db/posthorn'
  expect(parseSettings({ DATABASE_URL: databaseUrl })).toMatchObject({ mode: 'postgres', databaseUrl })
  expect(parseSettings({ DATABASE_URL: databaseUrl, REDIS_URL: 'rediss://cache:6380/1' })).toMatchObject({
    mode: 'redis',
    redisUrl: 'rediss://cache:6380/1',
  })
})

test('empty text counts as not set', () => {
  expect(parseSettings({ DATABASE_URL: '', REDIS_URL: ' ', POSTHORN_PORT: '' })).toMatchObject({
    mode: 'embedded',
    port: 7676,
  })
})

test('every value can be set', () => {
  const masterKeys = [Buffer.alloc(32, 7), Buffer.alloc(32, 251)]
  expect(
    parseSettings({
      POSTHORN_PORT: '0',
      POSTHORN_HOST: '::1',
      POSTHORN_API_KEY: 'a-key-of-some-length',
      POSTHORN_MASTER_KEY: `${masterKeys[0]!.toString('base64')}, ${masterKeys[1]!.toString('hex')}`,
      POSTHORN_EGRESS_ALLOW: '127.0.0.0/8, ::1/128',
      POSTHORN_EGRESS_DENY: '203.0.113.0/24',
      POSTHORN_EGRESS_PORTS: '443, 8000-8999,9443 - 9443',
      POSTHORN_EGRESS_HTTPS_ONLY: 'true',
      POSTHORN_EGRESS_PROXY: 'http://user:p%40ss@proxy:3128',
      POSTHORN_EGRESS_NAMES_CHECKED_BY: 'proxy',
      POSTHORN_CORS_ORIGINS: 'https://portal.example.com, http://localhost:3000',
      POSTHORN_TRUSTED_PROXIES: '10.0.0.0/8',
      POSTHORN_API_RATE_LIMIT: '500',
      POSTHORN_AUTH_FAILURE_LIMIT: 'off',
      POSTHORN_DATA_DIR: '/var/lib/with space',
      POSTHORN_LOG_LEVEL: 'debug',
      POSTHORN_PAYLOAD_MAX: '1048576',
      POSTHORN_WORKERS: '8',
      POSTHORN_WORKER_CONCURRENCY: '32',
      POSTHORN_ENDPOINT_CONCURRENCY: '2',
      POSTHORN_LEASE: '5m',
      POSTHORN_ATTEMPT_TIMEOUT: '2m',
      POSTHORN_CONNECT_TIMEOUT: '750ms',
      POSTHORN_RETRY_DELAYS: '10ms, 1s,0s',
      POSTHORN_BACKLOG_MAX: '5000',
      POSTHORN_OWNER_SHARE: '100%',
      POSTHORN_BREAKER_PAUSE: '500ms',
      POSTHORN_DISABLE_AFTER: '36h',
      POSTHORN_PAYLOAD_RETENTION: '30d',
    }),
  ).toEqual({
    mode: 'embedded',
    port: 0,
    host: '::1',
    apiKey: 'a-key-of-some-length',
    masterKeys,
    egressAllow: ['127.0.0.0/8', '::1/128'],
    egressDeny: ['203.0.113.0/24'],
    egressPorts: [
      { first: 443, last: 443 },
      { first: 8_000, last: 8_999 },
      { first: 9_443, last: 9_443 },
    ],
    egressHttpsOnly: true,
    egressProxy: 'http://user:p%40ss@proxy:3128/',
    egressNamesCheckedBy: 'proxy',
    corsOrigins: ['https://portal.example.com', 'http://localhost:3000'],
    trustedProxies: ['10.0.0.0/8'],
    apiRateLimit: 500,
    authFailureLimit: null,
    dataDir: '/var/lib/with space',
    logLevel: 'debug',
    payloadBytesMax: 1_048_576,
    workers: 8,
    workerConcurrency: 32,
    endpointConcurrency: 2,
    leaseMs: 300_000,
    attemptTimeoutMs: 120_000,
    connectTimeoutMs: 750,
    retryPolicy: { delaysMs: [10, 1_000, 0] },
    backlogMax: 5_000,
    ownerShare: 1,
    breakerPauseMs: 500,
    disableAfterMs: 129_600_000,
    payloadRetentionMs: 2_592_000_000,
  })
})

test.each([
  ['POSTHORN_PORT', '65536'],
  ['POSTHORN_PORT', '80a'],
  ['POSTHORN_HOST', 'localhost:7676'],
  ['POSTHORN_EGRESS_ALLOW', '127.0.0.1'],
  ['POSTHORN_EGRESS_ALLOW', '127.0.0.0/33'],
  ['POSTHORN_EGRESS_ALLOW', '0177.0.0.0/8'],
  ['POSTHORN_EGRESS_ALLOW', '127.0.0.0/8,,::1/128'],
  ['POSTHORN_EGRESS_ALLOW', 'fe80::%eth0/10'],
  ['POSTHORN_EGRESS_DENY', '203.0.113.7'],
  ['POSTHORN_EGRESS_PORTS', '0'],
  ['POSTHORN_EGRESS_PORTS', '443,'],
  ['POSTHORN_EGRESS_PORTS', '443-'],
  ['POSTHORN_EGRESS_PORTS', '443-https'],
  ['POSTHORN_EGRESS_PORTS', '9000-8000'],
  ['POSTHORN_EGRESS_PORTS', '1-65536'],
  ['POSTHORN_EGRESS_HTTPS_ONLY', 'yes'],
  ['POSTHORN_EGRESS_NAMES_CHECKED_BY', 'nobody'],
  ['POSTHORN_CORS_ORIGINS', '*'],
  ['POSTHORN_CORS_ORIGINS', 'null'],
  ['POSTHORN_CORS_ORIGINS', 'https://portal.example.com/'],
  ['POSTHORN_CORS_ORIGINS', 'portal.example.com'],
  ['POSTHORN_CORS_ORIGINS', 'https://PORTAL.example.com'],
  ['POSTHORN_TRUSTED_PROXIES', 'true'],
  ['POSTHORN_API_RATE_LIMIT', '0'],
  ['POSTHORN_API_RATE_LIMIT', '100/s'],
  ['POSTHORN_AUTH_FAILURE_LIMIT', 'never'],
  ['POSTHORN_LOG_LEVEL', 'verbose'],
  ['POSTHORN_PAYLOAD_MAX', '256KiB'],
  ['POSTHORN_WORKERS', '0'],
  ['POSTHORN_WORKERS', '65'],
  ['POSTHORN_WORKER_CONCURRENCY', '0'],
  ['POSTHORN_LEASE', '60'],
  ['POSTHORN_ATTEMPT_TIMEOUT', '0s'],
  ['POSTHORN_RETRY_DELAYS', '5s,,5m'],
  ['POSTHORN_RETRY_DELAYS', '31d'],
  ['POSTHORN_RETRY_DELAYS', ','.repeat(99)],
  ['POSTHORN_BACKLOG_MAX', '0'],
  ['POSTHORN_PAYLOAD_RETENTION', '59m'],
  ['POSTHORN_OWNER_SHARE', '0.25'],
  ['POSTHORN_OWNER_SHARE', '101%'],
  ['POSTHORN_RETRY_POLICY', '5s,5m'],
  ['POSTHORN_RETRY_POLICY', 'exponential'],
  ['POSTHORN_RETRY_POLICY', 'linear base=5s factor=3 max=24h attempts=10'],
  ['POSTHORN_RETRY_POLICY', 'exponential base=5s factor=3 max=24h'],
  ['POSTHORN_RETRY_POLICY', 'exponential base=5 factor=3 max=24h attempts=10'],
  ['POSTHORN_RETRY_POLICY', 'exponential base=5s factor=0.5 max=24h attempts=10'],
  ['POSTHORN_RETRY_POLICY', 'exponential base=5s factor=11 max=24h attempts=10'],
  ['POSTHORN_RETRY_POLICY', 'exponential base=5s factor=3 max=31d attempts=10'],
  ['POSTHORN_RETRY_POLICY', 'exponential base=5s factor=3 max=24h attempts=101'],
  ['POSTHORN_RETRY_POLICY', 'exponential base=5s factor=3 max=24h attempts=0'],
  ['POSTHORN_RETRY_POLICY', 'exponential base=5s factor=3 max=24h attempts=10 jitter=0.6'],
  ['POSTHORN_RETRY_POLICY', 'exponential base=5s factor=3 max=24h attempts=10 jitter'],
  ['POSTHORN_RETRY_POLICY', 'exponential base=5s factor=3 max=24h attempts=10 attempts=9'],
  ['POSTHORN_RETRY_POLICY', 'exponential base=5s factor=3 max=24h attempts=10 times=9'],
  ['POSTHORN_BREAKER_PAUSE', '99ms'],
  ['POSTHORN_DISABLE_AFTER', '5'],
  ['POSTHORN_DISABLE_AFTER', '366d'],
  ['POSTHORN_DISABLE_AFTER', 'never'],
])('%s=%s stops the program with one line that names both', (name, value) => {
  const error = settingsErrorOf({ [name]: value })
  expect(error).toMatchObject({ code: 'bad_setting', setting: name })
  expect(error.message).toContain(`${name} is "${value}": it must be `)
  expect(error.message).not.toContain('\n')
})

test.each([
  ['DATABASE_URL', 'mysql://user:hunter2-canary@db/app'],
  ['DATABASE_URL', 'hunter2-canary'],
  ['REDIS_URL', 'http://:hunter2-canary@cache'],
  ['POSTHORN_API_KEY', 'hunter2-canary'],
  ['POSTHORN_MASTER_KEY', 'hunter2-canary'],
  ['POSTHORN_MASTER_KEY', `hunter2${Buffer.alloc(30, 7).toString('base64')}`],
  ['POSTHORN_MASTER_KEY', `${Buffer.alloc(32, 7).toString('base64')},hunter2`],
  ['POSTHORN_EGRESS_PROXY', 'https://user:hunter2-canary@proxy:3128'],
  ['POSTHORN_EGRESS_PROXY', 'http://user:hunter2-canary@proxy/path'],
  ['POSTHORN_EGRESS_PROXY', 'http://user:hunter2%zz@proxy'],
])('a bad %s is named without repeating it', (name, value) => {
  const error = settingsErrorOf({ [name]: value })
  expect(error.message).toMatch(new RegExp(`^${name} cannot be used: it must be `))
  expect(error.message).not.toContain('hunter2')
})

test('names are not left to a proxy that is not there', () => {
  const error = settingsErrorOf({ POSTHORN_EGRESS_NAMES_CHECKED_BY: 'proxy' })
  expect(error).toMatchObject({ setting: 'POSTHORN_EGRESS_NAMES_CHECKED_BY' })
  expect(error.message).toContain('POSTHORN_EGRESS_PROXY')
})

test('the retry policy may be exponential', () => {
  expect(
    parseSettings({ POSTHORN_RETRY_POLICY: 'exponential base=5s factor=3 max=24h attempts=10' }).retryPolicy,
  ).toEqual({ baseMs: 5_000, factor: 3, maxMs: 86_400_000, attempts: 10 })
  expect(
    parseSettings({ POSTHORN_RETRY_POLICY: 'exponential  attempts=1 max=1s base=1s factor=1.5 jitter=0' })
      .retryPolicy,
  ).toEqual({ baseMs: 1_000, factor: 1.5, maxMs: 1_000, attempts: 1, jitter: 0 })
})

test.each([
  [
    'POSTHORN_RETRY_POLICY',
    { POSTHORN_RETRY_DELAYS: '5s' },
    'exponential base=5s factor=3 max=24h attempts=10',
  ],
  ['POSTHORN_RETRY_POLICY', {}, 'exponential base=5m factor=3 max=1m attempts=10'],
  ['POSTHORN_RETRY_POLICY', {}, 'exponential base=1d factor=1 max=1d attempts=62'],
  ['POSTHORN_RETRY_DELAYS', {}, '30d,30d,1ms'],
])('%s with %o is refused where the whole cannot be: %s', (name, others, value) => {
  const error = settingsErrorOf({ [name]: value, ...others })
  expect(error).toMatchObject({ code: 'bad_setting', setting: name })
  expect(error.message).toMatch(/both set|cannot be used: /)
  expect(error.message).not.toContain('\n')
})

test.each(['0', 'off'])('POSTHORN_DISABLE_AFTER=%s disables no endpoint', (text) => {
  expect(parseSettings({ POSTHORN_DISABLE_AFTER: text }).disableAfterMs).toBeNull()
})

test('Redis without a database is refused', () => {
  expect(settingsErrorOf({ REDIS_URL: 'redis://127.0.0.1' }).message).toContain('DATABASE_URL')
})

test('a lease no longer than the attempt timeout is refused', () => {
  expect(settingsErrorOf({ POSTHORN_LEASE: '15s' }).message).toContain('POSTHORN_ATTEMPT_TIMEOUT (15s)')
})

test('an unknown setting is refused with the one that was probably meant', () => {
  expect(settingsErrorOf({ POSTHORN_EGRES_ALOW: 'x' }).message).toBe(
    'POSTHORN_EGRES_ALOW is not a setting of Posthorn; did you mean POSTHORN_EGRESS_ALLOW?',
  )
  expect(settingsErrorOf({ POSTHORN_ZZZ: 'x' }).message).toBe('POSTHORN_ZZZ is not a setting of Posthorn')
  expect(parseSettings({ POSTHORN_TEST_REDIS: 'required' }).mode).toBe('embedded')
})

test('the table describes every setting, and setting every default changes nothing', () => {
  const table = describeSettings()
  expect(table.every((row) => row.meaning.endsWith('.'))).toBe(true)
  expect(parseSettings(Object.fromEntries(table.map((row) => [row.name, row.default])))).toEqual(
    parseSettings({}),
  )
})

function settingsErrorOf(env: Record<string, string>): SettingsError {
  try {
    parseSettings(env)
  } catch (error) {
    expect(error).toBeInstanceOf(SettingsError)
    return error as SettingsError
  }
  throw new Error('the settings were accepted')
}

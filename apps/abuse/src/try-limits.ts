import { createHash, randomBytes, randomUUID } from 'node:crypto'
import { type Mark, nothingFound } from './mark.ts'
import type { Platform } from './start-platform.ts'
import { startResponder } from './start-responder.ts'

/** Far more than the limits of the hardened set-up let through. */
const REQUESTS_MAX = 500
const AT_ONCE = 10
const ORIGIN = 'https://evil.example'

/** What a browser is owed: see apps/api/src/security-headers.ts. */
const OWED: Record<string, RegExp> = {
  'content-security-policy': /default-src 'none'/,
  'x-content-type-options': /^nosniff$/,
  'x-frame-options': /^DENY$/,
  'referrer-policy': /^no-referrer$/,
  'cross-origin-resource-policy': /^same-origin$/,
  'cache-control': /no-store/,
}

/** What the hardened set-up of SECURITY.md refuses beside all else, limits of requests, and browsers. */
export async function tryLimits(platform: Platform): Promise<{ tried: number; marks: Mark[] }> {
  const registered = await atRegistration(platform)
  const posted = await atConnect(platform)
  const requests = [...(await tooManyGuesses(platform)), ...(await tooManyRequests(platform))]
  const browsers = await forBrowsers(platform)
  const tried = 8
  return {
    tried,
    marks: [
      nothingFound('what a hardened set-up lets through', tried, [...registered, ...posted, ...requests]),
      nothingFound('answers without what a browser is owed', 3, browsers),
    ],
  }
}

/** POSTHORN_EGRESS_HTTPS_ONLY and POSTHORN_EGRESS_PORTS=443. */
async function atRegistration(platform: Platform): Promise<string[]> {
  await platform.make('POST', '/v1/event-types', { name: 'abuse.limits' })
  await platform.make('POST', '/v1/owners', { uid: 'limits' })
  const key = await makeKey(platform)
  const expected: [url: string, status: number][] = [
    ['https://public.abuse.example/', 201],
    ['http://public.abuse.example:443/', 422],
    ['https://public.abuse.example:8443/', 422],
    ['https://public.abuse.example:22/', 422],
  ]
  const findings: string[] = []
  for (const [url, wanted] of expected) {
    const body = { url, eventTypes: ['abuse.limits'], enabled: false }
    const { status, text } = await platform.request('POST', '/v1/owners/limits/endpoints', {
      at: 'hardened',
      ...{ key, body },
    })
    if (status !== wanted) findings.push(`${url}: ${status} ${text}`)
  }
  return findings
}

async function atConnect(platform: Platform): Promise<string[]> {
  const running = await startResponder({
    name: 'http',
    outcomes: [],
    onRequest: (socket) => void socket.write('HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n'),
  })
  try {
    const outcome = await platform.run('./post-once.ts', [running.url], {
      POSTHORN_EGRESS_HTTPS_ONLY: 'true',
    })
    return outcome.trim() === 'address_refused' && running.requests === 0
      ? []
      : [`${running.url} was posted to where only https may be: ${outcome}`]
  } finally {
    await running.close()
  }
}

/** As many requests without a valid key as no person makes; and then one with a valid key. */
async function tooManyGuesses(platform: Platform): Promise<string[]> {
  const ask = (key: string) => platform.request('GET', '/v1/owners', { at: 'hardened', key })
  const guess = () => ask(`phk_${randomBytes(32).toString('base64url')}`)
  const findings = (await untilRefused(guess, 401)) ? [] : [`${REQUESTS_MAX} guesses at a key`]
  const { status, text } = await ask(await makeKey(platform))
  if (status !== 200) findings.push(`a valid key after many guesses: ${status} ${text}`)
  return findings
}

async function tooManyRequests(platform: Platform): Promise<string[]> {
  const key = await makeKey(platform)
  const ask = () => platform.request('GET', '/v1/owners', { at: 'hardened', key })
  return (await untilRefused(ask, 200)) ? [] : [`${REQUESTS_MAX} requests with one key`]
}

/** @returns whether one was answered with 429, and all before it with `status` */
async function untilRefused(ask: () => Promise<{ status: number }>, status: number): Promise<boolean> {
  for (let asked = 0; asked < REQUESTS_MAX; asked += AT_ONCE) {
    const answers = await Promise.all(Array.from({ length: AT_ONCE }, ask))
    const others = answers.filter((one) => one.status !== status)
    if (others.length > 0) return others.every((one) => one.status === 429)
  }
  return false
}

async function forBrowsers(platform: Platform): Promise<string[]> {
  const asked: [method: string, path: string, headers: Record<string, string>][] = [
    ['GET', '/v1/owners', { origin: ORIGIN }],
    ['GET', '/v1/none', { origin: ORIGIN }],
    ['OPTIONS', '/v1/owners', { origin: ORIGIN, 'access-control-request-method': 'POST' }],
  ]
  const findings: string[] = []
  for (const [method, path, headers] of asked) {
    const answer = await platform.request(method, path, { headers })
    const said = `${method} ${path} of another origin`
    for (const [name] of answer.headers) {
      if (name.startsWith('access-control-')) findings.push(`${said}: has ${name}`)
    }
    for (const [name, value] of Object.entries(OWED)) {
      if (!value.test(answer.headers.get(name) ?? '')) findings.push(`${said}: ${name} is missing`)
    }
  }
  return findings
}

async function makeKey(platform: Platform): Promise<string> {
  const key = `phk_canarykey${randomBytes(16).toString('hex')}`
  await platform.query("INSERT INTO api_keys (id, name, role, hash) VALUES ($1, 'abuse', 'admin', $2)", [
    randomUUID(),
    createHash('sha256').update(key).digest(),
  ])
  return key
}

import { freePort } from '@posthorn/testkit'
import { ALLOWED_ADDRESS } from './addresses.ts'
import { type Canaries, startCanaries } from './canaries.ts'
import { byEndpoint, deliverOnce, emitTo, OF_PACE, targetUrls, waitForAttempts } from './deliver-to.ts'
import { type Mark, nothingFound } from './mark.ts'
import type { Platform } from './start-platform.ts'
import { startResponder } from './start-responder.ts'
import { ALLOWED_NAME, redirects, type UrlInput, urlInputs } from './url-inputs.ts'

/** What an attempt may end as; what is not here may be anything, as long as no canary is reached. */
const FINE: Partial<Record<UrlInput['atConnect'], ReadonlySet<string>>> = {
  refused: new Set(['address_refused']),
  // Nothing was connected to.
  unsent: new Set(['address_refused', 'invalid_request', 'dns_failed']),
  changing: new Set(['address_refused', 'delivered']),
}

/** URLs, names and redirects at both gates, before canaries. */
export async function tryUrls(
  platform: Platform,
): Promise<{ urls: number; connectionsMade: number; marks: Mark[] }> {
  await using stack = new AsyncDisposableStack()
  const canaries = await startCanaries(await freePort())
  stack.defer(() => canaries.close())
  const inputs = urlInputs(canaries.port)
  const led = redirects(canaries.port)
  const urls = new Set(inputs.map(({ url }) => url)).size + led.length

  const registered = await atRegistration(platform, inputs)
  const connected = await atConnect(platform, inputs)
  const redirected = await whereRedirected(platform, led)
  const control = await whatIsAllowed(platform, canaries)
  const disagreements = platform
    .logs()
    .split('\n')
    .filter((line) => line.includes('egress.readings_disagree'))
  const connectionsMade = canaries.reached.length
  return {
    ...{ urls, connectionsMade },
    marks: [
      {
        what: 'URLs, names and redirects',
        found: String(urls),
        mark: 'at least 200',
        held: urls >= 200,
        findings: [],
      },
      nothingFound('let through at registration', inputs.length, registered),
      nothingFound('sent, or left without a record', inputs.length, connected),
      nothingFound('redirects that changed the outcome', led.length, redirected),
      nothingFound('connections to a canary', urls, canaries.reached),
      nothingFound('bytes that a canary was sent', urls, canaries.told),
      nothingFound('addresses that two readings disagree about', urls, disagreements),
      nothingFound('what is allowed, not delivered', 2, control),
    ],
  }
}

async function atRegistration(platform: Platform, inputs: readonly UrlInput[]): Promise<string[]> {
  await platform.make('POST', '/v1/event-types', { name: 'abuse.gate' })
  await platform.make('POST', '/v1/owners', { uid: 'gate' })
  const findings: string[] = []
  for (const { url, atRegistration } of inputs) {
    const { status, text, body } = await platform.request('POST', '/v1/owners/gate/endpoints', {
      at: 'strict',
      body: { url, eventTypes: ['abuse.gate'], enabled: false },
    })
    const isRefused = status === 422 && /^(url_|validation_failed)/.test(body?.code)
    if (isRefused !== (atRegistration === 'refused') || (!isRefused && status !== 201)) {
      findings.push(`${JSON.stringify(url)}: ${status} ${text}`)
    }
    // The rule by its name, and nothing of what was asked or of what is there.
    if (isRefused && (!/\w{4}/.test(body.detail) || repeats(text, url))) {
      findings.push(`${JSON.stringify(url)} is repeated, or the rule is not named: ${text}`)
    }
  }
  return findings
}

function repeats(answer: string, url: string): boolean {
  const host = /^https?:\/\/([^/:@?#]{7,})/.exec(url)?.[1]
  return host !== undefined && answer.includes(host)
}

async function atConnect(platform: Platform, inputs: readonly UrlInput[]): Promise<string[]> {
  // PostgreSQL's text holds no NUL: what has one cannot come this far.
  const stored = inputs.filter(({ url }) => !url.includes('\0'))
  const target = await targetUrls(
    platform,
    stored.map(({ url }) => url),
  )
  // Twice: a name may answer otherwise the second time.
  const rounds = 2
  for (let round = 0; round < rounds; round++) await emitTo(platform, target, 1)
  const attempts = await waitForAttempts(platform, target, rounds)
  const findings: string[] = []
  for (const [at, made] of byEndpoint(target, attempts).entries()) {
    const { url, atConnect } = stored[at]!
    const isFine = (outcome: string) => FINE[atConnect]?.has(outcome) ?? true
    const isOfPace = made.length > 0 && made.every(({ outcome }) => isFine(outcome) || OF_PACE.has(outcome))
    if (made.length === rounds && made.every(({ outcome }) => isFine(outcome))) continue
    // What a busy machine makes late is tried again alone.
    if (made.length === rounds && isOfPace && isFine(await deliverOnce(platform, url))) continue
    const outcomes = made.map(({ outcome, detail }) => `${outcome} (${detail})`).join(', ')
    findings.push(`${JSON.stringify(url)}: ${outcomes || 'no attempt'}`)
  }
  return findings
}

async function whereRedirected(platform: Platform, led: ReturnType<typeof redirects>): Promise<string[]> {
  const findings = await Promise.all(
    led.map(async ({ name, status, headers, body }) => {
      const running = await startResponder({
        name,
        outcomes: [],
        onRequest: (socket) =>
          void socket.write(
            `HTTP/1.1 ${status} Word\r\n${headers}${status === 304 ? '' : `content-length: ${body.length}\r\n`}\r\n${body}`,
          ),
      })
      try {
        let sent = 0
        const outcome = await deliverOnce(platform, running.url, {}, () => (sent += 1))
        const expected = status < 300 ? 'delivered' : 'rejected'
        return outcome === expected && running.requests === sent
          ? []
          : [`${name}: ${outcome}, ${running.requests} requests`]
      } finally {
        await running.close()
      }
    }),
  )
  return findings.flat()
}

/** Otherwise nothing reached anything because nothing was sent. */
async function whatIsAllowed(platform: Platform, canaries: Canaries): Promise<string[]> {
  const urls = [ALLOWED_ADDRESS, ALLOWED_NAME].map((host) => `http://${host}:${canaries.port}/`)
  const outcomes = await Promise.all(urls.map((url) => deliverOnce(platform, url)))
  return outcomes.flatMap((outcome, at) => (outcome === 'delivered' ? [] : [`${urls[at]}: ${outcome}`]))
}

import { randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { waitFor } from '@posthorn/testkit'
import { byEndpoint, emitTo, targetUrls, waitForAttempts } from './deliver-to.ts'
import { type Mark, NOTE, nothingFound } from './mark.ts'
import type { Platform } from './start-platform.ts'
import { startResponder } from './start-responder.ts'

/** Where it is looked. */
const PLACES = ['logs', 'answers', 'refusals', 'jobs', 'metrics', 'document', 'stores'] as const
type Place = (typeof PLACES)[number]

/** Something secret that was planted, and where it may stand. */
interface Secret {
  name: string
  /** The texts that give it away, such as its bytes in other forms. */
  texts: string[]
  mayBeIn: readonly Place[]
  /** Where it is not hidden yet, as the README says under "What is not there yet". */
  notYet: readonly Place[]
}

const pem = (name: string) => readFileSync(new URL(`./certificates/${name}.pem`, import.meta.url), 'utf8')
const tls = { certificate: pem('good'), key: pem('key') }

/** Plants secrets in every field that may hold one, lets them be used, and looks for them everywhere. */
export async function findLeaks(platform: Platform): Promise<{ leaks: number; marks: Mark[] }> {
  const mark = () => `canary${randomBytes(12).toString('hex')}`
  const signing = randomBytes(32)
  const planted = { header: mark(), payload: mark(), token: mark(), credentials: mark(), wrongKey: mark() }
  const { apiKey, masterKey, proxyPassword } = platform.secrets
  const inForms = (bytes: Buffer) => [
    bytes.toString('base64'),
    bytes.toString('base64').replace(/=+$/, ''),
    bytes.toString('base64url'),
    bytes.toString('hex'),
  ]
  const nowhere = { mayBeIn: [], notYet: [] }
  const keyLines = tls.key.split('\n').filter((line) => /^[A-Za-z0-9+/=]{20,}$/.test(line))
  const secrets: Secret[] = [
    { name: 'the root key', texts: [apiKey], ...nowhere },
    { name: 'the master key', texts: [masterKey, ...inForms(Buffer.from(masterKey, 'base64'))], ...nowhere },
    { name: 'the password of the proxy', texts: [proxyPassword], ...nowhere },
    { name: 'a key that was tried', texts: [planted.wrongKey], ...nowhere },
    { name: 'a signing secret', texts: inForms(signing), ...nowhere },
    { name: 'the key of a certificate', texts: keyLines, ...nowhere },
    { name: 'the value of a secret header', texts: [planted.header], ...nowhere },
    { name: 'a payload', texts: [planted.payload], mayBeIn: ['stores'], notYet: [] },
    // Part of a URL, which is shown and kept.
    { name: 'a token in a URL', texts: [planted.token], mayBeIn: ['stores', 'answers'], notYet: [] },
    { name: 'credentials in a URL that was refused', texts: [planted.credentials], ...nowhere },
  ]
  const refusals = await use(platform, planted, signing)
  const places: Record<Place, string> = {
    logs: platform.logs(),
    answers: await readLists(platform),
    refusals,
    jobs: await jobsWith(platform, planted.payload),
    metrics: (await platform.request('GET', '/metrics')).text,
    document: (await platform.request('GET', '/openapi.json')).text,
    stores: `${await platform.dumpTables()}\n${await platform.dumpQueue()}`,
  }
  const leaks = secrets.flatMap(({ name, texts, mayBeIn, notYet }) =>
    PLACES.filter((place) => !mayBeIn.includes(place) && !notYet.includes(place))
      .filter((place) => texts.some((text) => holds(places[place], text)))
      .map((place) => `${name} is in the ${place}`),
  )
  // A search that finds nothing anywhere may be looking in the wrong place.
  const controls = [
    ...(['stores'] as const).filter((place) => !holds(places[place], planted.payload)),
    ...(['answers'] as const).filter((place) => !places[place].includes(planted.token)),
    ...(['jobs'] as const).filter((place) => !places[place].includes('posthorn-deliver')),
    ...(['logs'] as const).filter((place) => !places[place].includes('delivery.attempted')),
    ...(['metrics'] as const).filter((place) => !places[place].includes('posthorn_')),
  ].map((place) => `what should be in the ${place} is not found there`)
  const notYet = secrets.flatMap(({ name, notYet: places }) =>
    places.map((place) => `${name} in the ${place}`),
  )
  return {
    leaks: leaks.length,
    marks: [
      nothingFound('secrets found', secrets.length * PLACES.length, leaks),
      nothingFound('places that were not looked into', PLACES.length, controls),
      { what: 'not hidden yet', found: String(notYet.length), mark: NOTE, held: true, findings: notYet },
    ],
  }
}

/** As it is, or as the bytes of a table are written. */
function holds(place: string, text: string): boolean {
  return place.includes(text) || place.includes(Buffer.from(text).toString('hex'))
}

/** With a job in it, which is gone as soon as a worker has taken it. */
async function jobsWith(platform: Platform, payload: string): Promise<string> {
  return await platform.withoutWorker(async () => {
    const data = { card: payload }
    await platform.make('POST', '/v1/messages', { owner: 'leaks', type: 'abuse.leaks', data })
    const hasJob = async () => (await platform.dumpQueue()).includes('"ids"')
    await waitFor(hasJob, { message: 'a job to be in the queue' })
    return await platform.dumpQueue()
  })
}

/** @returns what refusals of them said */
async function use(
  platform: Platform,
  planted: { header: string; payload: string; token: string; credentials: string; wrongKey: string },
  signing: Buffer,
): Promise<string> {
  const refusals: string[] = []
  const refused = async (...args: Parameters<Platform['request']>) => {
    refusals.push((await platform.request(...args)).text)
  }
  await platform.make('POST', '/v1/event-types', { name: 'abuse.leaks' })
  await platform.make('POST', '/v1/owners', { uid: 'leaks' })
  const secret = `whsec_${signing.toString('base64')}`
  const endpoint = {
    url: `http://127.77.0.1:9/?token=${planted.token}`,
    eventTypes: ['abuse.leaks'],
    headers: { authorization: { value: `Bearer ${planted.header}`, secret: true } },
    ...{ secret, tls },
    retryPolicy: { delaysMs: [1] },
  }
  const data = { card: planted.payload }
  await platform.make('POST', '/v1/owners/leaks/endpoints', endpoint)
  await platform.make('POST', '/v1/messages', { owner: 'leaks', type: 'abuse.leaks', data })

  // Refused for something else, or for themselves.
  const endpoints = '/v1/owners/leaks/endpoints'
  const body = (more: object) => ({ body: { ...endpoint, ...more } })
  await refused('POST', endpoints, body({ url: `https://user:${planted.credentials}@example.com/` }))
  await refused('POST', endpoints, body({ url: `https://127.0.0.1/?${planted.credentials}`, secret }))
  await refused('POST', endpoints, body({ eventTypes: ['abuse.missing'] }))
  await refused('POST', endpoints, body({ secret: `${secret}!` }))
  await refused(
    'POST',
    endpoints,
    body({ headers: { authorization: { value: `${planted.header}\n`, secret: true } } }),
  )
  await refused('POST', endpoints, body({ headers: { host: { value: planted.header, secret: true } } }))
  await refused('POST', endpoints, body({ timeout: 1 }))
  await refused('POST', endpoints, body({ tls: { ...tls, certificate: pem('self-signed').slice(0, 200) } }))
  await refused('POST', endpoints, body({ tls: { ...tls, certificate: tls.key } }))
  await refused('POST', '/v1/messages', { body: { owner: 'nobody', type: 'abuse.leaks', data } })
  await refused('POST', '/v1/messages', {
    body: `{"owner":"leaks","type":"abuse.leaks","data":"${planted.payload}",}`,
  })
  await refused('GET', '/v1/owners', { key: planted.wrongKey })
  await refused('GET', '/v1/owners', { key: `phk_${planted.wrongKey}` })
  await refused('GET', `/v1/none?api_key=${planted.wrongKey}`, { key: null })

  // Used: by an endpoint that takes it, one that fails, and one whose headers cannot be sent.
  const running = await startResponder({
    name: 'leaks',
    outcomes: [],
    onRequest: (socket) => void socket.end('SSH-2.0-OpenSSH_9.6\r\n'),
  })
  try {
    const urls = [
      running.url,
      `http://127.0.0.1:9/?token=${planted.token}`,
      `http://127.77.0.1:9/?token=${planted.token}`,
    ]
    await platform.make('POST', '/v1/owners/leaks/endpoints', { ...endpoint, url: running.url })
    await platform.make('POST', '/v1/messages', { owner: 'leaks', type: 'abuse.leaks', data })
    for (const headers of [{ authorization: 'no secret' }, { authorization: 'no secret\r\nx: 1' }]) {
      const target = await targetUrls(platform, urls, headers)
      await emitTo(platform, target, 1)
      byEndpoint(target, await waitForAttempts(platform, target, 1))
    }
  } finally {
    await running.close()
  }
  return refusals.join('\n')
}

async function readLists(platform: Platform): Promise<string> {
  const lists = ['owners', 'owners/leaks', 'owners/leaks/endpoints', 'event-types', 'messages', 'deliveries']
  const answers = await Promise.all(
    lists.map((list) => platform.request('GET', `/v1/${list}${list === 'owners/leaks' ? '' : '?limit=250'}`)),
  )
  const deliveries = answers.at(-1)!.body.data as { id: string }[]
  const attempts = await Promise.all(
    deliveries.slice(0, 50).map(({ id }) => platform.request('GET', `/v1/deliveries/${id}/attempts`)),
  )
  return [...answers, ...attempts].map(({ text }) => text).join('\n')
}

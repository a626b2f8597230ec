import { type Random, seededRandom } from '@posthorn/testkit'
import { Ajv2020 } from 'ajv/dist/2020.js'
import addFormats from 'ajv-formats'
import { type Operation, readOperations, type Schema } from './api-operations.ts'
import { generate, odd } from './generate.ts'
import { type Mark, nothingFound } from './mark.ts'
import type { Platform } from './start-platform.ts'

/** Every operation of the OpenAPI document with what its schema describes, and with what it does not. */
export async function tryFuzz(
  platform: Platform,
  { seed, requests }: { seed: number /** To each operation. */; requests: number },
): Promise<{ requests: number; marks: Mark[] }> {
  const { operations, components } = await readOperations(platform)
  const known = await knownThings(platform)
  const random = seededRandom(seed)
  const validates = createValidator(components)
  const failures: string[] = []
  const undescribed: string[] = []
  let sent = 0
  for (const operation of operations) {
    for (let times = 0; times < requests; times++) {
      const { path, body, headers } = draw(operation, known, random)
      const said = `${operation.method} ${path.slice(0, 120)} ${body?.slice(0, 120) ?? ''}`
      const answer = await platform
        .request(operation.method, path, { ...(body !== undefined && { body }), headers })
        .catch((error: Error) => error)
      sent += 1
      if (answer instanceof Error) failures.push(`${said}: ${answer.message}`)
      else if (answer.status >= 500) failures.push(`${said}: ${answer.status} ${answer.text}`)
      else {
        const fault = validates(operation, answer.status, answer.headers.get('content-type'), answer.body)
        if (fault !== undefined) undescribed.push(`${said}: ${answer.status} ${fault}`)
      }
    }
  }
  return {
    requests: sent,
    marks: [
      nothingFound('500s under fuzzing', sent, failures),
      nothingFound('answers that no schema describes', sent, undescribed),
    ],
  }
}

/** Values that lead somewhere, by the name of the parameter or member. */
type Known = Record<string, readonly string[]>

async function knownThings(platform: Platform): Promise<Known> {
  await platform.request('POST', '/v1/event-types', { body: { name: 'abuse.fuzz' } })
  await platform.request('POST', '/v1/owners', { body: { uid: 'fuzz' } })
  const endpoint = await platform.make('POST', '/v1/owners/fuzz/endpoints', {
    url: 'http://127.77.0.1:9/',
    eventTypes: ['abuse.fuzz'],
  })
  const message = await platform.make('POST', '/v1/messages', { owner: 'fuzz', type: 'abuse.fuzz', data: 1 })
  const deliveries = await platform.make('GET', '/v1/deliveries?owner=fuzz')
  return {
    owner: ['fuzz', endpoint.owner],
    endpoint: [endpoint.id],
    message: [message.id],
    delivery: (deliveries.data as { id: string }[]).map(({ id }) => id),
    name: ['abuse.fuzz'],
    type: ['abuse.fuzz'],
    eventType: ['abuse.fuzz'],
    url: ['http://127.77.0.1:9/'],
  }
}

function draw(operation: Operation, known: Known, random: Random) {
  // A third as described, a third with something odd in it, a third with something odd instead.
  const oddness = random.pick([0, 0.15, 0.5])
  const valueFor = (name: string, schema: Schema) =>
    known[name] !== undefined && random.next() < 0.6
      ? random.pick(known[name])
      : generate(schema, random, oddness, known)
  const text = (value: unknown) =>
    encodeURIComponent(String(value ?? '').replace(/[\ud800-\udfff]/g, '\ufffd'))
  let path = operation.path
  const query: string[] = []
  const headers: Record<string, string> = {}
  for (const { name, in: place, required = false, schema } of operation.parameters) {
    if (!required && place !== 'path' && random.next() < 0.5) continue
    const value = valueFor(name, schema)
    // An empty segment is another route.
    if (place === 'path') path = path.replace(`{${name}}`, text(value).replace(/^(\.{0,2})$/, 'x$1'))
    else if (place === 'query') query.push(`${name}=${text(value)}`)
    else if (place === 'header') headers[name] = String(value).replace(/[^\x21-\x7e]/g, '') || 'k'
  }
  if (random.next() < oddness / 2) query.push(`${text(odd(random))}=${text(odd(random))}`)
  const body =
    operation.body === undefined
      ? undefined
      : random.next() < oddness / 4
        ? odd(random)
        : generate(operation.body, random, oddness, known)
  return { path: query.length === 0 ? path : `${path}?${query.join('&')}`, headers, body: encode(body) }
}

/** A string is a JSON text of its own, and not the body as it is. */
function encode(body: unknown): string | undefined {
  return body === undefined ? undefined : JSON.stringify(body)
}

function createValidator(components: Schema) {
  const ajv = new Ajv2020({ strict: false, allErrors: false, validateFormats: true })
  addFormats.default(ajv)
  ajv.addSchema({ $id: 'api', components })
  const compiled = new Map<Schema, ReturnType<typeof ajv.compile>>()
  const compile = (schema: Schema) => {
    const text = JSON.stringify(schema).replaceAll('"#/components/', '"api#/components/')
    return ajv.compile(JSON.parse(text) as Schema)
  }
  /** @returns why this answer is none of the operation's */
  return (operation: Operation, status: number, contentType: string | null, body: unknown) => {
    const described = operation.responses[status]
    if (described === undefined) return `is not described; ${Object.keys(operation.responses).join(', ')} are`
    const type = contentType?.split(';')[0] ?? ''
    const schema = described.content?.[type]?.schema
    if (schema === undefined) {
      return described.content === undefined && body === undefined ? undefined : `has the type ${type}`
    }
    let validate = compiled.get(schema)
    if (validate === undefined) {
      validate = compile(schema)
      compiled.set(schema, validate)
    }
    return validate(body) ? undefined : ajv.errorsText(validate.errors)
  }
}

import { isIPv4 } from 'node:net'

/** Where an id that the generator made is found again in what the receiver gets. */
export type IdFrom = { header: string } | { json: string }

/** Another sender that is running already, and how it is given an event. */
export interface HttpTarget {
  method: string
  /** Of loopback. */
  url: string
  headers: Record<string, string>
  /** Text with placeholders. */
  body: string
  idFrom: IdFrom
  /** Of the sender, for CPU figures; each counts with all processes below it. */
  pids?: number[]
}

/** What is wrong with a target file, in a sentence for its author. */
export class TargetError extends Error {}

const PLACEHOLDERS = /\{\{(\w+)\}\}/g
const KNOWN = ['id', 'payload', 'timestamp']
const MEMBERS = ['method', 'url', 'headers', 'body', 'idFrom', 'pids']

/** @throws {TargetError} */
export function parseTarget(text: string): HttpTarget {
  const file = parseJson(text)
  for (const name of Object.keys(file)) {
    check(MEMBERS.includes(name), `${name} is not known: there are ${MEMBERS.join(', ')}.`)
  }
  const { method = 'POST', url, headers = {}, idFrom = { header: 'webhook-id' }, pids } = file
  check(typeof method === 'string', 'method must be text.')
  check(typeof url === 'string', 'url must be text.')
  checkLoopback(url)
  check(isTexts(headers), 'headers must be an object of texts.')
  const body = typeof file.body === 'string' ? file.body : JSON.stringify(file.body)
  check(body !== undefined, 'body is missing: JSON, or text.')
  for (const [, name] of `${body}${JSON.stringify(headers)}`.matchAll(PLACEHOLDERS)) {
    check(KNOWN.includes(name!), `{{${name}}} is no placeholder: there are ${KNOWN.join(', ')}.`)
  }
  const hasId = body.includes('{{id}}') || Object.values(headers).some((value) => value.includes('{{id}}'))
  check(hasId, 'body or headers must have {{id}}, by which an event is found again.')
  check(isIdFrom(idFrom), 'idFrom must be {"header": "name"} or {"json": "path.to.member"}.')
  const areWhole = pids === undefined || (Array.isArray(pids) && pids.every((pid) => Number.isInteger(pid)))
  check(areWhole, 'pids must be a list of process ids.')
  return { method, url, headers, body, idFrom, ...(pids !== undefined && { pids: pids as number[] }) }
}

/** Load is for one's own machine: nobody else's is ever sent any. */
function checkLoopback(url: string): void {
  const parsed = URL.parse(url)
  check(parsed?.protocol === 'http:', `url is ${url}: it must begin with http://.`)
  const { hostname } = parsed
  const isLoopback = hostname === '[::1]' || (isIPv4(hostname) && hostname.startsWith('127.'))
  check(isLoopback, `url names ${hostname}: only 127.0.0.0/8 and [::1] get load, given as an address.`)
}

/** Text with the placeholders replaced for each event. */
export type Template = (values: { id: string; timestamp: string }) => string

/** @param payload takes the place of `{{payload}}` in every event */
export function createTemplate(text: string, payload: string): Template {
  const withPayload = text.replaceAll('{{payload}}', () => payload)
  return ({ id, timestamp }) => withPayload.replaceAll('{{id}}', id).replaceAll('{{timestamp}}', timestamp)
}

/** @param headers with names in lower case, as Node has them */
export function findId(
  idFrom: IdFrom,
  headers: Readonly<Record<string, string | string[] | undefined>>,
  body: string,
): string | undefined {
  if ('header' in idFrom) {
    const value = headers[idFrom.header.toLowerCase()]
    return typeof value === 'string' ? value : undefined
  }
  let found = tryParseJson(body)
  for (const name of idFrom.json.split('.')) found = isObject(found) ? found[name] : undefined
  return typeof found === 'string' ? found : undefined
}

function parseJson(text: string): Record<string, unknown> {
  const file = tryParseJson(text)
  check(isObject(file), 'it must be a JSON object.')
  return file
}

function tryParseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function isText(value: unknown): value is string {
  return typeof value === 'string'
}

function isTexts(value: unknown): value is Record<string, string> {
  return isObject(value) && Object.values(value).every(isText)
}

function isIdFrom(value: unknown): value is IdFrom {
  return isObject(value) && Object.keys(value).length === 1 && isText(value.header ?? value.json)
}

function check(holds: boolean, otherwise: string): asserts holds {
  if (!holds) throw new TargetError(otherwise)
}

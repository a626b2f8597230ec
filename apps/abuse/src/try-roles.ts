import { createHash, randomBytes, randomUUID } from 'node:crypto'
import { type Operation, readOperations } from './api-operations.ts'
import { type Mark, nothingFound } from './mark.ts'
import type { Platform } from './start-platform.ts'

/** What a key with the role `emit` may do. */
const EMITTERS = new Set(['emitMessage', 'emitMessages'])
/** What a key with the role `read` may not get. */
const SECRET = 'getEndpointSecret'

/** A caller, and what a secured operation answers it. */
interface Caller {
  name: string
  key: string | null
  /** Undefined: it may. */
  refusal(operation: Operation): number | undefined
}

/** Every operation by callers who may not: nobody, somebody with a wrong key, and a key for emitting only. */
export async function tryRoles(platform: Platform): Promise<{ routesTimesRoles: number; marks: Mark[] }> {
  const { operations } = await readOperations(platform)
  const refused = () => 401
  const callers: Caller[] = [
    { name: 'no key', key: null, refusal: refused },
    { name: 'a wrong key', key: `phk_canarywrong${randomBytes(16).toString('hex')}`, refusal: refused },
    { name: 'half of the key', key: platform.secrets.apiKey.slice(0, -1), refusal: refused },
    { name: 'the key twice', key: platform.secrets.apiKey.repeat(2), refusal: refused },
    {
      name: 'a key that was revoked',
      key: await makeKey(platform, 'admin', { isRevoked: true }),
      refusal: refused,
    },
    {
      name: 'a key for emitting',
      key: await makeKey(platform, 'emit'),
      refusal: ({ id }) => (EMITTERS.has(id) ? undefined : 403),
    },
    {
      name: 'a key for reading',
      key: await makeKey(platform, 'read'),
      refusal: ({ id, method }) => (method === 'GET' && id !== SECRET ? undefined : 403),
    },
  ]
  const findings: string[] = []
  let tried = 0
  for (const operation of operations) {
    for (const { name, key, refusal } of callers) {
      tried += 1
      const path = operation.path.replace(/\{\w+\}/g, 'posthorn')
      const { status, text, headers } = await platform.request(operation.method, path, {
        key,
        ...(operation.body !== undefined && { body: {} }),
      })
      const expected = operation.isSecured ? refusal(operation) : undefined
      const isFine =
        expected === undefined ? status !== 401 && status !== 403 && status < 500 : status === expected
      if (!isFine) findings.push(`${name}, ${operation.method} ${operation.path}: ${status} ${text}`)
      if (status === 401 && headers.get('www-authenticate') === null)
        findings.push(`${name}: no www-authenticate`)
    }
  }
  return {
    routesTimesRoles: tried,
    marks: [nothingFound('routes that let somebody in who may not', tried, findings)],
  }
}

/** Straight into the database: what it may do is what is tried. @returns its text */
async function makeKey(platform: Platform, role: string, { isRevoked = false } = {}): Promise<string> {
  const key = `phk_canarykey${randomBytes(16).toString('hex')}`
  await platform.query(
    `INSERT INTO api_keys (id, name, role, hash, revoked_at) VALUES ($1, 'abuse', $2, $3, ${isRevoked ? 'now()' : 'NULL'})`,
    [randomUUID(), role, createHash('sha256').update(key).digest()],
  )
  return key
}

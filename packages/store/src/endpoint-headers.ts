import { type Run, requireOwnerKey } from './owner-keys.ts'
import type { Place, Vault } from './vault.ts'

/** The value of a header as it is given: one that is secret and has no value stays as it is stored. */
export type HeaderInput = string | { value?: string; secret: true }

/** An endpoint's headers as they are stored: those that are secret by name, in base64 of the sealed value. */
export interface StoredHeaders {
  headers: Record<string, string>
  secretHeaders: Record<string, string>
}

/** Where the value of a secret header is sealed for. */
export function headerPlace(endpointId: string, name: string): Place {
  return { endpointId, kind: 'header', name }
}

/** A header is to keep its secret value and has none. */
export class NoSecretHeaderError extends Error {
  readonly header: string
  constructor(header: string) {
    super(`There is no stored value of the header ${header}.`)
    this.header = header
  }
}

/**
 * Seals the secret ones.
 *
 * @param before those that are stored by now
 * @throws {NoSecretHeaderError} @throws {UnreadableSecretsError}
 */
export async function storeHeaders(
  run: Run,
  vault: Vault,
  { ownerId, endpointId }: { ownerId: string; endpointId: string },
  given: Readonly<Record<string, HeaderInput>>,
  before: Readonly<Record<string, string>>,
): Promise<StoredHeaders> {
  const headers: Record<string, string> = {}
  const secretHeaders: Record<string, string> = {}
  for (const [name, input] of Object.entries(given)) {
    if (typeof input === 'string') {
      headers[name] = input
    } else if (input.value === undefined) {
      const kept = Object.hasOwn(before, name) ? before[name] : undefined
      if (kept === undefined) throw new NoSecretHeaderError(name)
      secretHeaders[name] = kept
    } else {
      const key = await requireOwnerKey(run, vault, ownerId)
      const sealed = key.seal(headerPlace(endpointId, name), Buffer.from(input.value, 'latin1'))
      secretHeaders[name] = sealed.toString('base64')
    }
  }
  return { headers, secretHeaders }
}

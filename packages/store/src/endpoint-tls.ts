import { type Run, requireOwnerKey } from './owner-keys.ts'
import type { OwnerKey, Place, Vault } from './vault.ts'

/** What an endpoint's TLS connections have of their own; PEM. */
export interface TlsMaterial {
  ca?: string
  certificate?: string
  key?: string
}

/** As the table has it; the key is sealed. */
export interface TlsColumns {
  tlsCa: string | null
  tlsCertificate: string | null
  tlsKey: Uint8Array<ArrayBuffer> | null
}

/** Where the key of a certificate is sealed for. */
function keyPlace(endpointId: string): Place {
  return { endpointId, kind: 'key of a certificate', name: '' }
}

/** @throws {UnreadableSecretsError} */
export async function storeTls(
  run: Run,
  vault: Vault,
  { ownerId, endpointId }: { ownerId: string; endpointId: string },
  tls: TlsMaterial | null,
): Promise<TlsColumns> {
  const columns = { tlsCa: tls?.ca ?? null, tlsCertificate: tls?.certificate ?? null }
  if (tls?.key === undefined) return { ...columns, tlsKey: null }
  const ownerKey = await requireOwnerKey(run, vault, ownerId)
  const sealed = ownerKey.seal(keyPlace(endpointId), Buffer.from(tls.key, 'utf8'))
  return { ...columns, tlsKey: new Uint8Array(sealed) }
}

/** Null: it has nothing of its own. @throws {UnreadableSecretsError} */
export function openTls(
  ownerKey: OwnerKey,
  endpointId: string,
  { tlsCa, tlsCertificate, tlsKey }: TlsColumns,
): TlsMaterial | null {
  if (tlsCa === null && tlsCertificate === null) return null
  return {
    ...(tlsCa !== null && { ca: tlsCa }),
    ...(tlsCertificate !== null && { certificate: tlsCertificate }),
    ...(tlsKey !== null && { key: ownerKey.open(keyPlace(endpointId), tlsKey).toString('utf8') }),
  }
}

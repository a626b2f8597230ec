import type { RetryPolicy } from '@posthorn/contracts'
import { headerPlace } from './endpoint-headers.ts'
import { notSealed, secretPlace } from './endpoint-secrets.ts'
import { openTls, type TlsColumns, type TlsMaterial } from './endpoint-tls.ts'
import { aboutEndpoint, isSubscribed } from './operational-events.ts'
import { unwrapFound } from './owner-keys.ts'
import type { Pool } from './pool.ts'
import { UnreadableSecretsError, type Vault } from './vault.ts'

/** What a worker needs of an endpoint to deliver to it. */
export interface DeliveryTarget {
  endpointId: string
  /** As `ClaimedDelivery.endpointVersion`. */
  version: string
  ownerId: string
  url: string
  /** Those whose values are secret among them. */
  headers: Record<string, string>
  /** Newest first; each signs. */
  secrets: Buffer[]
  /** How long these are all the secrets that are valid, if nobody changes the row. Null: for ever. */
  secretsForMs: number | null
  /** Why secrets and headers cannot be decrypted; then there are none of them here. */
  unreadable: UnreadableSecretsError | null
  inFlightMax: number | null
  attemptTimeoutMs: number | null
  /** Deliveries a second; null: no limit. */
  rateLimit: number | null
  /** Null: the platform's. */
  retryPolicy: RetryPolicy | null
  /** Null: nothing of its own. */
  tls: TlsMaterial | null
  disabled: boolean
  deleted: boolean
}

type Row = Omit<DeliveryTarget, 'secrets' | 'secretsForMs' | 'unreadable' | 'tls'> &
  TlsColumns & {
    secretHeaders: Record<string, string>
    sealed: { id: string; sealed: string | null; forMs: number | null }[] | null
    wrapped: Buffer | null
    masterKeyId: string | null
  }

const LOAD = `
SELECT e.id AS "endpointId", e.xmin::text AS version, e.owner_id AS "ownerId", e.url, e.headers,
  e.secret_headers AS "secretHeaders",
  (SELECT json_agg(json_build_object('id', s.id, 'sealed', encode(s.sealed, 'base64'),
      'forMs', extract(epoch FROM s.expires_at - now()) * 1000) ORDER BY s.created_at DESC, s.id DESC)
    FROM endpoint_secrets s
    WHERE s.endpoint_id = e.id AND (s.expires_at IS NULL OR s.expires_at > now())) AS sealed,
  k.wrapped, k.master_key_id AS "masterKeyId",
  e.in_flight_max AS "inFlightMax", e.attempt_timeout_ms AS "attemptTimeoutMs",
  e.rate_limit AS "rateLimit",
  e.retry_policy AS "retryPolicy",
  e.tls_ca AS "tlsCa", e.tls_certificate AS "tlsCertificate", e.tls_key AS "tlsKey",
  e.disabled_at IS NOT NULL AS disabled, e.deleted_at IS NOT NULL AS deleted
FROM endpoints e LEFT JOIN owner_keys k ON k.owner_id = e.owner_id
WHERE e.id = ANY ($1::uuid[])`

/** Endpoints by id with their valid secrets. A change of a secret has to touch its endpoint's row: see `version`. */
export async function loadDeliveryTargets(
  pool: Pool,
  vault: Vault,
  endpointIds: readonly string[],
): Promise<DeliveryTarget[]> {
  const { rows } = await pool.query<Row>({ name: 'load-delivery-targets', text: LOAD, values: [endpointIds] })
  return rows.map((row) => open(vault, row))
}

function open(
  vault: Vault,
  { secretHeaders, sealed, wrapped, masterKeyId, tlsCa, tlsCertificate, tlsKey, ...row }: Row,
): DeliveryTarget {
  try {
    const key = unwrapFound(vault, row.ownerId, wrapped && masterKeyId ? { wrapped, masterKeyId } : null)
    if (sealed === null) throw new UnreadableSecretsError('no_secret', 'The endpoint has no signing secret.')
    const secrets = sealed.map((secret) => {
      if (secret.sealed === null) throw notSealed()
      return key.open(secretPlace(row.endpointId, secret.id), Buffer.from(secret.sealed, 'base64'))
    })
    const headers = { ...row.headers }
    for (const [name, value] of Object.entries(secretHeaders)) {
      headers[name] = key
        .open(headerPlace(row.endpointId, name), Buffer.from(value, 'base64'))
        .toString('latin1')
    }
    const expiring = sealed.map(({ forMs }) => forMs).filter((forMs) => forMs !== null)
    const secretsForMs = expiring.length === 0 ? null : Math.min(...expiring)
    const tls = openTls(key, row.endpointId, { tlsCa, tlsCertificate, tlsKey })
    return { ...row, headers, secrets, secretsForMs, tls, unreadable: null }
  } catch (error) {
    if (!(error instanceof UnreadableSecretsError)) throw error
    return { ...row, headers: {}, secrets: [], secretsForMs: null, tls: null, unreadable: error }
  }
}

/** Whether anything can be sent to an endpoint; undefined where it is gone for good. */
export async function findEndpointState(
  pool: Pool,
  endpointId: string,
): Promise<{ disabled: boolean; deleted: boolean } | undefined> {
  const { rows } = await pool.query<{ disabled: boolean; deleted: boolean }>({
    name: 'find-endpoint-state',
    text: `SELECT disabled_at IS NOT NULL AS disabled, deleted_at IS NOT NULL AS deleted
      FROM endpoints WHERE id = $1`,
    values: [endpointId],
  })
  return rows[0]
}

// Input:   $1 the endpoint, $2 why
// Output:  its id, where it was enabled
const DISABLE = `
WITH disabled AS (
  UPDATE endpoints SET disabled_at = now(), disabled_reason = $2, updated_at = now()
  WHERE id = $1 AND disabled_at IS NULL AND deleted_at IS NULL
  RETURNING id, owner_id, disabled_reason, disabled_at
), noted AS (
  INSERT INTO operational_events (id, type, owner_id, data)
  SELECT uuidv7(), 'endpoint.disabled', d.owner_id,
    json_build_object('about', ${aboutEndpoint('d.id')}, 'reason', d.disabled_reason, 'since', d.disabled_at)
  FROM disabled d WHERE ${isSubscribed('d.owner_id', "'endpoint.disabled'")}
)
SELECT id FROM disabled`

/** Stops deliveries to an endpoint. Only the first reason is kept. */
export async function disableEndpoint(pool: Pool, endpointId: string, reason: string): Promise<boolean> {
  const { rowCount } = await pool.query({
    name: 'disable-endpoint',
    text: DISABLE,
    values: [endpointId, reason],
  })
  return (rowCount ?? 0) > 0
}

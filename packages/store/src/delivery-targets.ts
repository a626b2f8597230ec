import type { RetryPolicy } from '@posthorn/contracts'
import { fromTlsColumns, type TlsColumns, type TlsMaterial } from './endpoint-tls.ts'
import { aboutEndpoint, isSubscribed } from './operational-events.ts'
import type { Pool } from './pool.ts'

/** What a worker needs of an endpoint to deliver to it. */
export interface DeliveryTarget {
  endpointId: string
  /** As `ClaimedDelivery.endpointVersion`. */
  version: string
  ownerId: string
  url: string
  headers: Record<string, string>
  /** Newest first; each signs. */
  secrets: Buffer[]
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

/** Endpoints by id with their valid secrets. A change of a secret has to touch its endpoint's row: see `version`. */
export async function loadDeliveryTargets(
  pool: Pool,
  endpointIds: readonly string[],
): Promise<DeliveryTarget[]> {
  const { rows } = await pool.query<Omit<DeliveryTarget, 'tls'> & TlsColumns>({
    name: 'load-delivery-targets',
    text: `SELECT e.id AS "endpointId", e.xmin::text AS version, e.owner_id AS "ownerId", e.url, e.headers,
        ARRAY (SELECT s.secret FROM endpoint_secrets s
          WHERE s.endpoint_id = e.id AND (s.expires_at IS NULL OR s.expires_at > now())
          ORDER BY s.created_at DESC, s.id DESC) AS secrets,
        e.in_flight_max AS "inFlightMax", e.attempt_timeout_ms AS "attemptTimeoutMs",
        e.rate_limit AS "rateLimit",
        e.retry_policy AS "retryPolicy",
        e.tls_ca AS "tlsCa", e.tls_certificate AS "tlsCertificate", e.tls_key AS "tlsKey",
        e.disabled_at IS NOT NULL AS disabled, e.deleted_at IS NOT NULL AS deleted
      FROM endpoints e WHERE e.id = ANY ($1::uuid[])`,
    values: [endpointIds],
  })
  return rows.map(({ tlsCa, tlsCertificate, tlsKey, ...target }) => ({
    ...target,
    tls: fromTlsColumns({ tlsCa, tlsCertificate, tlsKey }),
  }))
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

/**
 * In a statement that opens deliveries again, whose `reopened` has the rows that it took out of the log: the
 * attempt that ended one becomes one that another is to follow.
 *
 * Keys: (delivery_id, number) of attempts. What ended without an attempt, or before its row had it, has none here.
 */
export const KEEP_LAST_ATTEMPT = `
  INSERT INTO attempts (delivery_id, number, status, duration_ms, started_at, outcome, detail,
    dns_ms, connect_ms, tls_ms, first_byte_ms, response_headers, response_body, response_body_truncated)
  SELECT id, attempts, status, duration_ms, started_at, outcome, detail,
    dns_ms, connect_ms, tls_ms, first_byte_ms, response_headers, response_body, coalesce(response_body_truncated, false)
  FROM reopened WHERE outcome IS NOT NULL
  ON CONFLICT (delivery_id, number) DO NOTHING`

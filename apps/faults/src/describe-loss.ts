import { decodeId } from '@posthorn/contracts'
import type { Field } from './start-field.ts'
import { deliveryKey, type Finding, type Verdict } from './verdict.ts'

const DESCRIBED_MAX = 5

/** What each ledger, the database and the logs say of what was found: a few of each rule. */
export async function describeLoss(field: Field, { findings }: Verdict): Promise<string[]> {
  const lines: string[] = []
  for (const [rule, found] of Map.groupBy(findings, (finding) => finding.rule)) {
    lines.push(`${rule}: ${found.length}`)
    const examples = rule === 'too-many-duplicates' ? duplicates(field) : found
    for (const example of examples.slice(0, DESCRIBED_MAX)) lines.push(...(await describe(field, example)))
  }
  return lines
}

function duplicates({ receiver }: Field): Pick<Finding, 'id' | 'endpoint'>[] {
  return [...receiver.ledger.values()].filter(({ taken }) => taken > 1)
}

async function describe(field: Field, { id, endpoint }: Pick<Finding, 'id' | 'endpoint'>): Promise<string[]> {
  const message = decodeId('msg', id)
  if (message === undefined) return []
  const emitted = field.load.ledger.find((entry) => entry.id === id)
  const received = field.receiver.ledger.get(deliveryKey(id, endpoint))
  const rows = await field.query<Record<string, unknown>>(
    `SELECT d.id, d.state, d.attempts, d.due_at, d.ended_at, p.claim, p.lease_until, p.wake_at,
       (SELECT json_agg(json_build_array(a.number, a.started_at, a.outcome, a.status) ORDER BY a.number)
        FROM attempts_all a WHERE a.delivery_id = d.id) AS log
     FROM deliveries d LEFT JOIN deliveries_pending p ON p.id = d.id
     WHERE d.message_id = $1 AND ($2::uuid IS NULL OR d.endpoint_id = $2)`,
    [message, decodeId('ep', endpoint) ?? null],
  )
  const logs = [field.api, ...field.workers].flatMap((slot) =>
    slot.linesWith(id).map((line) => `    ${slot.name}: ${line}`),
  )
  return [
    `  ${id} to ${endpoint === '' ? 'all' : endpoint}`,
    `    client: ${JSON.stringify(emitted && { ...emitted, endpoints: emitted.endpoints.length })}`,
    `    receiver: ${JSON.stringify(received)}`,
    ...(rows.length === 0
      ? ['    database: no delivery']
      : rows.map((row) => `    database: ${JSON.stringify(row)}`)),
    ...logs.slice(-10),
  ]
}

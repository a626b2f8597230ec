/** What the generator, the receiver and the log say of one round. */
export interface Accounts {
  emitted: readonly string[]
  /** Ids that came, and how many deliveries that were. */
  arrived: ReadonlySet<string>
  deliveries: number
  doubled: number
  /** Endpoints that each event was for. */
  endpoints: number
  /** Deliveries in the log that are not `delivered`. */
  notDelivered: number
  refused: Readonly<Record<string, number>>
}

/** @returns what does not fit together, a sentence each; a round of which anything is said has no figure */
export function reconcile(accounts: Accounts): string[] {
  const { emitted, arrived, deliveries, doubled, endpoints, notDelivered, refused } = accounts
  const known = new Set(emitted)
  const lost = emitted.filter((id) => !arrived.has(id)).length
  const unknown = [...arrived].filter((id) => !known.has(id)).length
  const faults: string[] = []
  if (lost > 0) faults.push(`${lost} events were taken and did not arrive.`)
  if (lost === 0 && deliveries !== emitted.length * endpoints) {
    faults.push(`${deliveries} deliveries arrived, of ${emitted.length * endpoints}.`)
  }
  if (unknown > 0) faults.push(`${unknown} events arrived that nobody emitted.`)
  if (doubled > 0) faults.push(`${doubled} deliveries arrived again.`)
  if (notDelivered > 0) faults.push(`${notDelivered} deliveries are not delivered in the log.`)
  for (const [status, count] of Object.entries(refused)) faults.push(`${count} emits ended with ${status}.`)
  return faults
}

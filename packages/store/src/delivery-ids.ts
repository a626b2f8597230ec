// A delivery's id begins with the first 64 bits of its message's UUIDv7: the time and 12 bits that differ within
// a millisecond. So the primary key finds the deliveries of a message, without an index of their own
// (docs/adr/0020-delivery-ids.md). Two messages may share these bits, seldom: who looks for those of one
// compares message_id too.
//
// As text, 64 bits are 18 characters, and what follows the hyphen after them are 17.

/** SQL: a new id for a delivery of this message (an expression of type uuid). It has 62 random bits of its own. */
export function newDeliveryId(message: string): string {
  return `(left((${message})::text, 19) || right(gen_random_uuid()::text, 17))::uuid`
}

/**
 * SQL: whether `delivery` (an alias) is one of this message (an expression of type uuid).
 *
 * An index and the choice of partitions take the range only where the message is a constant, a parameter or of
 * an outer query: of several messages, each is looked up in a LATERAL subquery.
 */
export function isOfMessage(delivery: string, message: string): string {
  return `(${delivery}.id >= ${bound(message, '0000-000000000000')} AND ${delivery}.id <= ${bound(message, 'ffff-ffffffffffff')} AND ${delivery}.message_id = ${message})`
}

function bound(message: string, rest: string): string {
  return `(left((${message})::text, 19) || '${rest}')::uuid`
}

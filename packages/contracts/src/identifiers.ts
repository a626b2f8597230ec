import { Type } from 'typebox'
import type { IdPrefix } from './ids.ts'

/** A public id of one kind: prefix and 26 characters of Crockford's base32 (TypeID 0.3). */
export const PublicId = (prefix: IdPrefix, description: string) =>
  Type.String({
    pattern: `^${prefix}_[0-7][0-9a-hjkmnp-tv-z]{25}$`,
    description,
    examples: [`${prefix}_01kamz3q5ve6ybqcw2d8h4r9nt`],
    'x-expected': `be an id that begins with ${prefix}_`,
  })

const UID_PATTERN = '^(?!(own|ep|msg|dlv|att|key|rpl)_)[A-Za-z0-9._:@-]{1,128}$'
const UID = new RegExp(UID_PATTERN)

/**
 * The application's own name for an owner or an endpoint. It cannot look like one of our ids, so that
 * both can stand in the same place.
 */
export const Uid = (description: string) =>
  Type.String({
    pattern: UID_PATTERN,
    description,
    examples: ['acme'],
    'x-expected':
      'be 1 to 128 characters of A-Z a-z 0-9 . _ : @ - and not begin like an id (own_, ep_, msg_, dlv_, att_, key_, rpl_)',
  })

/** An id or a uid. */
export const Reference = (description: string) =>
  Type.String({
    pattern: '^[A-Za-z0-9._:@-]{1,128}$',
    description,
    examples: ['acme'],
    'x-expected': 'be an id or a uid: 1 to 128 characters of A-Z a-z 0-9 . _ : @ -',
  })

export function isUid(text: string): boolean {
  return UID.test(text)
}

/** The application's own key for a message, in a header or as `id`. */
export const IDEMPOTENCY_KEY_PATTERN = '^[\\x21-\\x7e]{1,255}$'
const IDEMPOTENCY_KEY = new RegExp(IDEMPOTENCY_KEY_PATTERN)

export function isIdempotencyKey(text: string): boolean {
  return IDEMPOTENCY_KEY.test(text)
}

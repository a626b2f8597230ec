import { createHash } from 'node:crypto'
import { ProblemError } from './problem-details.ts'

const VERSION = 1
const CHECK_BYTES = 12

/**
 * A cursor says where the next page begins. It fits the list and the filters that it was made with only:
 * with others it would skip what it should show.
 *
 * Layout, in base64url: version, check over list, filters and position, position in UTF-8. The check
 * finds mistakes; it is no secret, and a cursor opens nothing that its request may not see.
 *
 * @param list name of the list with everything in its path
 */
export function encodeCursor(list: string, filters: object, position: string): string {
  const bytes = Buffer.concat([
    Buffer.of(VERSION),
    check(list, filters, position),
    Buffer.from(position, 'utf8'),
  ])
  return bytes.toString('base64url')
}

/** Forms of positions. Whoever knows the layout can make a cursor of anything: none gets to the database as it is. */
const UUID_POSITION = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/
export const NUMBER_POSITION = /^\d{1,5}$/

/**
 * @param form of the list's positions; where it is not given they are UUIDs
 * @throws {ProblemError} `invalid_cursor`
 */
export function decodeCursor(
  list: string,
  filters: object,
  cursor: string,
  form: RegExp = UUID_POSITION,
): string {
  const bytes = Buffer.from(cursor, 'base64url')
  const position = bytes.toString('utf8', 1 + CHECK_BYTES)
  if (
    bytes[0] !== VERSION ||
    // base64url is read leniently: there is one right way to write each cursor.
    bytes.toString('base64url') !== cursor ||
    !bytes.subarray(1, 1 + CHECK_BYTES).equals(check(list, filters, position)) ||
    !form.test(position)
  ) {
    throw new ProblemError(
      'invalid_cursor',
      'Give cursor the value of next from the page before, with the same filters, or leave it out to begin anew.',
    )
  }
  return position
}

/** The `next` of a page of a list that tells where it goes on; null: nowhere. */
export function nextOf(list: string, filters: object, position: string | null): string | null {
  return position === null ? null : encodeCursor(list, filters, position)
}

/** One page of what `load` found, which was asked for one item more than the page holds. */
export function pageOf<T>(
  items: T[],
  limit: number,
  list: string,
  filters: object,
  positionOf: (item: T) => string,
): { items: T[]; next: string | null } {
  if (items.length <= limit) return { items, next: null }
  const page = items.slice(0, limit)
  return { items: page, next: encodeCursor(list, filters, positionOf(page[limit - 1]!)) }
}

function check(list: string, filters: object, position: string): Buffer {
  const named = Object.entries(filters)
    .filter(([, value]) => value !== undefined)
    .sort(([a], [b]) => (a < b ? -1 : 1))
  return createHash('sha256')
    .update(JSON.stringify([list, named, position]))
    .digest()
    .subarray(0, CHECK_BYTES)
}

import { Type } from 'typebox'

/** PostgreSQL keeps no NUL in text, and no other control character belongs in a name. */
const NO_CONTROL_CHARACTERS = '^[^\\u0000-\\u001f\\u007f]*$'
const NO_CONTROL_BUT_LINES = '^[^\\u0000-\\u0008\\u000b-\\u001f\\u007f]*$'

/** One line for people to read. */
export const Line = (maxLength: number, description: string) =>
  Type.String({
    minLength: 1,
    maxLength,
    pattern: NO_CONTROL_CHARACTERS,
    description,
    'x-expected': `be 1 to ${maxLength} characters without control characters`,
  })

/** Text for people to read, of several lines if need be. */
export const Lines = (maxLength: number, description: string) =>
  Type.String({
    maxLength,
    pattern: NO_CONTROL_BUT_LINES,
    description,
    'x-expected': `be at most ${maxLength} characters without control characters other than tab and newline`,
  })

/** A point of time as RFC 3339 writes it. */
export const Time = (description: string) => Type.String({ format: 'date-time', description })

/** A time that the caller gives; `parseTime` reads it. */
export const GivenTime = (description: string) =>
  Type.String({
    pattern: '^\\d{4}-\\d{2}-\\d{2}[Tt]\\d{2}:\\d{2}:\\d{2}(\\.\\d{1,9})?([Zz]|[+-]\\d{2}:\\d{2})$',
    description,
    examples: ['2026-11-21T09:30:00.000Z'],
    'x-expected': 'be a time as in RFC 3339, such as 2026-11-21T09:30:00.000Z',
  })

const YEAR_10000_MS = 253_402_300_800_000

/**
 * The time that `GivenTime` let through, or undefined where there is no such day or hour, or where it is
 * not in the years 1970 to 9999 (UTC): other years have no four-digit form in a payload.
 */
export function parseTime(text: string): Date | undefined {
  const time = new Date(text)
  const timeMs = time.getTime()
  if (!(timeMs >= 0 && timeMs < YEAR_10000_MS)) return undefined
  // Date reads 30 February as 2 March.
  const day = Number(text.slice(8, 10))
  return new Date(Date.UTC(Number(text.slice(0, 4)), Number(text.slice(5, 7)) - 1, day)).getUTCDate() === day
    ? time
    : undefined
}

import { parseTime } from '@posthorn/contracts'
import { ProblemError } from './problem-details.ts'

/** The time in a text that fits `GivenTime`. */
export function givenTime(text: string, path: string): Date {
  const time = parseTime(text)
  if (time !== undefined) return time
  const message = 'must be a day that exists, in the years 1970 to 9999'
  throw new ProblemError('validation_failed', `${path.slice(1)} ${message}.`, { errors: [{ path, message }] })
}

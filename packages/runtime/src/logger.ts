import { type DestinationStream, type Logger, pino } from 'pino'
import type { LogLevel } from './settings.ts'

export type { Logger } from 'pino'

/** Field names that hold a secret wherever they stand, at the top of a log line or one level down. */
const secretFields = [
  'apiKey',
  'authorization',
  'cookie',
  'databaseUrl',
  'egressProxy',
  'masterKey',
  'masterKeys',
  'password',
  'redisUrl',
  'secret',
  'secrets',
  'signingSecret',
  'token',
]

const CAUSES_MAX = 3

/**
 * JSON lines on standard output, or on `destination`. Secret fields are replaced, and so are credentials
 * in URLs and signing secrets anywhere in the line: drivers like to quote their settings in errors.
 */
export function createLogger(options: {
  level: LogLevel
  name: string
  destination?: DestinationStream
}): Logger {
  const { level, name, destination } = options
  const settings = {
    level,
    name,
    redact: {
      paths: [
        ...secretFields,
        ...secretFields.map((field) => `*.${field}`),
        'req.headers.authorization',
        'req.headers.cookie',
      ],
      censor: '[redacted]',
    },
    // Drivers hang whole connections on their errors; none of that belongs in a line.
    serializers: { err: serializeError },
    hooks: { streamWrite: redactText },
    timestamp: pino.stdTimeFunctions.isoTime,
  }
  return destination === undefined ? pino(settings) : pino(settings, destination)
}

interface ErrorLine {
  type: string
  message: string
  code?: string | number
  stack?: string
  cause?: ErrorLine
  errors?: ErrorLine[]
}

function serializeError(error: unknown, depth = 0): ErrorLine | unknown {
  if (!(error instanceof Error)) return error
  const { code, cause } = error as { code?: unknown; cause?: unknown }
  const inner = (value: unknown) => serializeError(value, depth + 1) as ErrorLine
  return {
    type: error.name,
    message: error.message,
    ...((typeof code === 'string' || typeof code === 'number') && { code }),
    ...(error.stack !== undefined && { stack: error.stack }),
    ...(cause instanceof Error && depth < CAUSES_MAX && { cause: inner(cause) }),
    ...(error instanceof AggregateError &&
      depth < CAUSES_MAX && { errors: error.errors.slice(0, 5).map(inner) }),
  }
}

/** Takes the secrets out of text that somebody else wrote: credentials in URLs, signing secrets. */
export function redactText(text: string): string {
  // Bounded, so that hostile text cannot make it slow; a quote ends it, so that it stays in its JSON string.
  return text
    .replace(/:\/\/[^\s/@"]{1,500}@/g, '://[redacted]@')
    .replace(/whsec_[A-Za-z0-9+/=_-]+/g, 'whsec_[redacted]')
}

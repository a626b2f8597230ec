import { type DestinationStream, type Logger, pino } from 'pino'
import type { LogLevel } from './settings.ts'

export type { Logger } from 'pino'

/** Field names that hold a secret wherever they stand, at the top of a log line or one level down. */
const secretFields = [
  'apiKey',
  'authorization',
  'cookie',
  'databaseUrl',
  'masterKey',
  'password',
  'redisUrl',
  'secret',
  'secrets',
  'signingSecret',
  'token',
]

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
    hooks: { streamWrite: redactText },
    timestamp: pino.stdTimeFunctions.isoTime,
  }
  return destination === undefined ? pino(settings) : pino(settings, destination)
}

/** Takes the secrets out of text that somebody else wrote: credentials in URLs, signing secrets. */
export function redactText(text: string): string {
  // Bounded, so that hostile text cannot make it slow; a quote ends it, so that it stays in its JSON string.
  return text
    .replace(/:\/\/[^\s/@"]{1,500}@/g, '://[redacted]@')
    .replace(/whsec_[A-Za-z0-9+/=_-]+/g, 'whsec_[redacted]')
}

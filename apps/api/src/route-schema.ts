import type { ProblemCode } from '@posthorn/contracts'
import { problemOf } from './problem-details.ts'

export const bearer = [{ bearer: [] as string[] }]

/** Problems that every route under /v1 may answer. */
const EVERYWHERE = [
  'invalid_request',
  'unauthorized',
  'too_many_failures',
  'rate_limited',
  'forbidden',
  'database_unavailable',
  'internal_error',
] as const

/** Responses of a route for these problems and for those of every route, by status, for OpenAPI. */
export function problemResponses(...codes: ProblemCode[]): Record<number, object> {
  return describeProblems([...codes, ...EVERYWHERE])
}

export function describeProblems(codes: readonly ProblemCode[]): Record<number, object> {
  const byStatus: Record<number, string[]> = {}
  for (const code of new Set(codes)) {
    const status = problemOf(code, '').status
    byStatus[status] = [...(byStatus[status] ?? []), code]
  }
  return Object.fromEntries(
    Object.entries(byStatus).map(([status, names]) => [
      status,
      {
        description: `Problem: ${names.join(', ')}.`,
        content: { 'application/problem+json': { schema: { $ref: 'Problem#' } } },
      },
    ]),
  )
}

/** Problems that a route with a JSON body may answer. */
export const bodyProblems = [
  'invalid_json',
  'invalid_utf8',
  'payload_too_large',
  'payload_too_deep',
  'too_many_keys',
  'forbidden_key',
  'unsupported_media_type',
  'validation_failed',
  'unknown_field',
] as const satisfies ProblemCode[]

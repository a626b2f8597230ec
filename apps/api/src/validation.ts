import type { ProblemCode } from '@posthorn/contracts'
import { nearestName } from '@posthorn/runtime'
import type { FastifySchemaCompiler } from 'fastify'
import type { TSchema } from 'typebox'
import { Compile } from 'typebox/compile'
import { Settings } from 'typebox/system'
import { ProblemError, type ProblemItem } from './problem-details.ts'

/** Says what is wrong with a value, or undefined where it fits its schema. */
export type Validate = (value: unknown) => ProblemError | undefined

/** Errors that are looked at, and those of them that are answered. */
const ERRORS_MAX = 32
const ITEMS_MAX = 8

/** Compiles the check that routes and batch items share. Nothing is coerced, removed or filled in. */
export function compileValidate(
  schema: TSchema,
  part: 'body' | 'querystring' | 'params' | 'headers' = 'body',
): Validate {
  // TypeBox stops at 8 of its own accord, often before the alternative that was meant.
  Settings.Set({ maxErrors: ERRORS_MAX })
  const validator = Compile(schema)
  return (value) =>
    validator.Check(value) ? undefined : toProblem(schema, validator.Errors(value), value, part)
}

/** Fastify's validator: TypeBox for every part. */
export const validatorCompiler: FastifySchemaCompiler<TSchema> = ({ schema, httpPart }) => {
  const part = (httpPart ?? 'body') as 'body' | 'querystring' | 'params' | 'headers'
  const validate = compileValidate(schema, part)
  return (value: unknown) => {
    const given = part === 'querystring' ? withNumbers(schema, value as Record<string, unknown>) : value
    const error = validate(given)
    return error === undefined ? { value: given } : { error }
  }
}

/** A query is all text: what is a whole number by its schema and looks like one becomes one. */
function withNumbers(schema: TSchema, query: Record<string, unknown>): Record<string, unknown> {
  const properties = (schema as { properties?: Record<string, { type?: string }> }).properties ?? {}
  return Object.fromEntries(
    Object.entries(query).map(([name, value]) => {
      const isNumber = properties[name]?.type === 'integer' && /^\d{1,9}$/.test(String(value))
      return [name, isNumber ? Number(value) : value]
    }),
  )
}

type SchemaError = ReturnType<ReturnType<typeof Compile>['Errors']>[number]

function toProblem(schema: TSchema, errors: SchemaError[], value: unknown, part: string): ProblemError {
  const where = part === 'querystring' ? 'query' : part
  if (value === null && part === 'body') {
    return new ProblemError('validation_failed', 'Send a JSON object as the body.')
  }
  const found: (ProblemItem & { code: ProblemCode })[] = []
  for (const error of ofNearestAlternatives(schema, errors)) {
    const item = describe(schema, error, where)
    // One is enough for each place.
    if (item !== undefined && !found.some(({ path }) => path === item.path)) found.push(item)
    if (found.length === ITEMS_MAX) break
  }
  // An unknown field comes first: it is often the misspelt name of one that is missing.
  const first =
    found.find(({ code }) => code === 'unknown_field') ??
    found.find(({ code }) => code !== 'validation_failed') ??
    found[0]
  if (first === undefined)
    return new ProblemError('validation_failed', `The ${where} does not fit its schema.`)
  const others = found.length > 1 ? ` (and ${found.length - 1} more, see errors)` : ''
  return new ProblemError(first.code, `${sentence(first, where)}${others}.`, {
    errors: found.map(({ path, message }) => ({ path, message })),
  })
}

/**
 * Of alternatives (`anyOf`) that a value fits none of, the errors of the one that its form comes nearest to:
 * what is wrong with the others was never meant. Where several are as near, the `anyOf` itself speaks if it
 * says what it expects, and the first of them otherwise.
 */
function ofNearestAlternatives(root: TSchema, errors: SchemaError[]): SchemaError[] {
  let kept = errors
  for (const union of errors.filter(({ keyword }) => keyword === 'anyOf')) {
    const distances = new Map<string, number>()
    for (const error of kept) {
      const name = alternativeOf(union, error)
      if (name === undefined) continue
      distances.set(name, (distances.get(name) ?? 0) + distanceOf(error, union.instancePath))
    }
    const least = Math.min(...distances.values())
    const nearest = [...distances.keys()].filter((name) => distances.get(name) === least)
    const isAmbiguous = nearest.length > 1 && schemaAt(root, union.schemaPath)?.['x-expected'] !== undefined
    kept = kept.filter((error) => {
      if (error === union) return isAmbiguous
      const name = alternativeOf(union, error)
      return name === undefined || (!isAmbiguous && name === nearest[0])
    })
  }
  return kept
}

/** Which alternative of `union` an error is about, if it is about one. */
function alternativeOf(union: SchemaError, { schemaPath, instancePath }: SchemaError): string | undefined {
  const prefix = `${union.schemaPath}/anyOf/`
  const isWithin = instancePath === union.instancePath || instancePath.startsWith(`${union.instancePath}/`)
  return isWithin && schemaPath.startsWith(prefix)
    ? schemaPath.slice(prefix.length).split('/', 1)[0]
    : undefined
}

/** How much an error says that the value at `at` is of another form, and not just wrong in a detail. */
function distanceOf({ keyword, instancePath }: SchemaError, at: string): number {
  if (instancePath === at) return keyword === 'type' ? 1_000 : keyword === 'required' ? 1 : 0
  const isMemberOfIt = instancePath.lastIndexOf('/') === at.length
  return keyword === 'boolean' && isMemberOfIt ? 1 : 0
}

function sentence({ path, message }: ProblemItem, where: string): string {
  return path === '' ? `The ${where} ${message}` : `In the ${where}, ${path.slice(1)} ${message}`
}

function describe(
  root: TSchema,
  { keyword, schemaPath, instancePath, params, message }: SchemaError,
  where: string,
): (ProblemItem & { code: ProblemCode }) | undefined {
  if (keyword === 'boolean') {
    // `additionalProperties: false` met a member that no property allows.
    const parent = schemaAt(root, schemaPath.replace(/\/additionalProperties$/, ''))
    const name = lastSegment(instancePath)
    const names = Object.keys((parent?.properties as object | undefined) ?? {})
    if (names.length === 0) {
      return {
        path: instancePath,
        code: 'invalid_header',
        message: 'cannot be the name of a header (RFC 9110)',
      }
    }
    const nearest = nearestName(name, names)
    const hint =
      nearest === undefined ? `the names that are known are ${names.join(', ')}` : `did you mean ${nearest}?`
    return { path: instancePath, code: 'unknown_field', message: `is not known; ${hint}` }
  }
  if (keyword === 'additionalProperties') return undefined
  if (keyword === 'required') {
    const names = (params as { requiredProperties: string[] }).requiredProperties
    return { path: instancePath, code: 'validation_failed', message: `needs ${names.join(' and ')}` }
  }
  const schema = schemaAt(root, schemaPath)
  const expected = schema?.['x-expected']
  const code = codeOf(schema?.['x-problem-code'], keyword)
  return {
    path: instancePath,
    code: code ?? 'validation_failed',
    message: typeof expected === 'string' && where !== '' ? `must ${expected}` : message,
  }
}

/** `x-problem-code` of a schema: one for whatever is wrong, or one for each keyword that has its own. */
function codeOf(given: unknown, keyword: string): ProblemCode | undefined {
  const code = typeof given === 'object' ? (given as Record<string, unknown> | null)?.[keyword] : given
  return typeof code === 'string' ? (code as ProblemCode) : undefined
}

function schemaAt(root: TSchema, pointer: string): Record<string, unknown> | undefined {
  let at: unknown = root
  for (const segment of pointer.split('/').slice(1)) {
    if (typeof at !== 'object' || at === null) return undefined
    at = (at as Record<string, unknown>)[unescapePointer(segment)]
  }
  return typeof at === 'object' && at !== null ? (at as Record<string, unknown>) : undefined
}

function lastSegment(pointer: string): string {
  return unescapePointer(pointer.slice(pointer.lastIndexOf('/') + 1))
}

/** RFC 6901, section 4. */
function unescapePointer(segment: string): string {
  return segment.replaceAll('~1', '/').replaceAll('~0', '~')
}

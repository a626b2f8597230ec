import type { Random } from '@posthorn/testkit'
import type { Schema } from './api-operations.ts'

const oddities: readonly unknown[] = [
  ...[null, true, false, 0, -1, 1.5, 1e308, -1e308, 2 ** 53, Number.MIN_VALUE],
  ...[
    '',
    ' ',
    '\0',
    '\u0001',
    '\ud800',
    '\u202e',
    '0',
    '-1',
    'null',
    'undefined',
    '[object Object]',
    'a'.repeat(5_000),
  ],
  ...[
    "' OR 1=1 --",
    '"; DROP TABLE messages; --',
    '<script>alert(1)</script>',
    '../../etc/passwd',
    '%00',
    '%',
    '{{7*7}}',
  ],
  ...[
    'own_00000000000000000000000000',
    'msg_7zzzzzzzzzzzzzzzzzzzzzzzzz',
    'ep_01kamz3q5ve6ybqcw2d8h4r9nt',
    'dlv_',
    'key_x',
  ],
  ...[
    '2026-02-30T00:00:00Z',
    '9999-12-31T23:59:59Z',
    '0000-00-00T00:00:00Z',
    '2026-11-21T09:30:00+14:00',
    '1e400',
  ],
  ...[
    'http://127.0.0.1/',
    'https://user@example.com/',
    'posthorn',
    'endpoint.disabled',
    'constructor',
    'toString',
  ],
  [],
  {},
  [[]],
  [null],
  { a: 1 },
  { constructor: 1 },
  { id: 'x', ownerId: 'x', state: 'delivered' },
]

/** Something that hardly any schema means. */
export function odd(random: Random): unknown {
  return random.pick(oddities)
}

/**
 * A value as the schema describes it, roughly: patterns are not solved, examples are taken instead.
 *
 * @param oddness how often, from 0 to 1, a part of it is something else
 * @param known values that lead somewhere, by the name of a member
 */
export function generate(
  schema: Schema,
  random: Random,
  oddness: number,
  known: Record<string, readonly string[]> = {},
): unknown {
  if (random.next() < oddness / 2) return odd(random)
  const one = (of: Schema) => generate(of, random, oddness, known)
  if (schema.const !== undefined) return schema.const
  if (Array.isArray(schema.enum)) return random.pick(schema.enum as unknown[])
  for (const word of ['anyOf', 'oneOf'] as const) {
    if (Array.isArray(schema[word])) return one(random.pick(schema[word] as Schema[]))
  }
  switch (schema.type) {
    case 'object':
      return generateObject(schema, random, oddness, known)
    case 'array': {
      const { items = {}, minItems = 0 } = schema as { items?: Schema; minItems?: number }
      return Array.from({ length: Math.max(minItems, Math.floor(random.next() * 4)) }, () => one(items))
    }
    case 'string':
      return generateText(schema, random)
    case 'integer':
    case 'number': {
      const { minimum = 0, maximum = 1_000 } = schema as { minimum?: number; maximum?: number }
      const edges = [minimum, maximum, minimum + 1, Math.floor((minimum + maximum) / 2)]
      return random.next() < oddness ? random.pick([minimum - 1, maximum + 1, 0.5]) : random.pick(edges)
    }
    case 'boolean':
      return random.next() < 0.5
    case 'null':
      return null
    default:
      return odd(random)
  }
}

function generateObject(
  schema: Schema,
  random: Random,
  oddness: number,
  known: Record<string, readonly string[]>,
): Record<string, unknown> {
  const { properties = {}, required = [] } = schema as {
    properties?: Record<string, Schema>
    required?: string[]
  }
  const made: Record<string, unknown> = {}
  for (const [name, member] of Object.entries(properties)) {
    const isLeftOut = required.includes(name) ? random.next() < oddness / 4 : random.next() < 0.6
    if (isLeftOut) continue
    const values = known[name] ?? (name === 'eventTypes' ? known.eventType : undefined)
    if (values !== undefined && random.next() < 0.8) {
      made[name] = name === 'eventTypes' ? [random.pick(values)] : random.pick(values)
    } else made[name] = generate(member, random, oddness, known)
  }
  if (random.next() < oddness / 2) made[`x${Math.floor(random.next() * 9)}`] = odd(random)
  if (schema.patternProperties !== undefined && random.next() < 0.5) made['x-tenant'] = 'acme'
  return made
}

function generateText(schema: Schema, random: Random): string {
  const {
    examples,
    maxLength = 12,
    minLength = 0,
  } = schema as {
    examples?: string[]
    maxLength?: number
    minLength?: number
  }
  const suffix = String(Math.floor(random.next() * 1_000_000))
  if (examples !== undefined) {
    const example = random.pick(examples)
    return /^[a-z]+$/.test(example) ? example + suffix : example
  }
  return random.pick(['a', 'text', suffix, 'x'.repeat(Math.min(maxLength, 300)), 'x'.repeat(minLength)])
}

import { expect, it } from 'vitest'
import { mayUse, ROLES, type RouteRoles } from '../src/index.ts'

const routes: Record<string, RouteRoles> = {
  'declares nothing': [],
  'to emit': ['emit'],
  'to read': ['read'],
  'of an owner, to read': ['read', 'owner'],
  'of an owner': ['owner'],
}

it.each([
  ['admin', null, ['declares nothing', 'to emit', 'to read', 'of an owner, to read', 'of an owner']],
  ['emit', null, ['to emit']],
  ['read', null, ['to read', 'of an owner, to read']],
  ['owner', 'acme', ['of an owner, to read', 'of an owner']],
  // What does not go together may do nothing.
  ['owner', null, []],
  ['admin', 'acme', []],
  ['emit', 'acme', []],
  ['read', 'acme', []],
  ['auditor', null, []],
  ['', null, []],
])('the role %s, for the owner %s, may use routes that say: %j', (role, ownerId, expected) => {
  const usable = Object.entries(routes).filter(([, roles]) => mayUse({ role, ownerId }, roles))
  expect(usable.map(([name]) => name)).toEqual(expected)
})

it('every role is judged above', () => {
  expect([...ROLES].sort()).toEqual(['admin', 'emit', 'owner', 'read'])
})

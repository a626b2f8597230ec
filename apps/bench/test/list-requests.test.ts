import { expect, test } from 'vitest'
import { listRequests } from '../src/list-requests.ts'

const query = (...names: string[]) => names.map((name) => ({ name, in: 'query' }))
const document = {
  paths: {
    '/v1/owners/{owner}': { get: { parameters: [{ name: 'owner', in: 'path' }] } },
    '/v1/owners/{owner}/things': {
      get: { parameters: [{ name: 'owner', in: 'path' }, ...query('cursor', 'limit')] },
    },
    '/v1/things': { get: { parameters: query('state', 'cursor', 'kind', 'limit') } },
    '/v1/emit': {},
  },
}
const values = { owner: { any: 'a b' }, state: { open: 'open', ended: 'ended' }, kind: { rare: 'k' } }

test('each list is asked as it is, with each filter, and with each two that fit', () => {
  const requests = listRequests(document, values, (one) => one.of !== 'ended')
  expect(requests).toEqual([
    { name: 'GET /v1/owners/{owner}/things', path: '/v1/owners/a%20b/things' },
    { name: 'GET /v1/things', path: '/v1/things' },
    { name: 'GET /v1/things?state=open', path: '/v1/things?state=open' },
    { name: 'GET /v1/things?state=ended', path: '/v1/things?state=ended' },
    { name: 'GET /v1/things?kind=rare', path: '/v1/things?kind=k' },
    { name: 'GET /v1/things?state=open&kind=rare', path: '/v1/things?state=open&kind=k' },
  ])
})

test('a filter without a value is not left out', () => {
  const { kind, ...others } = values
  expect(kind).toBeDefined()
  expect(() => listRequests(document, others, () => true)).toThrow(/parameter kind/)
})

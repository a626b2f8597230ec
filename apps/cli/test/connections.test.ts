import { expect, test } from 'vitest'
import { connectionsFault, connectionsNeeded, embeddedMaxConnections } from '../src/connections.ts'

/** PostgreSQL's own `max_connections`, without what it reserves. */
const DEFAULT = 97

test.each([1, 2, 8, 64])('the embedded server has room for %i workers and others beside them', (workers) => {
  const settings = { workers, mode: 'embedded' } as const
  expect(embeddedMaxConnections(settings)).toBeGreaterThanOrEqual(connectionsNeeded(settings) + 40)
})

test('one worker changes nothing in the embedded server', () => {
  expect(embeddedMaxConnections({ workers: 1, mode: 'embedded' })).toBe(200)
})

test('a PostgreSQL as it comes has room for two workers, and for seven with Redis', () => {
  expect(connectionsFault({ workers: 2, mode: 'postgres' }, DEFAULT)).toBeUndefined()
  expect(connectionsFault({ workers: 7, mode: 'redis' }, DEFAULT)).toBeUndefined()
})

test('too many workers for a PostgreSQL are told what to do', () => {
  expect(connectionsFault({ workers: 8, mode: 'postgres' }, DEFAULT)).toBe(
    'POSTHORN_WORKERS is 8: with an API beside them they open up to 268 connections to PostgreSQL, ' +
      'which has 97. Raise its max_connections by 171, or set POSTHORN_WORKERS to 2.',
  )
})

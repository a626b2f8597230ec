import { Cluster, Redis } from 'ioredis'
import { afterEach, expect, test } from 'vitest'
import { connectRedis } from '../src/redis.ts'

const options = { enableOfflineQueue: false, maxRetriesPerRequest: 1 }
const clients: (Redis | Cluster)[] = []

/** Closed port: the options are what is looked at here. */
function connect(url: string): Redis | Cluster {
  const client = connectRedis(url, options)
  client.on('error', () => {})
  clients.push(client)
  return client
}

afterEach(() => {
  for (const client of clients.splice(0)) client.disconnect()
})

test('redis:// is one server, with its database and credentials', () => {
  const client = connect('redis://user:p%40ss@127.0.0.1:1/3') as Redis
  expect(client).toBeInstanceOf(Redis)
  expect(client.options).toMatchObject({
    host: '127.0.0.1',
    port: 1,
    db: 3,
    username: 'user',
    password: 'p@ss',
    enableOfflineQueue: false,
    maxRetriesPerRequest: 1,
  })
  expect(client.options.tls).toBeUndefined()
})

test('rediss:// is one server over TLS', () => {
  expect((connect('rediss://127.0.0.1:1') as Redis).options.tls).toBeTruthy()
})

test('redis+sentinel:// is the master of that name, by a Sentinel', () => {
  const client = connect('redis+sentinel://user:p%40ss@127.0.0.1:1/mymaster') as Redis
  expect(client).toBeInstanceOf(Redis)
  expect(client.options).toMatchObject({
    sentinels: [{ host: '127.0.0.1', port: 1 }],
    name: 'mymaster',
    username: 'user',
    password: 'p@ss',
    enableOfflineQueue: false,
    maxRetriesPerRequest: 1,
  })
})

test('redis+sentinel:// has Sentinel’s port where none is given', () => {
  const client = connect('redis+sentinel://127.0.0.1/mymaster') as Redis
  expect(client.options.sentinels).toEqual([{ host: '127.0.0.1', port: 26_379 }])
})

test('an IPv6 address is taken without its brackets', () => {
  const client = connect('redis+sentinel://[::1]:1/my%20master') as Redis
  expect(client.options).toMatchObject({ sentinels: [{ host: '::1', port: 1 }], name: 'my master' })
})

test('redis+cluster:// is a Cluster, by one of its nodes', () => {
  const client = connect('redis+cluster://user:p%40ss@127.0.0.1:1') as Cluster
  expect(client).toBeInstanceOf(Cluster)
  expect(client.options).toMatchObject({
    enableOfflineQueue: false,
    redisOptions: { username: 'user', password: 'p@ss', maxRetriesPerRequest: 1 },
  })
})

test.each(['redis://127.0.0.1:1', 'redis+sentinel://127.0.0.1:1/mymaster'])(
  '%s is tried again for ever, a second apart at most',
  (url) => {
    const { retryStrategy } = (connect(url) as Redis).options
    for (const times of [1, 2, 20, 1_000, 1_000_000]) {
      const delayMs = retryStrategy!(times) as number
      expect(delayMs).toBeGreaterThan(0)
      expect(delayMs).toBeLessThanOrEqual(1_000)
    }
  },
)

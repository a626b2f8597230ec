import { once } from 'node:events'
import { connectRedis } from '@posthorn/queue'
import { describeEachBackend } from '@posthorn/testkit'
import { afterAll, beforeAll, expect, it } from 'vitest'
import type { ApiContext } from '../src/api.ts'
import { type Answer, API_KEY, startTestApi, type TestApi } from './start-test-api.ts'

const FAILURES = 5
const PER_SECOND = 2
/** Over ten seconds. */
const REQUESTS = PER_SECOND * 10

describeEachBackend((backend) => {
  let redis: NonNullable<ApiContext['redis']> | undefined
  let one: TestApi
  let other: TestApi

  beforeAll(async () => {
    if (backend.redisUrl !== undefined) {
      redis = connectRedis(backend.redisUrl, { enableOfflineQueue: false, maxRetriesPerRequest: 1 })
      await once(redis, 'ready')
      // Of a run a moment ago, where the Redis is not this run's own.
      await redis.del('posthorn:rate:failure:127.0.0.1')
    }
    const settings = { authFailureLimit: FAILURES, apiRateLimit: PER_SECOND }
    const options = { settings, ...(redis !== undefined && { redis }) }
    one = await startTestApi(options)
    other = await startTestApi({ ...options, database: one.database })
  })
  afterAll(async () => {
    await other.close()
    await one.close()
    redis?.disconnect()
  })

  it('requests without a valid key are refused past the limit, by all processes, and alike', async () => {
    const fail = (api: TestApi, key: string | null) => api.request('GET', '/v1/api-keys', { key })
    const answers: Answer[] = []
    for (let n = 0; n < FAILURES; n++) answers.push(await fail(n % 2 ? one : other, `wrong-${n}`))
    expect(answers.map(({ status }) => status)).toEqual(Array(FAILURES).fill(401))
    const revoked = await one.createKey({ name: 'x', role: 'admin' })
    await one.request('DELETE', `/v1/api-keys/${revoked.id}`)

    for (const api of [one, other]) {
      for (const key of [null, 'wrong', revoked.key, `${API_KEY}x`, 'pht_e30.AAAA']) {
        const answer = await fail(api, key)
        expect(answer).toMatchObject({ status: 429, body: { code: 'too_many_failures' } })
        const seconds = Number(answer.headers.get('retry-after'))
        expect(seconds).toBeGreaterThan(0)
        expect(seconds).toBeLessThanOrEqual(60)
        // No key is told from another.
        expect(answer.text.replace(/\d+ seconds/, '')).toBe(
          (await fail(api, null)).text.replace(/\d+ seconds/, ''),
        )
      }
    }
  })

  it('a valid key passes all the same', async () => {
    const { key } = await one.createKey({ name: 'good', role: 'read' })
    for (const api of [one, other]) {
      expect((await api.request('GET', '/v1/api-keys', { key: null })).status).toBe(429)
      expect((await api.request('GET', '/v1/api-keys', { key })).status).toBe(200)
      expect((await api.request('GET', '/v1/api-keys')).status).toBe(200)
      expect((await api.request('GET', '/healthz', { key: null })).status).toBe(200)
    }
  })

  it('requests with one key are refused past its limit, by all processes, and those with others are not', async () => {
    const { key } = await one.createKey({ name: 'busy', role: 'read' })
    const { key: calm } = await one.createKey({ name: 'calm', role: 'read' })
    const ask = (api: TestApi) => api.request('GET', '/v1/api-keys', { key })
    const statuses: number[] = []
    let refused: Answer | undefined
    while (refused === undefined && statuses.length < 10 * REQUESTS) {
      const answer = await ask(one)
      statuses.push(answer.status)
      if (answer.status !== 200) refused = answer
    }
    expect(refused).toMatchObject({ status: 429, body: { code: 'rate_limited' } })
    expect(Number(refused!.headers.get('retry-after'))).toBeGreaterThan(0)
    expect(Number(refused!.headers.get('retry-after'))).toBeLessThanOrEqual(10)
    expect(statuses.length).toBeGreaterThan(REQUESTS)
    // The other process hears of it with its own next share.
    await expect.poll(async () => (await ask(other)).status, { interval: 1, timeout: 5_000 }).toBe(429)
    for (const api of [one, other]) {
      expect((await api.request('GET', '/v1/api-keys', { key: calm })).status).toBe(200)
    }
    // It is over by itself.
    await expect.poll(async () => (await ask(one)).status, { timeout: 20_000 }).toBe(200)
  })
})

it('without limits nothing is counted', async () => {
  const api = await startTestApi({ settings: { authFailureLimit: null, apiRateLimit: null } })
  for (let n = 0; n < 50; n++) {
    expect((await api.request('GET', '/v1/api-keys', { key: null })).status).toBe(401)
    expect((await api.request('GET', '/v1/api-keys')).status).toBe(200)
  }
  const { rows } = await api.store.pool.query('SELECT * FROM rate_counts')
  expect(rows).toEqual([])
  await api.close()
})

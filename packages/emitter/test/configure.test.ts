import { afterEach, beforeEach, expect, test } from 'vitest'
import { configure, emit, hook, type Posthorn } from '../src/index.ts'
import { API_KEY, startApi, type TestApi } from './start-api.ts'

// Made before configure() is called, as a decorator at import is.
const confirm = hook('pay_info.paid', { owner: 'acme' })((orderNum: string) => ({ order_num: orderNum }))

let api: TestApi
let client: Posthorn | undefined

beforeEach(async () => {
  api = await startApi()
})
afterEach(async () => {
  await client?.close()
  await api.stop()
})

test('before configure(), emit and hook say that it is missing', async () => {
  await expect(emit('a', {}, { owner: 'acme' })).rejects.toMatchObject({ code: 'not_configured' })
  await expect(confirm('42')).rejects.toMatchObject({
    name: 'EmitError',
    code: 'not_configured',
    result: { order_num: '42' },
  })
})

test('after it, both use the configured client', async () => {
  client = configure({ url: api.url, apiKey: API_KEY })
  await emit('user.created', { name: 'Zoë' }, { owner: 'acme' })
  await confirm('42')
  expect([...api.accepted.values()]).toMatchObject([
    { type: 'user.created', data: { name: 'Zoë' } },
    { type: 'pay_info.paid', data: { order_num: '42' } },
  ])
})

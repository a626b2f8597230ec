import { afterAll, beforeAll, expect, test } from 'vitest'
import { startTestApi, type TestApi } from './start-test-api.ts'

let api: TestApi
beforeAll(async () => {
  api = await startTestApi()
})
afterAll(() => api.close())

test('metrics say what waits and which requests were answered, without names or ids', async () => {
  await api.request('POST', '/v1/event-types', { body: { name: 'pay_info.paid' } })
  await api.request('POST', '/v1/owners', { body: { uid: 'canary-owner' } })
  const endpoint = { url: 'https://example.com/canary', eventTypes: ['pay_info.paid'] }
  await api.request('POST', '/v1/owners/canary-owner/endpoints', { body: endpoint })
  const message = { owner: 'canary-owner', type: 'pay_info.paid', data: {} }
  await api.request('POST', '/v1/messages', { body: message })

  const { status, headers, text } = await api.request('GET', '/metrics', { key: null })
  expect(status).toBe(200)
  expect(headers.get('content-type')).toContain('text/plain')
  expect(text).toMatch(/^posthorn_deliveries_pending 1$/m)
  expect(text).toMatch(/^posthorn_deliveries_due 1$/m)
  expect(text).toMatch(
    /^posthorn_http_requests_total\{.*route="\/v1\/owners\/:owner\/endpoints",status="201"\} 1$/m,
  )
  expect(text).toMatch(/^process_resident_memory_bytes \d+$/m)
  expect(text).not.toContain('canary')
})

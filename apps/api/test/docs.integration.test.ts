import { afterAll, beforeAll, expect, it } from 'vitest'
import { startTestApi, type TestApi } from './start-test-api.ts'

let api: TestApi

beforeAll(async () => {
  api = await startTestApi()
})
afterAll(() => api.close())

interface Operation {
  summary?: string
  operationId?: string
  tags?: string[]
  security?: object[]
  responses: Record<string, { description: string; content?: Record<string, { schema: { $ref?: string } }> }>
}

it('/openapi.json describes every operation: summary, id, tags, security, answers and problems', async () => {
  const { body } = await api.request('GET', '/openapi.json', { key: null })
  expect(body.openapi).toBe('3.1.0')
  const operations = Object.entries(body.paths as Record<string, Record<string, Operation>>).flatMap(
    ([path, methods]) =>
      Object.entries(methods).map(([method, operation]) => ({ path, method, ...operation })),
  )
  expect(operations.map(({ method, path }) => `${method.toUpperCase()} ${path}`).sort()).toEqual([
    'DELETE /v1/api-keys/{key}',
    'DELETE /v1/event-types/{name}',
    'DELETE /v1/owners/{owner}',
    'DELETE /v1/owners/{owner}/endpoints/{endpoint}',
    'GET /healthz',
    'GET /readyz',
    'GET /v1/api-keys',
    'GET /v1/api-keys/{key}',
    'GET /v1/audit-log',
    'GET /v1/deliveries',
    'GET /v1/deliveries/{delivery}',
    'GET /v1/deliveries/{delivery}/attempts',
    'GET /v1/event-types',
    'GET /v1/event-types/{name}',
    'GET /v1/messages',
    'GET /v1/messages/{message}',
    'GET /v1/owners',
    'GET /v1/owners/{owner}',
    'GET /v1/owners/{owner}/endpoints',
    'GET /v1/owners/{owner}/endpoints/{endpoint}',
    'GET /v1/owners/{owner}/endpoints/{endpoint}/replays',
    'GET /v1/owners/{owner}/endpoints/{endpoint}/secret',
    'GET /v1/replays/{replay}',
    'GET /v1/retry-policy',
    'PATCH /v1/event-types/{name}',
    'PATCH /v1/owners/{owner}',
    'PATCH /v1/owners/{owner}/endpoints/{endpoint}',
    'POST /v1/api-keys',
    'POST /v1/deliveries/{delivery}/retry',
    'POST /v1/event-types',
    'POST /v1/messages',
    'POST /v1/messages/batch',
    'POST /v1/messages/expunge',
    'POST /v1/messages/{message}/expunge',
    'POST /v1/owners',
    'POST /v1/owners/{owner}/endpoints',
    'POST /v1/owners/{owner}/endpoints/{endpoint}/replays',
    'POST /v1/owners/{owner}/endpoints/{endpoint}/secret/rotate',
    'POST /v1/owners/{owner}/tokens',
    'POST /v1/replays/{replay}/cancel',
  ])
  for (const { path, summary, operationId, tags, security, responses } of operations) {
    expect({ summary, operationId, tags }).toEqual({
      summary: expect.any(String),
      operationId: expect.any(String),
      tags: [expect.any(String)],
    })
    if (!path.startsWith('/v1/')) continue
    expect(security).toEqual([{ bearer: [] }])
    for (const status of ['401', '503']) {
      expect(responses[status]!.content!['application/problem+json']!.schema.$ref).toBe(
        '#/components/schemas/Problem',
      )
    }
  }
  expect(new Set(operations.map(({ operationId }) => operationId)).size).toBe(operations.length)
  // Every reference leads somewhere.
  for (const [, name] of JSON.stringify(body).matchAll(/"\$ref":"#\/components\/schemas\/([^"]+)"/g)) {
    expect(body.components.schemas).toHaveProperty(name!)
  }
})

it('/docs loads nothing from outside, and its policy would not let it', async () => {
  const page = await api.request('GET', '/docs/', { key: null })
  expect(page.status).toBe(200)
  expect(page.headers.get('content-type')).toMatch(/^text\/html/)
  expect(page.text).not.toMatch(/https?:\/\//)
  expect(page.text).not.toMatch(/(?:src|href)="\/\//)
  for (const setting of ['"withDefaultFonts": false', '"telemetry": false', '"url": "/openapi.json"']) {
    expect(page.text).toContain(setting)
  }
  expect(page.text).not.toMatch(/proxyUrl/i)

  const policy = page.headers.get('content-security-policy')!
  expect(policy).toContain("default-src 'none'")
  expect(policy).toContain("connect-src 'self'")
  expect(policy).toMatch(/script-src 'self' 'sha256-[A-Za-z0-9+/]{43}='/)
  expect(policy).not.toMatch(/https?:|\*|unsafe-eval/)

  const source = /<script src="([^"]+)"/.exec(page.text)![1]!
  const script = await api.request('GET', new URL(source, 'http://x/docs/').pathname, { key: null })
  expect(script.status).toBe(200)
  expect(script.headers.get('content-type')).toMatch(/javascript/)
  expect(script.text).toContain('createApiReference')
})

it('answers of the API may not be framed, sniffed or run', async () => {
  const { headers } = await api.request('GET', '/healthz', { key: null })
  expect(headers.get('x-content-type-options')).toBe('nosniff')
  expect(headers.get('content-security-policy')).toBe("default-src 'none';frame-ancestors 'none'")
  expect(headers.get('x-powered-by')).toBeNull()
})

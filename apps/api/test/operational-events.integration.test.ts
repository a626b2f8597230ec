import { operationalEvents } from '@posthorn/contracts'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { startTestApi, type TestApi } from './start-test-api.ts'

const NAMES = Object.keys(operationalEvents)

let api: TestApi

beforeAll(async () => {
  api = await startTestApi()
  await post('/v1/owners', { uid: 'acme' })
})
afterAll(() => api.close())

const post = (path: string, body: unknown) => api.request('POST', path, { body })
const reserved = (detail: RegExp) => ({
  status: 422,
  body: { code: 'reserved_event_type', detail: expect.stringMatching(detail) },
})

it('the catalogue has every operational event type, marked and described, and marks no other', async () => {
  await post('/v1/event-types', { name: 'endpoint.opened' })
  const { body } = await api.request('GET', '/v1/event-types')
  expect(body.data).toEqual(
    [...NAMES, 'endpoint.opened'].sort().map((name) => ({
      name,
      description: name === 'endpoint.opened' ? null : expect.stringMatching(/\.$/),
      operational: name !== 'endpoint.opened',
      createdAt: expect.any(String),
      updatedAt: expect.any(String),
    })),
  )
})

it.each(NAMES)('%s cannot be made, changed, deleted or emitted', async (name) => {
  const path = `/v1/event-types/${name}`
  const detail = /is emitted by Posthorn itself/
  expect(await post('/v1/event-types', { name })).toMatchObject(reserved(detail))
  expect(await api.request('PATCH', path, { body: { description: 'mine' } })).toMatchObject(reserved(detail))
  expect(await api.request('DELETE', path)).toMatchObject(reserved(detail))
  const event = { owner: 'acme', type: name, data: {} }
  expect(await post('/v1/messages', event)).toMatchObject(reserved(detail))
  expect(await post('/v1/messages/batch', { messages: [event] })).toMatchObject({
    status: 200,
    body: { data: [{ status: 422, error: { code: 'reserved_event_type' } }] },
  })
  expect((await api.request('GET', `/v1/messages?eventType=${name}`)).body.data).toEqual([])
})

it('any endpoint may subscribe to them', async () => {
  const made = await post('/v1/owners/acme/endpoints', { url: 'https://example.com', eventTypes: NAMES })
  expect(made).toMatchObject({ status: 201, body: { eventTypes: NAMES } })
})

it('a misspelt one is told to whoever subscribes, and no emit is sent to a reserved name', async () => {
  const subscribed = await post('/v1/owners/acme/endpoints', {
    url: 'https://example.com',
    eventTypes: ['endpoint.disable'],
  })
  expect(subscribed.body.detail).toMatch(/Did you mean endpoint\.disabled\?/)
  const emitted = await post('/v1/messages', { owner: 'acme', type: 'endpoint.disable', data: {} })
  expect(emitted).toMatchObject({ status: 422, body: { code: 'unknown_event_type' } })
  expect(emitted.body.detail).not.toContain('endpoint.disabled')
})

it('disabling an endpoint again keeps the first reason and time', async () => {
  const { body: made } = await post('/v1/owners/acme/endpoints', {
    uid: 'gone',
    url: 'https://example.com',
    eventTypes: NAMES,
  })
  const change = (body: unknown) =>
    api.request('PATCH', '/v1/owners/acme/endpoints/gone', { body }).then((answer) => answer.body)
  await api.store.prisma.endpoint.updateMany({
    where: { uid: 'gone' },
    data: { disabledAt: new Date('2026-11-21T12:00:00.000Z'), disabledReason: 'It answered 410.' },
  })
  const disabled = {
    enabled: false,
    disabledAt: '2026-11-21T12:00:00.000Z',
    disabledReason: 'It answered 410.',
  }
  expect(await change({ enabled: false, description: 'gone' })).toMatchObject({
    ...disabled,
    id: made.id,
    description: 'gone',
  })
  expect(await change({ description: 'still gone' })).toMatchObject(disabled)
  expect(await change({ enabled: true })).toMatchObject({ disabledAt: null, disabledReason: null })
  expect(await change({ enabled: false })).toMatchObject({ disabledReason: 'by request' })
})

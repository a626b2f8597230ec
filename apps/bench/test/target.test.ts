import { expect, test } from 'vitest'
import { createTemplate, findId, parseTarget } from '../src/target.ts'

const file = {
  method: 'POST',
  url: 'http://127.0.0.1:7676/v1/messages',
  headers: { 'x-id': '{{id}}' },
  body: { data: { id: '{{id}}', text: '{{payload}}' } },
  idFrom: { json: 'data.id' },
}

test('a body is JSON or text, and goes out as it is', () => {
  expect(parseTarget(JSON.stringify(file)).body).toBe('{"data":{"id":"{{id}}","text":"{{payload}}"}}')
  expect(parseTarget(JSON.stringify({ ...file, body: 'id={{id}}' })).body).toBe('id={{id}}')
})

test.each(['http://127.0.0.1:1/', 'http://127.9.9.9/', 'http://127.1/', 'http://[::1]:7676/x'])(
  '%s is loopback',
  (url) => {
    expect(parseTarget(JSON.stringify({ ...file, url })).url).toBe(url)
  },
)

test.each([
  'http://example.com/',
  'http://localhost/',
  'http://127.0.0.1.example.com/',
  'http://10.0.0.1/',
  'http://0.0.0.0/',
  'http://[::ffff:127.0.0.1]/',
  'http://127.0.0.1@192.0.2.1/',
])('%s gets no load', (url) => {
  expect(() => parseTarget(JSON.stringify({ ...file, url }))).toThrow(/only 127\.0\.0\.0\/8 and \[::1\]/)
})

test.each<[Record<string, unknown>, RegExp]>([
  [{ url: 'https://127.0.0.1/' }, /must begin with http:/],
  [{ url: undefined }, /url must be text/],
  [{ body: undefined }, /body is missing/],
  [{ body: '{{payload}}', headers: {} }, /must have \{\{id\}\}/],
  [{ body: '{{id}} {{uuid}}' }, /\{\{uuid\}\} is no placeholder/],
  [{ idFrom: 'webhook-id' }, /idFrom must be/],
  [{ pids: ['1'] }, /pids must be/],
  [{ uri: '' }, /uri is not known/],
])('%j is refused', (change, said) => {
  expect(() => parseTarget(JSON.stringify({ ...file, ...change }))).toThrow(said)
})

test('placeholders are replaced wherever they are', () => {
  const template = createTemplate('{{id}} {{payload}} {{timestamp}} {{id}}', '$&')
  expect(template({ id: 'a', timestamp: 't' })).toBe('a $& t a')
})

test('an id is found in a header or in a member of the body', () => {
  expect(findId({ header: 'Webhook-Id' }, { 'webhook-id': 'a' }, '')).toBe('a')
  expect(findId({ json: 'data.id' }, {}, '{"data":{"id":"b"}}')).toBe('b')
  for (const body of ['{"data":1}', '{}', 'no JSON', '[]', '{"data":{"id":2}}']) {
    expect(findId({ json: 'data.id' }, {}, body)).toBeUndefined()
  }
})

import { expect, test } from 'vitest'
import { vetHeader } from '../src/index.ts'

test.each([
  ['X-Api-Key', 'abc 123'],
  ['authorization', 'Bearer a.b-c_d/e+f=='],
  ['user-agent', 'Acme\t1'],
])('%s: %j is accepted', (name, value) => {
  expect(vetHeader(name, value)).toEqual({ ok: true })
})

test.each([
  'Host',
  'content-length',
  'Transfer-Encoding',
  'CONNECTION',
  'keep-alive',
  'te',
  'trailer',
  'upgrade',
  'expect',
  'proxy-authorization',
  'Proxy-Anything',
  'accept-encoding',
  'Content-Type',
  'content-encoding',
  'Webhook-Id',
  'webhook-signature',
  'webhook-anything',
])('%s is reserved, in any case', (name) => {
  expect(vetHeader(name, 'x')).toMatchObject({ ok: false, code: 'header_reserved' })
})

test.each(['', 'x y', 'x:', 'x\r\ny', 'x\0', 'caf\u00e9', 'x'.repeat(129)])(
  '%j is no header name',
  (name) => {
    expect(vetHeader(name, 'x')).toMatchObject({ ok: false, code: 'header_name_invalid' })
  },
)

test.each([
  '',
  ' ',
  ' canary',
  'canary ',
  'canary\r\nx: y',
  'canary\n',
  'canary\0',
  'caf\u00e9',
  'x'.repeat(4_097),
])('%j is no header value, and is not repeated', (value) => {
  const result = vetHeader('x-a', value)
  expect(result).toMatchObject({ ok: false, code: 'header_value_invalid' })
  expect(JSON.stringify(result)).not.toContain('canary')
})

test('a long value that nearly matches is judged at once', () => {
  expect(vetHeader('x-a', `${'a '.repeat(50_000)}\u00e9`)).toMatchObject({ ok: false })
})

import { Compile } from 'typebox/compile'
import { describe, expect, it } from 'vitest'
import { NewEndpoint, refusedHeader } from '../src/index.ts'

describe('headers of an endpoint', () => {
  it.each([
    'Host',
    'content-length',
    'Transfer-Encoding',
    'connection',
    'TE',
    'trailer',
    'upgrade',
    'expect',
    'keep-alive',
    'proxy-authorization',
    'Proxy-Connection',
    'content-type',
    'content-encoding',
    'user-agent',
    'webhook-id',
    'Webhook-Anything',
  ])('%s is refused', (name) => {
    expect(refusedHeader(name)).toBeDefined()
  })

  it.each(['authorization', 'x-tenant', 'accept', 'cookie', 'x-host'])('%s is allowed', (name) => {
    expect(refusedHeader(name)).toBeUndefined()
  })

  const check = Compile(NewEndpoint)
  const fits = (headers: Record<string, string>) =>
    check.Check({ url: 'https://example.com', eventTypes: ['a'], headers })

  it('have values that cannot end their line', () => {
    expect(fits({ 'x-a': 'a b', 'x-b': '', 'x-c': '!' })).toBe(true)
    for (const value of ['a\r\nb', 'a\n', '\0', ' a', 'a ', 'ü', 'x'.repeat(2_049)]) {
      expect(fits({ 'x-a': value })).toBe(false)
    }
  })

  it('have names that are tokens', () => {
    for (const name of ['a b', 'a:b', '', 'a\r\n', 'ü', 'x'.repeat(129)])
      expect(fits({ [name]: 'x' })).toBe(false)
  })
})

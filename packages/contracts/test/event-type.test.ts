import fc from 'fast-check'
import { expect, it } from 'vitest'
import { isEventType } from '../src/index.ts'

it.each(['a', 'pay_info.paid', 'A.b_C.9', '_', '0', 'x'.repeat(128)])('%s is an event type', (name) => {
  expect(isEventType(name)).toBe(true)
})

it.each(['', '.', 'a.', '.a', 'a..b', 'a b', 'a-b', 'a/b', 'ä', 'a\n', 'a"', 'x'.repeat(129)])(
  '%j is no event type',
  (name) => {
    expect(isEventType(name)).toBe(false)
  },
)

it('an event type needs no escaping in JSON, a URL or a header', () => {
  fc.assert(
    fc.property(
      fc.string({ unit: fc.constantFrom('a', 'Z', '_', '.', '7', '"', ' ', '\\', 'é') }),
      (name) => {
        if (!isEventType(name)) return
        expect(JSON.stringify(name)).toBe(`"${name}"`)
        expect(encodeURIComponent(name)).toBe(name)
      },
    ),
  )
})

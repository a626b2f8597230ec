import { afterEach, beforeEach, describe, expect, expectTypeOf, test } from 'vitest'
import { EmitError, type HookContext, Posthorn, PosthornError } from '../src/index.ts'
import { API_KEY, startApi, type TestApi } from './start-api.ts'

type Events = { 'pay_info.paid': { order_num: string }; 'refused.type': { order_num: string } }
interface Owner {
  uid: string
}

let api: TestApi
let posthorn: Posthorn<Events>

beforeEach(async () => {
  api = await startApi()
  posthorn = new Posthorn<Events>({ url: api.url, apiKey: API_KEY, retries: 0 })
})
afterEach(async () => {
  await posthorn.close()
  await api.stop()
})

const emitted = () => [...api.accepted.values()]
const rejection = (promise: Promise<unknown>) =>
  promise.then(
    () => undefined,
    (error: unknown) => error,
  )

describe('a hooked function', () => {
  test('emits what it returns to the owner its arguments name, then resolves with it', async () => {
    const confirm = posthorn.hook('pay_info.paid', { owner: (_orderNum: string, owner: Owner) => owner.uid })(
      (orderNum, _owner) => ({ order_num: orderNum, kept: true }),
    )
    const result = await confirm('42', { uid: 'acme' })
    expect(result).toEqual({ order_num: '42', kept: true })
    expect(emitted()).toMatchObject([
      { owner: 'acme', type: 'pay_info.paid', data: { order_num: '42', kept: true } },
    ])
    expectTypeOf(confirm).toEqualTypeOf<
      (this: unknown, orderNum: string, owner: Owner) => Promise<{ order_num: string; kept: boolean }>
    >()
  })

  test('may be asynchronous, and its owner a constant', async () => {
    const confirm = posthorn.hook('pay_info.paid', { owner: 'acme' })(async (orderNum: string) => ({
      order_num: orderNum,
    }))
    expect(await confirm('42')).toEqual({ order_num: '42' })
    expect(emitted()).toMatchObject([{ owner: 'acme', data: { order_num: '42' } }])
  })

  test('gives the very object the function returned, unchanged', async () => {
    const payment = { order_num: '42' }
    const confirm = posthorn.hook('pay_info.paid', { owner: 'acme' })(() => payment)
    expect(await confirm()).toBe(payment)
  })

  test('resolves only when the event is durable', async () => {
    let acceptedAtResolve = -1
    const confirm = posthorn.hook('pay_info.paid', { owner: 'acme' })(() => ({ order_num: '42' }))
    await confirm().then(() => {
      acceptedAtResolve = api.accepted.size
    })
    expect(acceptedAtResolve).toBe(1)
  })

  test('takes id and time from its arguments', async () => {
    const confirm = posthorn.hook('pay_info.paid', {
      owner: 'acme',
      id: (orderNum: string) => `order-${orderNum}-paid`,
      timestamp: () => new Date(0),
    })((orderNum) => ({ order_num: orderNum }))
    await Promise.all([confirm('42'), confirm('42')])
    expect(emitted()).toMatchObject([{ id: 'order-42-paid', timestamp: '1970-01-01T00:00:00.000Z' }])
  })

  test.each([
    [
      'throws',
      () => {
        throw new TypeError('no stock')
      },
    ],
    ['rejects', () => Promise.reject(new TypeError('no stock'))],
  ])('that %s emits nothing, and the same error comes through', async (_, fn) => {
    const confirm = posthorn.hook('pay_info.paid', { owner: 'acme', onEmitError: () => {} })(
      fn as () => never,
    )
    const error = await rejection(confirm())
    expect(error).toBeInstanceOf(TypeError)
    expect(error).toMatchObject({ message: 'no stock' })
    expect(api.requests).toHaveLength(0)
  })

  test('that returns undefined rejects loudly instead of dropping the event', async () => {
    const confirm = posthorn.hook('pay_info.paid', { owner: 'acme' })((() => {}) as never as () => {
      order_num: string
    })
    expect(await rejection(confirm())).toMatchObject({
      name: 'EmitError',
      code: 'invalid_event',
      result: undefined,
    })
    expect(api.requests).toHaveLength(0)
  })
})

describe('when the function ran but its event could not be emitted', () => {
  test('the call rejects with an EmitError that has the result and the cause', async () => {
    const send = posthorn.hook('refused.type', { owner: 'acme' })(() => ({ order_num: '42' }))
    const error = await rejection(send())
    expect(error).toBeInstanceOf(EmitError)
    expect(error).toMatchObject({
      code: 'unknown_event_type',
      status: 422,
      retryable: false,
      messageId: expect.stringMatching(/^msg_/),
      result: { order_num: '42' },
      cause: expect.any(PosthornError),
    })
  })

  test('onEmitError gets the error and the call, is awaited, and the call resolves with the result', async () => {
    const seen: { error: EmitError; context: HookContext }[] = []
    const send = posthorn.hook('refused.type', {
      owner: 'acme',
      onEmitError: async (error, context) => {
        await new Promise(setImmediate)
        seen.push({ error, context })
      },
    })((orderNum: string) => ({ order_num: orderNum }))
    expect(await send('42')).toEqual({ order_num: '42' })
    expect(seen).toMatchObject([
      {
        error: { code: 'unknown_event_type' },
        context: { type: 'refused.type', args: ['42'], result: { order_num: '42' } },
      },
    ])
  })

  test('what onEmitError throws comes through', async () => {
    const send = posthorn.hook('refused.type', {
      owner: 'acme',
      onEmitError: () => {
        throw new RangeError('mine')
      },
    })(() => ({ order_num: '42' }))
    expect(await rejection(send())).toBeInstanceOf(RangeError)
  })

  test('an owner function that throws counts as that: the work was done', async () => {
    const send = posthorn.hook('pay_info.paid', { owner: (owner: Owner) => owner.uid })((_owner: Owner) => ({
      order_num: '42',
    }))
    const error = await rejection(send(undefined as never))
    expect(error).toMatchObject({
      name: 'EmitError',
      result: { order_num: '42' },
      cause: expect.any(TypeError),
    })
  })
})

describe('the wrapper keeps', () => {
  const wrap = <Fn extends (...args: never[]) => { order_num: string }>(fn: Fn) =>
    posthorn.hook('pay_info.paid', { owner: 'acme' })(
      fn as never as () => { order_num: string },
    ) as never as Fn

  test('name, length, own properties and symbols', () => {
    const symbol = Symbol('tag')
    function sendPurchaseConfirmation(_payInfo: unknown, _owner: unknown) {
      return { order_num: '42' }
    }
    const fn = Object.assign(sendPurchaseConfirmation, { retries: 3, [symbol]: 'tagged' })
    const wrapped = wrap(fn)
    expect(wrapped.name).toBe('sendPurchaseConfirmation')
    expect(wrapped.length).toBe(2)
    expect(wrapped.retries).toBe(3)
    expect(wrapped[symbol]).toBe('tagged')
  })

  test('this, for the function and for owner', async () => {
    const payments = {
      uid: 'acme',
      prefix: 'order-',
      confirm: posthorn.hook('pay_info.paid', {
        owner(this: { uid: string }) {
          return this.uid
        },
      })(function (this: { prefix: string }, n: number) {
        return { order_num: this.prefix + n }
      }),
    }
    expect(await payments.confirm(42)).toEqual({ order_num: 'order-42' })
    expect(emitted()).toMatchObject([{ owner: 'acme' }])
  })

  test('classic functions, arrows and bound functions alike', async () => {
    const classic = new Function("return { order_num: 'classic' }") as () => { order_num: string }
    const bound = function (this: { n: string }) {
      return { order_num: this.n }
    }.bind({ n: 'bound' })
    expect(await wrap(classic)()).toEqual({ order_num: 'classic' })
    expect(await wrap(bound)()).toEqual({ order_num: 'bound' })
    expect(wrap(bound).name).toBe('bound ')
  })
})

describe('hook refuses what it cannot wrap:', () => {
  const decorate = (...args: unknown[]) =>
    (posthorn.hook('pay_info.paid', { owner: 'acme' }) as never as (...args: unknown[]) => unknown)(...args)
  test.each<[string, unknown[]]>([
    ['no function', [{}]],
    ['a TC39 getter', [() => 1, { kind: 'getter', name: 'x' }]],
    ['a TC39 class', [class {}, { kind: 'class', name: 'X' }]],
    ['a TC39 field', [undefined, { kind: 'field', name: 'x' }]],
    ['a legacy property', [{}, 'x', undefined]],
    ['a legacy getter', [{}, 'x', { get: () => 1, configurable: true }]],
  ])('%s', (_, args) => {
    expect(() => decorate(...args)).toThrow(PosthornError)
    expect(() => decorate(...args)).toThrow(/hook\("pay_info.paid"\)/)
  })
})

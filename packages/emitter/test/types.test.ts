import { expectTypeOf, test } from 'vitest'
import type { EmittedMessage, EventName, Posthorn, PosthornOptions } from '../src/index.ts'

// tsc proves these: each directive is an error of its own when the line below it compiles.
interface Events {
  'pay_info.paid': { order_num: string; date: string; email: string }
  'user.created': { name: string }
}
interface PayInfo {
  orderNum: string
  confirmDate: string
  email: string
}
interface Owner {
  uid: string
}

declare const posthorn: Posthorn<Events>
declare const untyped: Posthorn
const payload = { order_num: '1', date: '2026-01-01', email: 'a@example.com' }
/** Checked, never run. */
const onlyTyped = (_run: () => unknown) => {}

test('emit takes the names and payloads of the event map only', () => {
  expectTypeOf<EventName<Events>>().toEqualTypeOf<'pay_info.paid' | 'user.created'>()
  onlyTyped(() => {
    expectTypeOf(
      posthorn.emit('pay_info.paid', payload, { owner: 'acme' }),
    ).resolves.toEqualTypeOf<EmittedMessage>()
    // @ts-expect-error no such event
    void posthorn.emit('pay_info.payed', payload, { owner: 'acme' })
    // @ts-expect-error another event's payload
    void posthorn.emit('pay_info.paid', { name: 'x' }, { owner: 'acme' })
    // @ts-expect-error a member is missing
    void posthorn.emit('pay_info.paid', { order_num: '1', date: '2026-01-01' }, { owner: 'acme' })
    // @ts-expect-error a member has another type
    void posthorn.emit('user.created', { name: 1 }, { owner: 'acme' })
    // @ts-expect-error there has to be an owner
    void posthorn.emit('user.created', { name: 'x' }, {})
    // @ts-expect-error undefined is no payload
    void posthorn.emit('user.created', undefined, { owner: 'acme' })
  })
})

test('without an event map every name and payload compiles', () => {
  onlyTyped(() => untyped.emit('anything.at.all', { any: ['thing'] }, { owner: 'acme' }))
})

test('hook types the function by the event, and its owner function by the arguments', () => {
  onlyTyped(() => {
    const annotated = posthorn.hook('pay_info.paid', {
      owner: (_payInfo: PayInfo, owner: Owner) => owner.uid,
    })((payInfo, _owner) => ({
      order_num: payInfo.orderNum,
      date: payInfo.confirmDate,
      email: payInfo.email,
    }))
    expectTypeOf(annotated).parameters.toEqualTypeOf<[PayInfo, Owner]>()
    expectTypeOf(annotated).returns.resolves.toEqualTypeOf<{
      order_num: string
      date: string
      email: string
    }>()

    // As in the README: without types the owner function's parameters are any, not an error.
    posthorn.hook('pay_info.paid', { owner: (_payInfo, owner) => owner.uid })(
      (payInfo: PayInfo, _owner: Owner) => ({ order_num: payInfo.orderNum, date: '', email: '' }),
    )
    // An owner function may look at fewer arguments than the function has, or at more.
    const fewer = posthorn.hook('user.created', { owner: (owner: Owner) => owner.uid })(
      (_owner, name: string) => ({ name }),
    )
    expectTypeOf(fewer).parameters.toEqualTypeOf<[Owner, string]>()
    posthorn.hook('user.created', { owner: () => 'acme' })((name: string) => ({ name }))
    posthorn.hook('user.created', { owner: (_name: string, owner: Owner) => owner.uid })((name) => ({ name }))

    // @ts-expect-error no such event
    posthorn.hook('pay_info.payed', { owner: 'acme' })
    // @ts-expect-error there has to be an owner
    posthorn.hook('pay_info.paid', {})
    // @ts-expect-error an owner is a string
    posthorn.hook('pay_info.paid', { owner: (_payInfo: PayInfo) => 1 })
    // @ts-expect-error another payload
    posthorn.hook('user.created', { owner: 'acme' })(() => ({ nome: 'x' }))
    // @ts-expect-error another payload, later
    posthorn.hook('user.created', { owner: 'acme' })(async () => ({ name: 1 }))
    // @ts-expect-error nothing is no payload
    posthorn.hook('user.created', { owner: 'acme' })(() => {})
    // @ts-expect-error the owner function needs an Owner, the function is called with a string
    posthorn.hook('user.created', { owner: (owner: Owner) => owner.uid })((name: string) => ({ name }))
  })
})

test('options are for REST or for a queue', () => {
  expectTypeOf<{ url: string; apiKey: string }>().toExtend<PosthornOptions>()
  expectTypeOf<{ queue: { redisUrl: string } }>().toExtend<PosthornOptions>()
  expectTypeOf<{ queue: { databaseUrl: string } }>().toExtend<PosthornOptions>()
  expectTypeOf<{ url: string }>().not.toExtend<PosthornOptions>()
  expectTypeOf<{ queue: { redisUrl: string; databaseUrl: string } }>().not.toExtend<PosthornOptions>()
})

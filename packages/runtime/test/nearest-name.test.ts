import { expect, test } from 'vitest'
import { nearestName } from '../src/index.ts'

const eventTypes = ['pay_info.paid', 'pay_info.refunded', 'user.created']

test.each([
  ['pay_info.payed', 'pay_info.paid'],
  ['PAY_INFO.PAID', 'pay_info.paid'],
  ['payinfo.paid', 'pay_info.paid'],
  ['user.create', 'user.created'],
])('%s was probably meant to be %s', (name, nearest) => {
  expect(nearestName(name, eventTypes)).toBe(nearest)
})

test.each(['', 'x', 'invoice.voided'])('nothing is near %j', (name) => {
  expect(nearestName(name, eventTypes)).toBeUndefined()
})

test('the nearest of several near names wins', () => {
  expect(nearestName('item_c', ['item_ab', 'item_cc', 'item_dd'])).toBe('item_cc')
})

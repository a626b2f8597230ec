import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterAll, afterEach, beforeEach, describe, expect, test } from 'vitest'
import { Posthorn } from '../src/index.ts'
import type { definePayments, Events } from './fixtures/payments.ts'
import { API_KEY, startApi, type TestApi } from './start-api.ts'

// Neither Node nor Vitest parses decorators, so the fixture goes through the compiler its users have.
const dir = mkdtempSync(join(tmpdir(), 'posthorn-decorators-'))
const acme = { uid: 'acme' }
let api: TestApi
let posthorn: Posthorn<Events>

beforeEach(async () => {
  api = await startApi()
  posthorn = new Posthorn<Events>({ url: api.url, apiKey: API_KEY })
})
afterEach(async () => {
  await posthorn.close()
  await api.stop()
})
afterAll(() => rmSync(dir, { recursive: true, force: true }))

describe.each([
  ['TC39 decorators', 'tc39', false],
  ['legacy decorators (experimentalDecorators)', 'legacy', true],
])('%s', (_, name, experimentalDecorators) => {
  const compiled = compile(name, experimentalDecorators)
  const define: typeof definePayments = (...args) => compiled().definePayments(...args)
  const emitted = () => [...api.accepted.values()]

  test('a method emits what it returns, with its own this', async () => {
    const { Payments } = define(posthorn, tag)
    const payments = new Payments()
    payments.prefix = 'mine-'
    expect(await payments.confirm('42', acme)).toEqual({ order_num: 'mine-42' })
    expect(emitted()).toMatchObject([
      { owner: 'acme', type: 'pay_info.paid', data: { order_num: 'mine-42' } },
    ])
  })

  test('a synchronous method too, which then has to be awaited', async () => {
    const { Payments } = define(posthorn, tag)
    const returned: unknown = new Payments().confirmNow('42', acme)
    expect(returned).toBeInstanceOf(Promise)
    expect(await returned).toEqual({ order_num: 'order-42' })
    expect(emitted()).toHaveLength(1)
  })

  test('a static method too', async () => {
    const { Payments } = define(posthorn, tag)
    expect(await Payments.confirmAll('42')).toEqual({ order_num: 'Payments-42' })
    expect(emitted()).toMatchObject([{ owner: 'constant' }])
  })

  test('a method that throws emits nothing', async () => {
    const { Payments } = define(posthorn, tag)
    await expect((async () => new Payments().fails('42', acme))()).rejects.toThrow(TypeError)
    expect(api.requests).toHaveLength(0)
  })

  test('name, length and descriptor stay those of the method', () => {
    const { Payments } = define(posthorn, tag)
    expect(Payments.prototype.confirm.name).toBe('confirm')
    expect(Payments.prototype.confirm.length).toBe(2)
    expect(Object.getOwnPropertyDescriptor(Payments.prototype, 'confirm')).toMatchObject({
      configurable: true,
      enumerable: false,
      writable: true,
    })
    expect(new Payments().confirm).toBe(new Payments().confirm)
  })

  test('what decorators below and above leave on the method stays', () => {
    const { Payments } = define(posthorn, tag)
    for (const method of [Payments.prototype.taggedBelow, Payments.prototype.taggedAbove]) {
      expect((method as unknown as { tag?: string }).tag).toBe('tagged')
    }
  })
})

test('reflect-metadata on the function is carried over', () => {
  const metadata = new WeakMap<object, Map<unknown, unknown>>()
  const reflection = {
    getOwnMetadataKeys: (target: object) => [...(metadata.get(target)?.keys() ?? [])],
    getOwnMetadata: (key: unknown, target: object) => metadata.get(target)?.get(key),
    defineMetadata: (key: unknown, value: unknown, target: object) => {
      metadata.set(target, (metadata.get(target) ?? new Map()).set(key, value))
    },
  }
  Object.assign(Reflect, reflection)
  try {
    const fn = () => ({ order_num: '42' })
    reflection.defineMetadata('path', '/payments', fn)
    const wrapped = posthorn.hook('pay_info.paid', { owner: 'acme' })(fn)
    expect(reflection.getOwnMetadata('path', wrapped)).toBe('/payments')
  } finally {
    for (const key of Object.keys(reflection)) Reflect.deleteProperty(Reflect, key)
  }
})

/** Marks the function, in either kind of decorator. */
function tag(target: unknown, place: unknown, descriptor?: PropertyDescriptor): void {
  const method = typeof place === 'object' ? target : descriptor?.value
  Object.assign(method as object, { tag: 'tagged' })
}

function compile(
  name: string,
  experimentalDecorators: boolean,
): () => typeof import('./fixtures/payments.ts') {
  const outDir = join(dir, name)
  const config = join(dir, `${name}.json`)
  const typeRoots = [join(import.meta.dirname, '../../../node_modules/@types')]
  const compilerOptions = {
    ...{ target: 'es2022', lib: ['es2024', 'esnext.disposable', 'esnext.decorators'], module: 'commonjs' },
    ...{ moduleResolution: 'bundler', strict: true, exactOptionalPropertyTypes: true, skipLibCheck: true },
    ...{ types: ['node'], typeRoots, rewriteRelativeImportExtensions: true, experimentalDecorators },
    ...{ outDir, rootDir: join(import.meta.dirname, '../../..') },
  }
  const files = [join(import.meta.dirname, 'fixtures/payments.ts')]
  writeFileSync(config, JSON.stringify({ compilerOptions, files }))
  const require = createRequire(import.meta.url)
  const tsc = join(dirname(require.resolve('typescript/package.json')), 'bin/tsc')
  execFileSync(process.execPath, [tsc, '-p', config], { stdio: 'inherit' })
  writeFileSync(join(dir, 'package.json'), '{"type":"commonjs"}')
  return () => require(join(outDir, 'packages/emitter/test/fixtures/payments.js'))
}

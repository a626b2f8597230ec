import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'

const index = new URL('../src/index.ts', import.meta.url).href

/** Emits in a process in which the package cannot be found, as where it is not installed. */
async function emitWithout(missing: string, queue: object): Promise<string> {
  const script = `
    import { registerHooks } from 'node:module'
    registerHooks({
      resolve(specifier, context, next) {
        if (specifier !== ${JSON.stringify(missing)}) return next(specifier, context)
        throw Object.assign(new Error('Cannot find package'), { code: 'ERR_MODULE_NOT_FOUND' })
      },
    })
    const { Posthorn } = await import(${JSON.stringify(index)})
    const posthorn = new Posthorn({ queue: ${JSON.stringify(queue)} })
    const error = await posthorn.emit('a', {}, { owner: 'acme' }).catch((reason) => reason)
    await posthorn.close()
    process.stdout.write(error.code + ': ' + error.message)
  `
  const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '-e', script])
  return stdout
}

test.each([
  ['bullmq', { redisUrl: 'redis://127.0.0.1:1' }],
  ['bullmq', { databaseUrl: 'postgres://127.0.0.1:1/db' }],
  ['ioredis', { redisUrl: 'redis://127.0.0.1:1' }],
  ['pg', { databaseUrl: 'postgres://127.0.0.1:1/db' }],
])('a queue without the package %s says how to install it', async (missing, queue) => {
  expect(await emitWithout(missing, queue)).toBe(
    `missing_package: The queue transport needs the package "${missing}": npm install ${missing}`,
  )
})

test('the REST transport needs none of them', async () => {
  const script = `
    import { registerHooks } from 'node:module'
    registerHooks({
      resolve(specifier, context, next) {
        if (['bullmq', 'ioredis', 'pg'].includes(specifier)) throw new Error('loaded ' + specifier)
        return next(specifier, context)
      },
    })
    const { Posthorn } = await import(${JSON.stringify(index)})
    const posthorn = new Posthorn({ url: 'http://127.0.0.1:1', apiKey: 'k', retries: 0 })
    const error = await posthorn.emit('a', {}, { owner: 'acme' }).catch((reason) => reason)
    process.stdout.write(error.code)
  `
  const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '-e', script])
  expect(stdout).toBe('network_error')
})

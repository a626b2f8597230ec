import { startReceiver } from '@posthorn/testkit'
import { test } from 'vitest'
import { makeDataDir, spawnPosthorn } from './spawn-posthorn.ts'

test('start with several workers delivers by them; Ctrl-C lets them finish and leaves nothing behind', async (context) => {
  const { expect } = context
  const receiver = await startReceiver()
  context.onTestFinished(() => receiver.close())
  const posthorn = spawnPosthorn(context, ['start'], {
    ...{ POSTHORN_DATA_DIR: await makeDataDir(context), POSTHORN_PORT: '0', POSTHORN_WORKERS: '3' },
    ...{ POSTHORN_EGRESS_ALLOW: '127.0.0.0/8', POSTHORN_LOG_LEVEL: 'debug' },
  })
  const url = (await posthorn.waitForLine(/^Posthorn is ready: {2}(\S+)$/))[1]!
  const key = (await posthorn.waitForLine(/^API key: +(\S+)$/))[1]!
  const post = async (path: string, body: object) => {
    const headers = { authorization: `Bearer ${key}`, 'content-type': 'application/json' }
    const response = await fetch(url + path, { method: 'POST', headers, body: JSON.stringify(body) })
    expect(response.status).toBeLessThan(300)
  }
  await post('/v1/event-types', { name: 'pay_info.paid' })
  await post('/v1/owners', { uid: 'acme' })
  await post('/v1/owners/acme/endpoints', { url: receiver.url, eventTypes: ['pay_info.paid'] })
  const hold = receiver.hold()
  await post('/v1/messages', { owner: 'acme', type: 'pay_info.paid', data: { n: 1 } })
  await receiver.waitFor(1)
  // Each of them gets the signal, and is told by the first process besides.
  posthorn.signalGroup('SIGINT')
  await posthorn.waitForLine(new RegExp(`"pid":(?!${posthorn.pid},).*shutting down`))
  hold.release()
  expect(await posthorn.exited).toEqual({ code: 0, signal: null })
  expect(posthorn.stdout()).toMatch(
    new RegExp(`"pid":(?!${posthorn.pid},).*"next":"delivered".*delivery\\.attempted`),
  )
  expect(posthorn.stdout()).not.toContain('second signal')
  // The process group is gone.
  expect(() => process.kill(-posthorn.pid, 0)).toThrow('ESRCH')
  expect(`${posthorn.stdout()}${posthorn.stderr()}`).not.toMatch(/postgres(ql)?:\/\/\w+:[^[]/)
})

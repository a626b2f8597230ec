import { join } from 'node:path'
import { freePort } from '@posthorn/testkit'
import { describe, expect, it, onTestFinished } from 'vitest'
import { tryOwnerLock } from '../src/owner-lock.ts'
import { isReady, makeDir, query, run, start } from './embedded-harness.ts'

describe('two starts on one directory', () => {
  it('the second joins, and its stop() leaves the server to the first', async () => {
    const dataDir = makeDir()
    const program = run([dataDir])
    const owner = await isReady(program)
    const joiner = await start({ dataDir })
    expect(joiner).toMatchObject({ started: 'joined', pid: owner.pid, url: owner.url })
    await query(joiner.url, 'CREATE TABLE shared (id int)')
    await joiner.stop()
    expect(await query(owner.url, 'SELECT id FROM shared')).toEqual([])

    program.kill('SIGINT')
    await program.exited
    const next = await start({ dataDir })
    expect(next.started).toBe('resumed')
    expect(await query(next.url, 'SELECT id FROM shared')).toEqual([])
  })

  it('six starts at once, in three processes, make one server', async () => {
    const dataDir = join(makeDir(), 'postgres')
    const programs = [run([dataDir]), run([dataDir])]
    const here = [1, 2, 3, 4].map(() => start({ dataDir }))
    const all = [...(await Promise.all(here)), ...(await Promise.all(programs.map(isReady)))]
    expect(all.map(({ started }) => started).toSorted()).toEqual([...Array(5).fill('joined'), 'new'])
    expect(new Set(all.map(({ pid }) => pid)).size).toBe(1)
    expect(new Set(all.map(({ url }) => url)).size).toBe(1)
  })

  it('a start that finds the owner stopping waits for its turn', async () => {
    const dataDir = makeDir()
    const first = await start({ dataDir })
    const stopped = first.stop()
    const second = await start({ dataDir })
    await stopped
    expect(['resumed', 'joined']).toContain(second.started)
    if (second.started === 'resumed') expect(await query(second.url, 'SELECT 1 AS one')).toEqual([{ one: 1 }])
  })

  it('a joiner that asks for another port is refused', async () => {
    const dataDir = makeDir()
    await start({ dataDir })
    await expect(start({ dataDir, port: await freePort() })).rejects.toMatchObject({
      code: 'data_dir_in_use',
    })
  })

  it('an owner whose server does not answer is an error that names the directory', async () => {
    const dataDir = makeDir()
    const lock = tryOwnerLock(join(dataDir, 'owner.lock'))
    onTestFinished(() => lock?.release())
    await expect(start({ dataDir, joinTimeoutMs: 100 })).rejects.toMatchObject({
      code: 'data_dir_in_use',
      message: expect.stringContaining(dataDir),
    })
  })
})

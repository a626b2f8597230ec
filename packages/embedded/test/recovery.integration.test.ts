import { spawn } from 'node:child_process'
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { freePort, waitFor } from '@posthorn/testkit'
import { describe, expect, it, onTestFinished } from 'vitest'
import { serverProcesses } from '../src/server-processes.ts'
import { isReady, isRoot, makeDir, nobody, query, run, start } from './embedded-harness.ts'

describe('after kill -9', () => {
  it('of the server, the next start recovers every committed row', async () => {
    const dataDir = makeDir()
    const server = await start({ dataDir })
    await query(server.url, 'CREATE TABLE kept AS SELECT generate_series(1, 1000) AS id')
    process.kill(server.pid, 'SIGKILL')

    const again = await start({ dataDir })
    expect(again.started).toBe('recovered')
    expect(await query(again.url, 'SELECT count(*)::int AS rows FROM kept')).toEqual([{ rows: 1000 }])
    await server.stop()
    expect(await query(again.url, 'SELECT 1 AS one')).toEqual([{ one: 1 }])
  })

  it('of the program, the next start takes its server over and stops it in the end', async () => {
    const dataDir = makeDir()
    const program = run([dataDir])
    const before = await isReady(program)
    await query(before.url, 'CREATE TABLE kept AS SELECT 1 AS id')
    program.kill('SIGKILL')
    await program.exited

    const after = await start({ dataDir })
    expect(after).toMatchObject({ started: 'recovered', pid: before.pid, url: before.url })
    expect(await query(after.url, 'SELECT id FROM kept')).toEqual([{ id: 1 }])
    await after.stop()
    expect(serverProcesses(after.dataDir)).toEqual([])
  })

  it('of the program, a start on another port moves the server there', async () => {
    const dataDir = makeDir()
    const program = run([dataDir])
    const before = await isReady(program)
    program.kill('SIGKILL')
    await program.exited
    const port = await freePort()
    const after = await start({ dataDir, port })
    expect(after).toMatchObject({ started: 'recovered', port })
    expect(after.pid).not.toBe(before.pid)
  })

  it('of both, the next start recovers', async () => {
    const dataDir = makeDir()
    const program = run([dataDir])
    const before = await isReady(program)
    await query(before.url, 'CREATE TABLE kept AS SELECT 1 AS id')
    program.kill('SIGKILL')
    process.kill(before.pid, 'SIGKILL')
    await program.exited
    const after = await start({ dataDir })
    expect(after.started).toBe('recovered')
    expect(await query(after.url, 'SELECT id FROM kept')).toEqual([{ id: 1 }])
  })

  it('while the cluster is made, the next start makes it anew', async () => {
    const dataDir = makeDir()
    const program = run([dataDir])
    const isMaking = () =>
      readdirSync(dataDir).some((name) => existsSync(join(dataDir, name, 'global', 'pg_control')))
    await waitFor(isMaking, { message: 'initdb to be at work' })
    program.kill('SIGKILL')
    await program.exited
    expect(existsSync(join(dataDir, 'cluster'))).toBe(false)

    const server = await start({ dataDir })
    expect(server.started).toBe('new')
    await query(server.url, 'CREATE TABLE kept (id int)')
    await server.stop()
    // The orphaned initdb may be at work for a moment yet; a start after that clears its remains away.
    const isTidy = async () => {
      const again = await start({ dataDir })
      expect(await query(again.url, 'SELECT id FROM kept')).toEqual([])
      await again.stop()
      return readdirSync(dataDir).toSorted().join() === 'cluster,owner.lock,password,start.log'
    }
    await waitFor(isTidy, { message: 'a start to leave only what belongs there', timeoutMs: 30_000 })
  })

  it('a pid that belongs to another program by now does not keep the server from starting', async () => {
    const dataDir = makeDir()
    const server = await start({ dataDir })
    process.kill(server.pid, 'SIGKILL')
    await waitFor(() => serverProcesses(server.dataDir).length === 0)
    // Run as the server's user: PostgreSQL looks only at those.
    const bystander = spawn('sleep', ['300'], isRoot ? nobody : {})
    onTestFinished(() => void bystander.kill('SIGKILL'))
    const pidPath = join(server.dataDir, 'postmaster.pid')
    writeFileSync(pidPath, readFileSync(pidPath, 'utf8').replace(/^\d+/, String(bystander.pid)))

    expect((await start({ dataDir })).started).toBe('recovered')
    expect(bystander.exitCode).toBe(null)
  })
})

describe('Ctrl-C', () => {
  it('reaches the program and not its server, which answers until the program stops it', async () => {
    const program = run([makeDir()], { ownGroup: true })
    const { clusterDir } = await isReady(program)
    program.signalGroup('SIGINT')
    await program.waitForLine(/"drained":1/)
    expect(await program.exited).toEqual({ code: 0, signal: null })
    expect(serverProcesses(clusterDir)).toEqual([])
  })

  it('a program that ends without stop() takes its server with it', async () => {
    const program = run([makeDir()])
    const { clusterDir } = await isReady(program)
    program.kill('SIGUSR2')
    expect(await program.exited).toMatchObject({ code: 3 })
    await waitFor(() => serverProcesses(clusterDir).length === 0, { message: 'the server to end' })
  })
})

import { execFileSync, spawn } from 'node:child_process'
import { chmodSync, chownSync, readdirSync, readFileSync, realpathSync, rmSync, statSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { createInterface } from 'node:readline'
import { describe, expect, it, onTestFinished } from 'vitest'
import { serverProcesses } from '../src/server-processes.ts'
import {
  cloneInto,
  hasFailed,
  hasSetpriv,
  isReady,
  isRoot,
  makeDir,
  nobody,
  programPath,
  query,
  readAll,
  run,
  start,
} from './embedded-harness.ts'

describe('users', () => {
  it.runIf(isRoot)(
    'under root, the server runs as an unprivileged user and owns only the cluster',
    async () => {
      const dataDir = makeDir()
      const server = await start({ dataDir })
      const uid = execFileSync('ps', ['-o', 'uid=', '-p', String(server.pid)], { encoding: 'utf8' }).trim()
      expect(uid).toBe(String(nobody.uid))
      expect(statSync(server.dataDir).uid).toBe(nobody.uid)
      expect(statSync(join(dataDir, 'password')).uid).toBe(0)
    },
  )

  it.runIf(isRoot)(
    'under root in the directory of an ordinary user, that user can start it next time',
    async () => {
      const parent = makeDir()
      chownSync(parent, nobody.uid, nobody.gid)
      const dataDir = join(parent, '.posthorn', 'postgres')
      const server = await start({ dataDir })
      await query(server.url, 'CREATE TABLE kept (id int)')
      await server.stop()

      const program = run([dataDir], nobody)
      const ready = await isReady(program)
      expect(ready.started).toBe('resumed')
      expect(await query(ready.url, 'SELECT id FROM kept')).toEqual([])
      program.kill('SIGINT')
      expect(await program.exited).toMatchObject({ code: 0 })
    },
  )

  it.runIf(isRoot)('an ordinary user runs it as itself', async () => {
    const parent = makeDir()
    chownSync(parent, nobody.uid, nobody.gid)
    const program = run([join(parent, 'postgres')], nobody)
    const ready = await isReady(program)
    expect(ready.started).toBe('new')
    const uid = execFileSync('ps', ['-o', 'uid=', '-p', String(ready.pid)], { encoding: 'utf8' }).trim()
    expect(uid).toBe(String(nobody.uid))
    expect(statSync(join(parent, 'postgres')).mode & 0o777).toBe(0o700)
    program.kill('SIGINT')
    expect(await program.exited).toMatchObject({ code: 0 })
    expect(serverProcesses(ready.clusterDir)).toEqual([])
  })

  it.runIf(isRoot)('an ordinary user is told when the directory belongs to another', async () => {
    const dataDir = join(makeDir(), 'postgres')
    await (await start({ dataDir })).stop()
    const program = run([dataDir], { uid: 1, gid: 1 })
    expect(await hasFailed(program)).toMatchObject({ failed: 'data_dir_not_permitted' })
  })

  it.runIf(isRoot && hasSetpriv())('a root that may not signal other users stops its server', async () => {
    const child = spawn('setpriv', [
      ...['--bounding-set=-kill', '--inh-caps=-kill', process.execPath, programPath],
      join(makeDir(), 'postgres'),
    ])
    onTestFinished(() => void child.kill('SIGKILL'))
    const lines = createInterface({ input: child.stdout })
    const said = []
    for await (const line of lines) {
      said.push(JSON.parse(line))
      if (line.startsWith('{"ready"')) child.kill('SIGINT')
    }
    const ready = said.find((line) => line.ready)
    expect(said.at(-1)).toEqual({ drained: 1 })
    expect(serverProcesses(ready.clusterDir)).toEqual([])
  })

  it.runIf(isRoot && hasSetpriv())('a root that may not change its user is told what to do', async () => {
    const child = spawn('setpriv', [
      ...['--bounding-set=-setuid', '--inh-caps=-setuid', process.execPath, programPath],
      join(makeDir(), 'postgres'),
    ])
    expect(await readAll(child)).toContain('"failed":"cannot_drop_privileges"')
  })

  it.runIf(isRoot)(
    'a clone that other users cannot enter: binaries and data go where the server reaches them',
    async () => {
      const closed = makeDir()
      chmodSync(closed, 0o700)
      const reachableDir = join(makeDir(), 'reachable')
      const program = cloneInto(closed)
      const dataDir = join(closed, '.posthorn', 'postgres')

      const first = run([dataDir, reachableDir], {}, program)
      const ready = await isReady(first)
      expect(ready.started).toBe('new')
      expect(dirname(ready.clusterDir)).toBe(reachableDir)
      expect(statSync(ready.clusterDir)).toMatchObject({ uid: nobody.uid })
      expect(statSync(ready.clusterDir).mode & 0o777).toBe(0o700)
      expect(readFileSync(join(dataDir, 'cluster-is-elsewhere.txt'), 'utf8')).toContain(ready.clusterDir)
      expect(first.stdout()).toContain('cannot reach')
      expect(first.stdout()).toContain('its data is not in')

      const [copy] = readdirSync(join(reachableDir, 'bin'))
      const postgresPath = join(reachableDir, 'bin', copy!, 'bin', 'postgres')
      expect(statSync(postgresPath)).toMatchObject({ uid: 0 })
      expect(statSync(postgresPath).mode & 0o022).toBe(0)
      expect(realpathSync(`/proc/${ready.pid}/exe`)).toBe(postgresPath)

      await query(ready.url, 'CREATE TABLE kept (id int)')
      first.kill('SIGINT')
      await first.exited

      const second = run([dataDir, reachableDir], {}, program)
      const again = await isReady(second)
      expect(again).toMatchObject({ started: 'resumed', clusterDir: ready.clusterDir })
      expect(second.stdout()).not.toContain('progress')
      expect(await query(again.url, 'SELECT id FROM kept')).toEqual([])
      second.kill('SIGINT')
      await second.exited

      // Who removes the data directory means to start afresh.
      rmSync(join(closed, '.posthorn'), { recursive: true })
      const third = run([dataDir, reachableDir], {}, program)
      const fresh = await isReady(third)
      expect(fresh.started).toBe('new')
      expect(third.stdout()).toContain(`earlier data is still in ${ready.clusterDir}`)
      await expect(query(fresh.url, 'SELECT id FROM kept')).rejects.toMatchObject({ code: '42P01' })
    },
  )

  it.runIf(isRoot)('binaries are not run from a directory that another user could have written', async () => {
    const closed = makeDir()
    chmodSync(closed, 0o700)
    const reachableDir = makeDir()
    chownSync(reachableDir, nobody.uid, nobody.gid)
    const program = run([join(closed, 'postgres'), reachableDir], {}, cloneInto(closed))
    expect(await hasFailed(program)).toMatchObject({ failed: 'binaries_unusable' })
  })
})

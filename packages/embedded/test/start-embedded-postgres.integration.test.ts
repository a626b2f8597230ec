import { execFileSync } from 'node:child_process'
import { existsSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { networkInterfaces } from 'node:os'
import { join } from 'node:path'
import { freePort } from '@posthorn/testkit'
import pg from 'pg'
import { describe, expect, it, onTestFinished } from 'vitest'
import { serverProcesses } from '../src/server-processes.ts'
import { makeDir, query, start } from './embedded-harness.ts'

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

describe('what cannot work says so', () => {
  it('a port that is taken', async () => {
    const taken = createServer()
    await new Promise<void>((resolve) => taken.listen(0, '127.0.0.1', resolve))
    onTestFinished(() => void taken.close())
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

import { readFileSync } from 'node:fs'
import { parseSettings } from '@posthorn/runtime'
import { spawnNode, TEST_MASTER_KEY } from '@posthorn/testkit'
import { describe, expect, test } from 'vitest'
import { ROOT, readComposeFile, resolveEnvironment } from './compose-file.ts'

const { services, volumes } = readComposeFile()
const secrets = {
  POSTHORN_API_KEY: 'k'.repeat(32),
  POSTHORN_MASTER_KEY: TEST_MASTER_KEY,
  POSTGRES_PASSWORD: 'p'.repeat(32),
}
const ours = ['migrate', 'api', 'worker'].map((name) => ({ name, service: services[name]! }))

describe.each(ours)('$name in docker-compose.yml', ({ service }) => {
  test('has an environment that the program takes, in the mode with Redis', () => {
    const settings = parseSettings(resolveEnvironment(service, secrets))
    expect(settings).toMatchObject({ mode: 'redis', host: '0.0.0.0', apiKey: secrets.POSTHORN_API_KEY })
    expect(new URL(settings.databaseUrl!).hostname).toBe('postgres')
    expect(new URL(settings.redisUrl!).hostname).toBe('redis')
  })

  test('does not start without its secrets', () => {
    for (const name of Object.keys(secrets)) {
      expect(() => resolveEnvironment(service, { ...secrets, [name]: undefined! })).toThrow(name)
    }
  })

  test('runs a command that the program has', async () => {
    const [node, script, ...args] = service.command!
    expect(node).toBe('node')
    const help = spawnNode(script!, [...args, '--help'], { cwd: ROOT })
    expect(await help.exited).toEqual({ code: 0, signal: null })
    expect(help.stdout()).toContain(`posthorn ${args[0]}`)
  })
})

test('whoever waits for a service waits for one that there is, and that can tell', () => {
  for (const { depends_on = {} } of Object.values(services)) {
    for (const [name, { condition }] of Object.entries(depends_on)) {
      const awaited = services[name]
      expect(awaited, name).toBeDefined()
      if (condition === 'service_healthy') expect(awaited!.healthcheck, name).toBeDefined()
      else expect([name, condition]).toEqual(['migrate', 'service_completed_successfully'])
    }
  }
})

test('commands and checks are lists of texts', () => {
  for (const { command = [], healthcheck } of Object.values(services)) {
    for (const part of [...command, ...(healthcheck?.test ?? [])]) expect(part).toBeTypeOf('string')
  }
})

test('data is kept in volumes that are declared', () => {
  const used = Object.values(services).flatMap((service) => service.volumes ?? [])
  expect(used.map((volume) => volume.split(':')[0]).sort()).toEqual(Object.keys(volumes).sort())
})

test('Redis keeps an append-only file and evicts nothing', () => {
  const command = services.redis!.command!.join(' ')
  expect(command).toContain('--appendonly yes')
  expect(command).toContain('--maxmemory-policy noeviction')
})

test('the API can be reached from this machine only', () => {
  expect(services.api!.ports).toEqual(['127.0.0.1:7676:7676'])
  const published = Object.keys(services).filter((name) => services[name]!.ports !== undefined)
  expect(published).toEqual(['api'])
})

describe('Dockerfile', () => {
  const dockerfile = readFileSync(`${ROOT}Dockerfile`, 'utf8')

  test('starts what docker-compose.yml starts as api, and not as root', () => {
    const command = /^CMD (.*)$/m.exec(dockerfile)![1]!
    expect(JSON.parse(command)).toEqual(services.api!.command)
    expect(dockerfile).toMatch(/^USER node$/m)
  })

  test('has the Node and the pnpm that the workspace is made for', () => {
    const { devEngines } = JSON.parse(readFileSync(`${ROOT}package.json`, 'utf8')) as {
      devEngines: { packageManager: { version: string } }
    }
    const pnpmVersions = [...dockerfile.matchAll(/pnpm@([\d.]+)/g)].map(([, version]) => version)
    expect(new Set(pnpmVersions)).toEqual(new Set([devEngines.packageManager.version]))
    const nodeVersions = [...dockerfile.matchAll(/^FROM node:(\d+)-slim/gm)].map(([, version]) => version)
    expect(new Set(nodeVersions)).toEqual(new Set([process.versions.node.split('.')[0]]))
  })

  test('takes neither secrets nor data of this machine along', () => {
    const ignored = readFileSync(`${ROOT}.dockerignore`, 'utf8').split('\n')
    for (const path of ['.env', '.posthorn', '.git', '**/node_modules']) expect(ignored).toContain(path)
  })
})

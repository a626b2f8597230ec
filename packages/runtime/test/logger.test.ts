import { expect, test } from 'vitest'
import { createLogger } from '../src/index.ts'

test('secrets are in no log line, whichever field or error carries them', () => {
  const { lines, logger } = capturedLogger()
  const canary = 'canary-7f3a'
  logger.info({ apiKey: canary, settings: { masterKey: canary, databaseUrl: `postgres://u:${canary}@h/d` } })
  logger.info({ req: { headers: { authorization: `Bearer ${canary}` } }, endpoint: { secret: canary } })
  logger.error({ err: new Error(`no route to redis://user:${canary}@cache:6379`) }, 'cannot connect')
  logger.error({ err: new Error(`bad secret whsec_${canary}`) })
  logger.error(new Error(`postgres://posthorn:${canary}@db`))

  expect(lines).toHaveLength(5)
  expect(lines.join('')).not.toContain(canary)
  expect(lines.join('')).toContain('redis://[redacted]@cache:6379')
})

test('lines below the level are not written', () => {
  const { lines, logger } = capturedLogger()
  logger.debug('too fine')
  logger.info({ deliveryId: 'dlv_1' }, 'delivered')
  expect(lines.map((line) => JSON.parse(line))).toEqual([
    expect.objectContaining({ name: 'test', level: 30, deliveryId: 'dlv_1', msg: 'delivered' }),
  ])
})

function capturedLogger() {
  const lines: string[] = []
  const destination = { write: (line: string) => void lines.push(line) }
  return { lines, logger: createLogger({ level: 'info', name: 'test', destination }) }
}

test('redacting keeps a line the same JSON', () => {
  const { lines, logger } = capturedLogger()
  const line = { url: 'https://example.com', email: 'a@example.com', note: 'postgres://u:p@db/x' }
  logger.info(line)
  expect(JSON.parse(lines[0]!)).toMatchObject({ ...line, note: 'postgres://[redacted]@db/x' })
})

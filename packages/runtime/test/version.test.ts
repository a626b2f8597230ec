import { readFile } from 'node:fs/promises'
import { expect, test } from 'vitest'
import { version } from '../src/index.ts'

test('the program says the version that its package has', async () => {
  const manifest = JSON.parse(await readFile(new URL('../../../package.json', import.meta.url), 'utf8'))
  expect(version).toBe(manifest.version)
})

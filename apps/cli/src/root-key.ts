import { randomBytes } from 'node:crypto'
import { chmod, mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Settings } from '@posthorn/runtime'
import { CommandError } from './command-error.ts'

export interface RootKey {
  key: string
  /** The file that holds it; undefined where it came from POSTHORN_API_KEY. */
  path: string | undefined
  /** It was made just now: this is the time to show it. */
  isNew: boolean
}

/** The root key from the settings, or the one in the data folder (mode 0600), made at the first start. */
export async function loadRootKey(settings: Settings): Promise<RootKey> {
  if (settings.apiKey !== undefined) return { key: settings.apiKey, path: undefined, isNew: false }
  const path = join(settings.dataDir, 'api-key')
  await mkdir(settings.dataDir, { recursive: true })
  const key = `phk_${randomBytes(32).toString('base64url')}`
  try {
    // Exclusively: of two first starts at once, one makes it and the other reads it.
    await writeFile(path, `${key}\n`, { mode: 0o600, flag: 'wx' })
    await chmod(path, 0o600)
    return { key, path, isNew: true }
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
  }
  const found = (await readFile(path, 'utf8')).trim()
  if (found.length < 16) {
    throw new CommandError(
      `${path} holds no API key. Delete it to have a new one made, or set POSTHORN_API_KEY.`,
    )
  }
  return { key: found, path, isNew: false }
}

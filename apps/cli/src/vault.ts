import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import { parseMasterKeys, type Settings } from '@posthorn/runtime'
import {
  createVault,
  missingMasterKeys,
  type Pool,
  sealPlainSecrets,
  sqlState,
  type Vault,
} from '@posthorn/store'
import { CommandError } from './command-error.ts'
import { keepPrivateFile } from './keep-private-file.ts'

/** A new master key, as POSTHORN_MASTER_KEY takes it. */
export function makeMasterKey(): string {
  return randomBytes(32).toString('base64')
}

/**
 * The master keys from the settings; in embedded mode the one in the data folder (mode 0600), made at the first
 * start. With a database of the operator's own there is no such folder to keep: it has to be given.
 */
export async function loadMasterKeys(settings: Settings): Promise<Buffer[]> {
  if (settings.masterKeys !== undefined) return settings.masterKeys
  if (settings.mode !== 'embedded') {
    throw new CommandError(
      'POSTHORN_MASTER_KEY is not set: the signing secrets in the database are encrypted under it. Make one with `openssl rand -base64 32` or `posthorn master-key create`, keep it safe, and give it to every process.',
    )
  }
  const path = join(settings.dataDir, 'master-key')
  const keys = parseMasterKeys((await keepPrivateFile(path, makeMasterKey)).trim())
  if (keys !== undefined) return keys
  throw new CommandError(
    `${path} holds no master key. Restore it from a backup: the signing secrets in the database cannot be read without it.`,
  )
}

/** The vault of these keys, on a database that is migrated and has nothing that they cannot decrypt. */
export async function openVault(pool: Pool, masterKeys: readonly Buffer[]): Promise<Vault> {
  const vault = createVault(masterKeys)
  try {
    const missing = await missingMasterKeys(pool, vault)
    if (missing.length > 0) throw missingError(missing, vault)
    await sealPlainSecrets(pool, vault)
    return vault
  } catch (error) {
    // 42P01, 42703: a table or a column that is not there.
    if (!['42P01', '42703'].includes(sqlState(error) ?? '')) throw error
    throw new CommandError('The database has not been brought up to date. Run `posthorn migrate` first.')
  }
}

function missingError(missing: string[], { masterKeyIds }: Vault): CommandError {
  return new CommandError(
    `POSTHORN_MASTER_KEY lacks a key that is in use: secrets in the database are encrypted under ${missing.join(' and ')}, and the keys given are ${masterKeyIds.join(' and ')}. Add the one that was used before, after a comma (in embedded mode it is in the file master-key of the data folder).`,
  )
}

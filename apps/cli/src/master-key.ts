import { rewrapOwnerKeys } from '@posthorn/store'
import { CommandError } from './command-error.ts'
import { runCommand } from './run-command.ts'
import { makeMasterKey, openVault } from './vault.ts'

/** `posthorn master-key create`: prints a new master key. Nothing is kept. */
export function createMasterKey(): void {
  process.stdout.write(`${makeMasterKey()}\n`)
}

/** `posthorn master-key rotate`: encrypts the keys of all owners under the first master key. */
export async function rotateMasterKey(env: NodeJS.ProcessEnv): Promise<void> {
  const say = (line: string) => void process.stdout.write(`${line}\n`)
  await runCommand(
    { POSTHORN_LOG_LEVEL: 'warn', ...env },
    { name: 'posthorn-master-key', say, needsMasterKey: true },
    async ({ store, masterKeys, shutdown }) => {
      const vault = await openVault(store.pool, masterKeys)
      const { rewrapped, unreadable } = await rewrapOwnerKeys(store.pool, vault)
      say(
        `Owners whose key is encrypted anew: ${rewrapped}. All are under the master key ${vault.masterKeyIds[0]}.`,
      )
      if (unreadable > 0) {
        throw new CommandError(
          `The keys of ${unreadable} owners could not be read and are as they were: their rows in owner_keys were changed.`,
        )
      }
      shutdown.stop()
    },
  )
}

import { readFileSync, realpathSync, statSync } from 'node:fs'
import { dirname } from 'node:path'
import { EmbeddedPostgresError } from './embedded-postgres-error.ts'

/** The user whom the server runs as when that is not the user of this process. */
export type ServerUser = { name: string; uid: number; gid: number }

/**
 * Answers undefined for an ordinary user, who runs the server as itself. PostgreSQL refuses to run as root,
 * so root gets another user: the owner of an existing cluster, else the owner of the directory that the data
 * directory is in, else one that every system has.
 */
export function chooseServerUser(options: {
  clusterOwnerUid: number | undefined
  parentOwnerUid: number
}): ServerUser | undefined {
  if (process.getuid?.() !== 0) return undefined

  const { clusterOwnerUid, parentOwnerUid } = options
  const users = readUsers()
  if (clusterOwnerUid !== undefined && clusterOwnerUid !== 0) {
    const known = users.find((user) => user.uid === clusterOwnerUid)
    return known ?? { name: String(clusterOwnerUid), uid: clusterOwnerUid, gid: clusterOwnerUid }
  }
  // initdb wants to find its user in /etc/passwd, which the owner of a mounted directory may not be in.
  const user =
    users.find((candidate) => candidate.uid === parentOwnerUid && candidate.uid !== 0) ??
    users.find((candidate) => candidate.name === 'nobody' && candidate.uid !== 0) ??
    users.find((candidate) => candidate.name === 'postgres' && candidate.uid !== 0)
  if (user === undefined) {
    throw new EmbeddedPostgresError(
      'cannot_drop_privileges',
      'PostgreSQL refuses to run as root, and /etc/passwd names no user "nobody" to run it as. ' +
        'Run Posthorn as an ordinary user, or set DATABASE_URL to a PostgreSQL server of your own.',
    )
  }
  return user
}

/** Whether `user` may pass through `directory` and all its parents, judged by owner, group and mode. */
export function canEnter(directory: string, user: { uid: number; gid: number }): boolean {
  for (let current = realpathSync(directory); ; current = dirname(current)) {
    const { uid, gid, mode } = statSync(current)
    const executeBit = uid === user.uid ? 0o100 : gid === user.gid ? 0o010 : 0o001
    if ((mode & executeBit) === 0) return false
    if (current === dirname(current)) return true
  }
}

function readUsers(): ServerUser[] {
  let passwd: string
  try {
    passwd = readFileSync('/etc/passwd', 'utf8')
  } catch {
    return []
  }
  return passwd.split('\n').flatMap((line) => {
    const [name, , uid, gid] = line.split(':')
    if (!name || name.startsWith('#') || !uid || !gid) return []
    return [{ name, uid: Number(uid), gid: Number(gid) }]
  })
}

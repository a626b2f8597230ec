import { chmodSync, chownSync, mkdirSync, mkdtempSync, rmSync, symlinkSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { canEnter, chooseServerUser } from '../src/server-user.ts'

const isRoot = process.getuid?.() === 0
const someone = { uid: 4242, gid: 4242 }
let dir: string

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'posthorn-user-'))
  chmodSync(dir, 0o755)
})
afterEach(() => rmSync(dir, { recursive: true }))

describe('canEnter', () => {
  it('follows the bit for others on every directory above', () => {
    mkdirSync(join(dir, 'closed', 'open'), { recursive: true })
    expect(canEnter(join(dir, 'closed', 'open'), someone)).toBe(true)
    chmodSync(join(dir, 'closed'), 0o700)
    expect(canEnter(join(dir, 'closed', 'open'), someone)).toBe(false)
    chmodSync(join(dir, 'closed'), 0o711)
    expect(canEnter(join(dir, 'closed', 'open'), someone)).toBe(true)
  })

  it('looks at where a symbolic link leads', () => {
    mkdirSync(join(dir, 'closed', 'open'), { recursive: true })
    chmodSync(join(dir, 'closed'), 0o700)
    symlinkSync(join(dir, 'closed', 'open'), join(dir, 'link'))
    expect(canEnter(join(dir, 'link'), someone)).toBe(false)
  })

  it.runIf(isRoot)('takes the bits of the owner or the group where the user is one of them', () => {
    chownSync(dir, someone.uid, 0)
    chmodSync(dir, 0o700)
    expect(canEnter(dir, someone)).toBe(true)
    chownSync(dir, 0, someone.gid)
    chmodSync(dir, 0o710)
    expect(canEnter(dir, someone)).toBe(true)
    chmodSync(dir, 0o701)
    expect(canEnter(dir, someone)).toBe(false)
  })
})

describe('chooseServerUser', () => {
  it.runIf(!isRoot)('leaves an ordinary user as it is', () => {
    expect(chooseServerUser({ clusterOwnerUid: 0, parentOwnerUid: 0 })).toBeUndefined()
  })

  it.runIf(isRoot)('under root is the owner of the cluster, else of the parent, else nobody', () => {
    const choose = (clusterOwnerUid: number | undefined, parentOwnerUid: number) =>
      chooseServerUser({ clusterOwnerUid, parentOwnerUid })?.uid
    expect(choose(4242, 1)).toBe(4242)
    expect(choose(undefined, 1)).toBe(1)
    expect(choose(undefined, 0)).toBe(65534)
    // initdb refuses a user without an entry in /etc/passwd.
    expect(choose(undefined, 4242)).toBe(65534)
  })
})

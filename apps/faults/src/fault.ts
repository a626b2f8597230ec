import type { Random } from '@posthorn/testkit'
import type { Backend, Field } from './start-field.ts'

/** One class of faults. */
export interface Fault {
  name: string
  /** Both where left out. */
  backend?: Backend
  /** Left out where no file system can be mounted. */
  needsSmallDisk?: true
  /**
   * Does harm and mends it again; resolves at the fault's end. Its choices and times are `random`'s, so a
   * seed repeats them.
   */
  inject(field: Field, random: Random): Promise<void>
}

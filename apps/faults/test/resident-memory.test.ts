import { expect, it } from 'vitest'
import { parseResidentMb } from '../src/scenarios/resident-memory.ts'

it('resident memory is VmRSS, in MB, and neither its peak nor the address space', () => {
  const status =
    'Name:\tnode\nVmPeak:\t 9000000 kB\nVmHWM:\t  400000 kB\nVmRSS:\t  125000 kB\nRssAnon:\t 90000 kB\n'
  expect(parseResidentMb(status)).toBe(128)
})

it('a status without it is an error, not nothing', () => {
  expect(() => parseResidentMb('Name:\tkthreadd\n')).toThrow('VmRSS')
})

import type { Fault } from '../fault.ts'
import { endpointFaults } from './endpoint-faults.ts'
import { payloadFaults } from './payload-faults.ts'
import { postgresFaults } from './postgres-faults.ts'
import { processFaults } from './process-faults.ts'
import { receiverFaults } from './receiver-faults.ts'
import { redisFaults } from './redis-faults.ts'
import { workerFaults } from './worker-faults.ts'

export const allFaults: readonly Fault[] = [
  ...workerFaults,
  ...processFaults,
  ...postgresFaults,
  ...redisFaults,
  ...receiverFaults,
  ...payloadFaults,
  ...endpointFaults,
]

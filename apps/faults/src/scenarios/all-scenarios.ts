import { hanging } from './hanging.ts'
import { noisyOwner } from './noisy-owner.ts'
import { outage } from './outage.ts'
import { overload } from './overload.ts'
import type { Scenario } from './scenario.ts'

export const allScenarios: readonly Scenario[] = [hanging, noisyOwner, overload, outage]

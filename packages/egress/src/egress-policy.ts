import type { Logger, Settings } from '@posthorn/runtime'
import { type AddressRule, createAddressRule } from './address-rule.ts'
import type { UrlLimits } from './url-limits.ts'

/** Where deliveries may go, for both gates: `vetUrl` at registration, `createPost` at each connect. */
export interface EgressPolicy {
  rule: AddressRule
  limits: UrlLimits
}

export type EgressSettings = Pick<Settings, 'egressAllow' | 'egressDeny' | 'egressPorts' | 'egressHttpsOnly'>

export function createEgressPolicy(settings: EgressSettings, logger: Pick<Logger, 'error'>): EgressPolicy {
  return {
    rule: createAddressRule({
      allow: settings.egressAllow,
      deny: settings.egressDeny,
      onDisagreement: (address) =>
        logger.error(
          { address },
          'egress.readings_disagree: the address was refused; one reading of the registries is wrong, tell whoever maintains Posthorn',
        ),
    }),
    limits: { ports: settings.egressPorts, httpsOnly: settings.egressHttpsOnly },
  }
}

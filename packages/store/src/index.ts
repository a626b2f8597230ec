export * from './accept-messages.ts'
export * from './api-keys.ts'
export * from './audit-log.ts'
export * from './backlog.ts'
export * from './claim-deliveries.ts'
export * from './database-errors.ts'
export * from './deliveries.ts'
export * from './delivery-ids.ts'
export * from './delivery-targets.ts'
export * from './endpoint-health.ts'
export * from './endpoint-pace.ts'
export {
  type EndpointSecretRecord,
  findEndpointSecrets,
  insertSecret,
  type RotateSecretResult,
  removeExpiredSecrets,
  rotateSecret,
  runOf,
  SECRETS_MAX,
  sealPlainSecrets,
} from './endpoint-secrets.ts'
export * from './endpoints.ts'
export * from './event-types.ts'
export * from './expunge.ts'
export * from './messages.ts'
export {
  MigrationError,
  migrate,
} from './migrate.ts'
export {
  type AboutEndpoint,
  deleteOperationalEvents,
  type OperationalEventRecord,
  takeOperationalEvents,
} from './operational-events.ts'
export { missingMasterKeys, type Run, rewrapOwnerKeys } from './owner-keys.ts'
export {
  createOwner,
  deleteOwner,
  findOwner,
  isOwner,
  listOwners,
  type OwnerKey,
  type OwnerRecord,
  updateOwner,
} from './owners.ts'
export * from './partitions.ts'
export * from './pool.ts'
export * from './prisma.ts'
export * from './record-attempts.ts'
export * from './replays.ts'
export * from './sample-backlog.ts'
export * from './shared-secrets.ts'
export * from './store.ts'
export { createVault, masterKeyId, UnreadableSecretsError, type Vault } from './vault.ts'
export * from './wait-for-database.ts'

export { cpuSeconds, cpuSecondsOfTrees } from './cpu-seconds.ts'
export { createDatabase, type TestDatabase, templateDatabase } from './create-database.ts'
export {
  describeEachBackend,
  ownRedisAvailable,
  redisAvailable,
  type TestBackend,
} from './describe-each-backend.ts'
export { freePort } from './free-port.ts'
export { platformNodeOptions } from './platform-node-options.ts'
export { type ProcessSize, processSize } from './process-size.ts'
export { type Random, seededRandom } from './seeded-random.ts'
export { type NodeProcess, type SpawnNodeOptions, spawnNode } from './spawn-node.ts'
export { startPostgres, type TestPostgres } from './start-postgres.ts'
export { type DatabaseProxy, startProxy } from './start-proxy.ts'
export {
  type Answer,
  type AnswerHandler,
  type ReceivedRequest,
  type Receiver,
  startReceiver,
} from './start-receiver.ts'
export { startRedis, type TestRedis } from './start-redis.ts'
export { TEST_MASTER_KEY } from './test-master-key.ts'
export { type WaitForOptions, waitFor } from './wait-for.ts'

export { type CoalesceOptions, type Coalescer, coalesce } from './coalesce.ts'
export { formatDuration, parseDuration } from './duration.ts'
export { createLogger, type Logger, redactText } from './logger.ts'
export { nearestName } from './nearest-name.ts'
export {
  describeSettings,
  type LogLevel,
  logLevels,
  parseMasterKeys,
  parseSettings,
  type Settings,
  SettingsError,
} from './settings.ts'
export { onShutdown, type Shutdown } from './shutdown.ts'
export { version } from './version.ts'

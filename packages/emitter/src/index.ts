export { configure, emit, hook } from './configure.ts'
export {
  EmitError,
  PosthornError,
  type PosthornErrorCode,
  type PosthornErrorDetails,
  type Problem,
} from './errors.ts'
export type { Hook, HookContext, HookOptions } from './hook.ts'
export { Posthorn } from './posthorn.ts'
export type {
  AnyArgs,
  DefaultEvents,
  EmitOptions,
  EmittedMessage,
  EventName,
  PosthornOptions,
  QueueOptions,
  QueueTarget,
  RegisteredEvents,
  RestOptions,
  SendLimits,
} from './types.ts'

import { PosthornError } from './errors.ts'
import { type Hook, type HookOptions, hook as hookWith } from './hook.ts'
import { Posthorn } from './posthorn.ts'
import type {
  AnyArgs,
  DefaultEvents,
  EmitOptions,
  EmittedMessage,
  EventName,
  PosthornOptions,
} from './types.ts'

// An application may load this package both as ESM and as CJS; both copies must find the same client.
const CLIENT = Symbol.for('@posthorn/emitter/client')
const shared = globalThis as { [CLIENT]?: Posthorn<DefaultEvents> | undefined }

/**
 * Sets the client that the module-level {@link emit} and {@link hook} use, for applications with one client.
 * Calling it again replaces the client; closing the one before is the caller's.
 */
export function configure(options: PosthornOptions): Posthorn<DefaultEvents> {
  const client = new Posthorn<DefaultEvents>(options)
  shared[CLIENT] = client
  return client
}

/** {@link Posthorn.emit} on the configured client. Rejects with `not_configured` before `configure()`. */
export async function emit<Name extends EventName<DefaultEvents>>(
  type: Name,
  data: DefaultEvents[Name],
  options: EmitOptions,
): Promise<EmittedMessage> {
  const client = shared[CLIENT]
  if (!client) throw new PosthornError('not_configured', 'Call configure() before emit().')
  return client.emit(type, data, options)
}

/** {@link Posthorn.hook} on the configured client, which is looked up at each call: decorators run at import. */
export function hook<Name extends EventName<DefaultEvents>, Args extends AnyArgs = AnyArgs>(
  type: Name,
  options: HookOptions<Args>,
): Hook<DefaultEvents[Name], Args> {
  return hookWith(
    (_, data, emitOptions) => emit(type, data as DefaultEvents[Name], emitOptions),
    type,
    options,
  )
}

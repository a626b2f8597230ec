import { EmitError, PosthornError } from './errors.ts'
import type { AnyArgs, EmitOptions, EmittedMessage } from './types.ts'

/** What `onEmitError` gets to know beside the error. */
export interface HookContext<Args extends AnyArgs = AnyArgs> {
  readonly type: string
  readonly args: Args
  /** What the function returned. */
  readonly result: unknown
}

export interface HookOptions<Args extends AnyArgs = AnyArgs> {
  /** Whose endpoints get the event: a name, or a function of the wrapped function's arguments. */
  readonly owner: string | ((...args: Args) => string)
  /** An id of your own for the event, so that a second call does not double it. */
  readonly id?: (...args: Args) => string
  /** When it happened. Default: when it is accepted. */
  readonly timestamp?: (...args: Args) => Date | string
  /**
   * What happens when the function did its work but the event could not be emitted. `'throw'` (default): the
   * call rejects with an {@link EmitError} that carries the function's `result`. A function: it gets the error,
   * is awaited, and the call resolves with the function's result; what it throws comes through.
   */
  readonly onEmitError?: 'throw' | ((error: EmitError, context: HookContext<Args>) => unknown)
}

/**
 * What `hook()` gives. Put around a function or on a method, the function's return value is the event's data.
 * The function becomes asynchronous: calling it runs it, emits what it returned, and resolves with what it
 * returned once the event is durable. If it throws, nothing is emitted and the same error comes through.
 * Name, length, `this`, own properties and reflect-metadata stay.
 *
 * A decorator cannot change a method's type: declare decorated methods `async`, or remember to await them.
 */
export interface Hook<Payload, OwnerArgs extends AnyArgs = AnyArgs> {
  // The order matters: TypeScript would also take a function of fewer parameters for a decorator.
  /** Legacy method decorator (`experimentalDecorators`), on an instance or static method. */
  <Args extends [...OwnerArgs, ...AnyArgs], Result extends Payload | PromiseLike<Payload>>(
    target: object,
    key: string | symbol,
    descriptor: TypedPropertyDescriptor<(...args: Args) => Result>,
  ): void
  /** TC39 method decorator, on an instance, static or private method. */
  <This, Args extends [...OwnerArgs, ...AnyArgs], Result extends Payload | PromiseLike<Payload>>(
    method: (this: This, ...args: Args) => Result,
    context: ClassMethodDecoratorContext<This, (this: This, ...args: Args) => Result>,
  ): (this: This, ...args: Args) => Result
  /** Plain wrapper. */
  <This, Args extends [...OwnerArgs, ...AnyArgs], Result extends Payload | PromiseLike<Payload>>(
    fn: (this: This, ...args: Args) => Result,
  ): (this: This, ...args: Args) => Promise<Awaited<Result>>
}

type AnyFunction = (this: unknown, ...args: AnyArgs) => unknown
type Emit = (type: string, data: unknown, options: EmitOptions) => Promise<EmittedMessage>

/** Builds the wrapper and decorator around `emit`. Calls nothing by itself. */
export function hook<Payload, Args extends AnyArgs>(
  emit: Emit,
  type: string,
  options: HookOptions<Args>,
): Hook<Payload, Args> {
  const apply = (target: unknown, place?: unknown, descriptor?: PropertyDescriptor) => {
    if (isDecoratorContext(place)) {
      if (place.kind === 'method') return wrap(emit, type, options, target as AnyFunction)
      throw invalidHook(type, `cannot decorate a ${place.kind}`)
    }
    if (typeof place === 'string' || typeof place === 'symbol') {
      if (typeof descriptor?.value !== 'function') throw invalidHook(type, 'can only decorate a method')
      descriptor.value = wrap(emit, type, options, descriptor.value)
      return undefined
    }
    if (typeof target !== 'function') throw invalidHook(type, 'needs a function to wrap')
    return wrap(emit, type, options, target as AnyFunction)
  }
  return apply as Hook<Payload, Args>
}

function wrap<Args extends AnyArgs>(
  emit: Emit,
  type: string,
  options: HookOptions<Args>,
  fn: AnyFunction,
): AnyFunction {
  const hooked = async function (this: unknown, ...args: AnyArgs): Promise<unknown> {
    const result = await fn.apply(this, args)
    try {
      // After the function has run: what fails from here on must not look as if it had not.
      await emit(type, result, resolveEmitOptions(options, this, args as Args))
    } catch (cause) {
      const error = new EmitError(type, result, cause)
      const { onEmitError = 'throw' } = options
      if (onEmitError === 'throw') throw error
      await onEmitError(error, { type, args: args as Args, result })
    }
    return result
  }
  copyIdentity(fn, hooked)
  return hooked
}

function resolveEmitOptions<Args extends AnyArgs>(
  { owner, id, timestamp }: HookOptions<Args>,
  self: unknown,
  args: Args,
): EmitOptions {
  return {
    owner: typeof owner === 'function' ? owner.apply(self, args) : owner,
    id: id?.apply(self, args),
    timestamp: timestamp?.apply(self, args),
  }
}

/** Frameworks find a method by its name and length, and by what decorators before this one left on it. */
function copyIdentity(from: AnyFunction, to: AnyFunction): void {
  const { prototype: _, ...own } = Object.getOwnPropertyDescriptors(from) as PropertyDescriptorMap
  Object.defineProperties(to, own)
  const reflect = Reflect as Partial<MetadataReflection>
  for (const key of reflect.getOwnMetadataKeys?.(from) ?? []) {
    reflect.defineMetadata?.(key, reflect.getOwnMetadata?.(key, from), to)
  }
}

/** The part of reflect-metadata that is needed, where the application has loaded it. */
interface MetadataReflection {
  getOwnMetadataKeys(target: object): unknown[]
  getOwnMetadata(key: unknown, target: object): unknown
  defineMetadata(key: unknown, value: unknown, target: object): void
}

function isDecoratorContext(place: unknown): place is { kind: string } {
  return typeof place === 'object' && place !== null && 'kind' in place
}

function invalidHook(type: string, reason: string): PosthornError {
  return new PosthornError('invalid_hook', `hook("${type}") ${reason}.`)
}

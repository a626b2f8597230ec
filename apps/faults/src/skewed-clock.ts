// Loaded before a program (`node --import`): its clock is then FAULTS_CLOCK_SKEW_MS off.
const skewMs = Number(process.env.FAULTS_CLOCK_SKEW_MS)
const RealDate = Date

class SkewedDate extends RealDate {
  constructor(...args: unknown[]) {
    if (args.length === 0) super(RealDate.now() + skewMs)
    else super(...(args as [number]))
  }

  static override now(): number {
    return RealDate.now() + skewMs
  }
}

globalThis.Date = SkewedDate as DateConstructor

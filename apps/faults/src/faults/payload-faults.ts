import type { Fault } from '../fault.ts'

export const payloadFaults: Fault[] = [
  {
    // As far as the API takes them; what it refuses is in the client's ledger as refused.
    name: 'poison-payload',
    async inject({ load }, random) {
      const poisons = random.shuffle(POISONS).slice(0, 6)
      await Promise.all(poisons.map((poison) => load.emit((n) => ({ n, poison: poison() }))))
    },
  },
]

/** `n` is the first member, so that the receiver can tell which event it has. */
const POISONS: (() => unknown)[] = [
  () => '\0\u0001\u001f\u007f\u2028\u2029\ufffe\uffff',
  () => '\ud800 and \udfff without their halves',
  () => '\r\n\r\nHTTP/1.1 200 OK\r\n\r\n',
  () => [1e308, -1e308, 5e-324, -0, Number.MAX_SAFE_INTEGER + 2],
  () => 'x'.repeat(200_000),
  () => 'y'.repeat(300_000),
  () => '\u{1F4EF}'.repeat(20_000),
  () => nest(40),
  () => nest(500),
  () => JSON.parse('{"__proto__":{"polluted":true},"constructor":{"prototype":{}}}'),
  () => JSON.parse('{"toString":1,"hasOwnProperty":null,"":"","data":"}","type":"other.type"}'),
  () => Object.fromEntries(Array.from({ length: 5_000 }, (_, at) => [`key${at}`, at])),
  () => Array.from({ length: 20_000 }, () => null),
  () => `"; DROP TABLE deliveries; --\\`,
]

function nest(depth: number): unknown {
  let value: unknown = 1
  for (let level = 0; level < depth; level++) value = level % 2 === 0 ? [value] : { value }
  return value
}

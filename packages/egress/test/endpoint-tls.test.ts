import { generateKeyPairSync } from 'node:crypto'
import { expect, test } from 'vitest'
import { vetTls } from '../src/index.ts'
import { testCertificate } from './raw-server.ts'

const localhost = testCertificate()
const certificate = localhost.cert.toString()
const key = localhost.key.toString()
const anotherKey = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  .privateKey.export({ type: 'pkcs8', format: 'pem' })
  .toString()

test.each([
  [{}],
  [{ ca: certificate }],
  [{ certificate, key }],
  [{ ca: `${certificate}\n${certificate}`, certificate: `# ours\n${certificate}`, key }],
])('is accepted (%#)', (tls) => {
  expect(vetTls(tls)).toEqual({ ok: true })
})

test.each([
  ['ca', { ca: '' }, /certificates in PEM/],
  ['ca', { ca: 'canary' }, /certificates in PEM/],
  ['ca', { ca: key }, /certificates in PEM/],
  ['ca', { ca: certificate.replace(/[A-Z]{4}/, '????') }, /certificates in PEM/],
  ['ca', { ca: certificate.repeat(17) }, /1 to 16/],
  ['ca', { ca: 'x'.repeat(65_537) }, /65536/],
  ['certificate', { key }, /missing for the key/],
  ['certificate', { certificate: 'canary', key }, /certificates in PEM/],
  ['key', { certificate }, /missing for the certificate/],
  ['key', { certificate, key: 'canary' }, /private key in PEM/],
  ['key', { certificate, key: certificate }, /private key in PEM/],
  ['key', { certificate, key: anotherKey }, /not the key of the certificate/],
])('%s: refused with the reason (%#)', (member, tls, detail) => {
  const result = vetTls(tls)
  expect(result).toMatchObject({ ok: false, member, detail: expect.stringMatching(detail) })
  expect(JSON.stringify(result)).not.toMatch(/canary|PRIVATE/)
})

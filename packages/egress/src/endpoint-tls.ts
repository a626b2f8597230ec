import { createPrivateKey, hash, X509Certificate } from 'node:crypto'

/** What an endpoint's TLS connections have of their own; PEM. */
export interface EndpointTls {
  /** Certificate authorities in place of the system's. */
  ca?: string
  /** The certificate that we show, with those that lead to its authority after it. */
  certificate?: string
  /** Of `certificate`. A secret. */
  key?: string
}

export type VetTlsResult = { ok: true } | { ok: false; member: keyof EndpointTls; detail: string }

const pemCharactersMax = 65_536
const certificatesMax = 16

/**
 * Judges what an endpoint is given, so that a mistake is found when it is made and not when it is delivered
 * to. `detail` ends a sentence that begins with the member, and repeats nothing of what was given.
 */
export function vetTls({ ca, certificate, key }: EndpointTls): VetTlsResult {
  for (const [member, text] of Object.entries({ ca, certificate, key })) {
    if (text !== undefined && text.length > pemCharactersMax) {
      return refuse(member as keyof EndpointTls, `may have at most ${pemCharactersMax} characters`)
    }
  }
  const authorities = ca === undefined ? [] : readCertificates(ca)
  if (authorities === undefined) return refuse('ca', notCertificates)
  if (authorities.some((authority) => !authority.ca && authority.subject !== authority.issuer)) {
    return refuse(
      'ca',
      'must hold certificates of authorities (basicConstraints CA:TRUE), or self-signed ones',
    )
  }
  if (certificate === undefined) {
    return key === undefined ? { ok: true } : refuse('certificate', 'is missing for the key')
  }
  if (key === undefined) return refuse('key', 'is missing for the certificate')
  const shown = readCertificates(certificate)
  if (shown === undefined) return refuse('certificate', notCertificates)
  const privateKey = readKey(key)
  if (privateKey === undefined) return refuse('key', 'must be a private key in PEM, without a passphrase')
  if (!shown[0]!.checkPrivateKey(privateKey)) {
    return refuse('key', 'is not the key of the certificate, which has to be the first one there')
  }
  return { ok: true }
}

const notCertificates = `must be 1 to ${certificatesMax} certificates in PEM`

/** Undefined: none, too many, or one that cannot be read. */
function readCertificates(text: string): X509Certificate[] | undefined {
  const blocks = text.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? []
  if (blocks.length === 0 || blocks.length > certificatesMax) return undefined
  try {
    return blocks.map((block) => new X509Certificate(block))
  } catch {
    return undefined
  }
}

function readKey(text: string) {
  try {
    return createPrivateKey(text)
  } catch {
    return undefined
  }
}

const identities = new WeakMap<EndpointTls, string>()

/**
 * Names what an endpoint's connections have of their own: those of different names must not mix. Made once
 * for each object, since hashing costs more than a request's other bookkeeping.
 */
export function tlsIdentity(tls: EndpointTls): string {
  let identity = identities.get(tls)
  if (identity === undefined) {
    // As JSON, so that the members cannot run into each other.
    identity = hash('sha256', JSON.stringify([tls.ca ?? null, tls.certificate ?? null, tls.key ?? null]))
    identities.set(tls, identity)
  }
  return identity
}

function refuse(member: keyof EndpointTls, detail: string): VetTlsResult {
  return { ok: false, member, detail }
}

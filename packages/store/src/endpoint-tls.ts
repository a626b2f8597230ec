/** What an endpoint's TLS connections have of their own; PEM. */
export interface TlsMaterial {
  ca?: string
  certificate?: string
  key?: string
}

/** As the table has it. */
export interface TlsColumns {
  tlsCa: string | null
  tlsCertificate: string | null
  tlsKey: Uint8Array<ArrayBuffer> | null
}

/** The one place where the key is written: here is where it is to be encrypted. */
export function toTlsColumns(tls: TlsMaterial | null): TlsColumns {
  return {
    tlsCa: tls?.ca ?? null,
    tlsCertificate: tls?.certificate ?? null,
    tlsKey: tls?.key === undefined ? null : new Uint8Array(Buffer.from(tls.key, 'utf8')),
  }
}

/** The one place where the key is read. Null: it has nothing of its own. */
export function fromTlsColumns({ tlsCa, tlsCertificate, tlsKey }: TlsColumns): TlsMaterial | null {
  if (tlsCa === null && tlsCertificate === null) return null
  return {
    ...(tlsCa !== null && { ca: tlsCa }),
    ...(tlsCertificate !== null && { certificate: tlsCertificate }),
    ...(tlsKey !== null && { key: Buffer.from(tlsKey).toString('utf8') }),
  }
}

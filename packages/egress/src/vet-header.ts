const nameLengthMax = 128
const valueLengthMax = 4096

export type VetHeaderCode = 'header_name_invalid' | 'header_value_invalid' | 'header_reserved'

export type VetHeaderResult = { ok: true } | { ok: false; code: VetHeaderCode; detail: string }

/**
 * Judges a header that an endpoint wants on its deliveries. Names are tokens (RFC 9110, 5.6.2) in any case;
 * values are visible ASCII with single spaces or tabs inside. `detail` names the rule and repeats no value.
 */
export function vetHeader(name: string, value: string): VetHeaderResult {
  if (!/^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/.test(name) || name.length > nameLengthMax) {
    return refuse(
      'header_name_invalid',
      `a header name has 1 to ${nameLengthMax} letters, digits and !#$%&'*+.^_\`|~-`,
    )
  }
  const lowerName = name.toLowerCase()
  if (isFramingHeader(lowerName) || isContentHeader(lowerName)) {
    return refuse('header_reserved', `the header ${lowerName} is set by Posthorn`)
  }
  if (!/^[\x21-\x7e]+(?:[ \t]+[\x21-\x7e]+)*$/.test(value) || value.length > valueLengthMax) {
    return refuse(
      'header_value_invalid',
      `a header value has 1 to ${valueLengthMax} visible ASCII characters`,
    )
  }
  return { ok: true }
}

/** Headers that frame the message or rule the connection: set by the client alone, whoever asks for others. */
export function isFramingHeader(lowerName: string): boolean {
  return framingHeaders.has(lowerName) || lowerName.startsWith('proxy-')
}

/** Headers that say what is sent and prove who sent it. */
function isContentHeader(lowerName: string): boolean {
  return contentHeaders.has(lowerName) || lowerName.startsWith('webhook-')
}

const framingHeaders = new Set([
  'accept-encoding',
  'connection',
  'content-length',
  'expect',
  'host',
  'http2-settings',
  'keep-alive',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
])

const contentHeaders = new Set(['content-encoding', 'content-type'])

function refuse(code: VetHeaderCode, detail: string): VetHeaderResult {
  return { ok: false, code, detail }
}

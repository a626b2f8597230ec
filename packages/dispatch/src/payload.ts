const DATA_MEMBER = ',"data":'

/**
 * The body of a webhook, made once, at acceptance: these bytes are stored, signed and sent.
 * `data` goes in as it was given, so numbers keep every digit.
 */
export function messagePayload(eventType: string, timestamp: Date, data: Buffer): Buffer {
  const head = payloadHead(eventType, timestamp)
  const payload = Buffer.allocUnsafe(head.length + data.length + 1)
  payload.write(head, 'latin1')
  data.copy(payload, head.length)
  payload[payload.length - 1] = 0x7d // }
  return payload
}

/** The data in a payload that `messagePayload` made. */
export function payloadData(payload: Buffer, eventType: string): Buffer {
  // An ISO timestamp has the same length for all years from 0 to 9999.
  return payload.subarray(payloadHead(eventType, new Date(0)).length, -1)
}

// Event types and timestamps are ASCII and need no escaping: contracts/src/event-type.ts.
function payloadHead(eventType: string, timestamp: Date): string {
  return `{"type":"${eventType}","timestamp":"${timestamp.toISOString()}"${DATA_MEMBER}`
}

import type { Socket } from 'node:net'

/**
 * Bytes of one answer as they come in, whatever they are. Far more than the bounds of headers, interim
 * answers and body can add up to; it is for what none of them counts, such as the extension of a chunk.
 */
const answerBytesMax = 1_048_576

export const ANSWER_TOO_LARGE = 'POSTHORN_ANSWER_TOO_LARGE'

/**
 * Ends a connection whose peer floods: until its deadline it would keep a processor busy, which is
 * everybody's. What was written since it was last looked at begins a new answer.
 */
export function boundAnswers(socket: Socket): void {
  let written = socket.bytesWritten
  let readBefore = socket.bytesRead
  socket.on('readable', () => {
    if (socket.bytesWritten !== written) {
      written = socket.bytesWritten
      readBefore = socket.bytesRead
    } else if (socket.bytesRead - readBefore > answerBytesMax) {
      socket.destroy(Object.assign(new Error('the answer is too large'), { code: ANSWER_TOO_LARGE }))
    }
  })
}

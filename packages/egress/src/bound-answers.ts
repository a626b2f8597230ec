import type { Socket } from 'node:net'

/**
 * Bytes of one answer as they come in, whatever they are. Far more than the bounds of headers, interim
 * answers and body can add up to; it is for what none of them counts, such as the extension of a chunk.
 */
const answerBytesMax = 1_048_576

/**
 * What undici's parser gets at once. It takes all of that apart, even once it has given up the answer in the
 * middle: of a read of 64 KiB, it made an error with a stack for each name and value beyond the limit of headers.
 * That were 6 MB of garbage and 110 ms of everybody's time for one answer; with pieces they are 1 MB and 6 ms.
 */
export const pieceBytesMax = 4_096

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
  readInPieces(socket)
}

/** Whoever reads until there is nothing more gets pieces, and none once the connection was given up. */
function readInPieces(socket: Socket): void {
  const read = socket.read
  socket.read = (size?: number) => {
    if (socket.destroyed) return null
    return read.call(socket, size ?? (socket.readableLength > pieceBytesMax ? pieceBytesMax : undefined))
  }
}

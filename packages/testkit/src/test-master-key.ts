/** POSTHORN_MASTER_KEY of the tests: known to everybody, so good for nothing else. */
export const TEST_MASTER_KEY = Buffer.from('the master key of all the tests.').toString('base64')

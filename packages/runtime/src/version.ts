/** The version of Posthorn, as its root package.json has it (a test holds them together). */
export const version = '0.1.0'

export {
  createSigningKey,
  generateSecret,
  InvalidSecretError,
  parseSecret,
  type SigningKey,
} from './secret.ts'
export { type SignedHeaders, type SignInput, sign, signedHeaders } from './sign.ts'
export {
  type VerifyOptions,
  verify,
  type WebhookHeaders,
  type WebhookVerificationCode,
  WebhookVerificationError,
} from './verify.ts'

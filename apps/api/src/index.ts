export type { Api, ApiContext, ApiSettings } from './api.ts'
export { buildApp } from './app.ts'
export { type RunningApi, startApi } from './server.ts'

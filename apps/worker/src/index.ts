export { type RunningWorker, startWorker, type WorkerContext } from './start-worker.ts'

import { readFileSync } from 'node:fs'

/** What a process spent its time in while it was profiled; shares of all that was not idle, largest first. */
export interface ProfileSummary {
  busySeconds: number
  /** By package, by part of Node, or by what the engine calls it, as `(garbage collector)`. */
  parts: { name: string; share: number }[]
  /** The functions that most was spent in themselves, not in what they called. */
  functions: { name: string; share: number }[]
}

interface CpuProfile {
  nodes: {
    id: number
    callFrame: { functionName: string; url: string; lineNumber: number }
  }[]
  samples: number[]
  timeDeltas: number[]
}

const PARTS = 16
const FUNCTIONS = 40

/** @param path a `.cpuprofile`, as `node --cpu-prof` writes it */
export function summariseProfile(path: string): ProfileSummary {
  const profile = JSON.parse(readFileSync(path, 'utf8')) as CpuProfile
  const frames = new Map(profile.nodes.map(({ id, callFrame }) => [id, callFrame]))
  const ofParts = new Map<string, number>()
  const ofFunctions = new Map<string, number>()
  let busyUs = 0
  for (const [at, id] of profile.samples.entries()) {
    const { functionName, url, lineNumber } = frames.get(id)!
    if (functionName === '(idle)') continue
    const us = profile.timeDeltas[at + 1] ?? 0
    busyUs += us
    const part = partOf(url, functionName)
    const name = `${functionName || '(anonymous)'} ${part} ${url.split('/').at(-1)}:${lineNumber + 1}`
    ofParts.set(part, (ofParts.get(part) ?? 0) + us)
    ofFunctions.set(name, (ofFunctions.get(name) ?? 0) + us)
  }
  const largest = (of: Map<string, number>) =>
    [...of].sort(([, a], [, b]) => b - a).map(([name, us]) => ({ name, share: us / busyUs }))
  return {
    busySeconds: busyUs / 1e6,
    parts: largest(ofParts).slice(0, PARTS),
    functions: largest(ofFunctions).slice(0, FUNCTIONS),
  }
}

function partOf(url: string, functionName: string): string {
  if (url === '') return functionName.startsWith('(') ? functionName : '(native)'
  if (url.startsWith('node:')) return url.split('/').slice(0, 2).join('/')
  const installed = url.lastIndexOf('/node_modules/')
  if (installed >= 0) {
    const [first, second] = url.slice(installed + '/node_modules/'.length).split('/')
    return first!.startsWith('@') ? `${first}/${second}` : first!
  }
  return /\/((?:apps|packages)\/[^/]+)\//.exec(url)?.[1] ?? url
}

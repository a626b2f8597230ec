import { existsSync, globSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describeSettings, parseSettings, version } from '@posthorn/runtime'
import { describe, expect, test } from 'vitest'

const ROOT = fileURLToPath(new URL('../../../', import.meta.url))

const documents = [
  'README.md',
  'CONTRIBUTING.md',
  'CHANGELOG.md',
  'SECURITY.md',
  ...globSync('docs/**/*.md', { cwd: ROOT }).sort(),
]

describe.each(documents)('%s', (path) => {
  test('names files that exist', () => {
    const missing = filesNamedIn(read(path)).filter((file) => !existsSync(join(ROOT, file)))
    expect(missing).toEqual([])
  })

  test('links to files and headings that exist', () => {
    const broken = linksIn(read(path)).filter((link) => !leadsSomewhere(link, path))
    expect(broken).toEqual([])
  })

  test('runs scripts of the workspace, by the version of pnpm that it is made for', () => {
    const { scripts, devEngines } = JSON.parse(read('package.json')) as {
      scripts: Record<string, string>
      devEngines: { packageManager: { version: string } }
    }
    for (const [command, pnpmVersion, script] of read(path).matchAll(/npx -y pnpm@([\d.]+) ([\w:-]+)/g)) {
      expect(pnpmVersion, command).toBe(devEngines.packageManager.version)
      expect([...Object.keys(scripts), 'install', 'pack', 'audit'], command).toContain(script)
    }
  })
})

test('every step in the table of docs/architecture.md names a file', () => {
  const steps = rowsOf(sectionOf(read('docs/architecture.md'), 'The way of one event'))
  expect(steps.length).toBeGreaterThan(10)
  for (const [step, files] of steps) {
    expect(filesNamedIn(files!), step).not.toEqual([])
  }
})

test('the settings in README.md are those of the program, in its words', () => {
  const documented = rowsOf(sectionOf(read('README.md'), 'Settings')).map(([name, text, meaning]) => ({
    name: name!.replaceAll('`', ''),
    default: text!.replaceAll('`', ''),
    meaning,
  }))
  expect(documented).toEqual(describeSettings())
})

test('.env.example has every setting, with its default', () => {
  const given = [...read('.env.example').matchAll(/^#([A-Z_]+)=(.*)$/gm)].map(([, name, text]) => ({
    name: name!,
    default: text!,
  }))
  expect(given.filter(({ name }) => name !== 'POSTGRES_PASSWORD')).toEqual(
    describeSettings().map(({ name, default: text }) => ({ name, default: text })),
  )
})

test('.env.example, copied as it is, changes nothing', () => {
  const lines = read('.env.example').split('\n')
  expect(lines.filter((line) => line !== '' && !line.startsWith('#'))).toEqual([])
  const env = Object.fromEntries(
    [...read('.env.example').matchAll(/^#(POSTHORN_[A-Z_]+)=(.*)$/gm)].map(([, name, text]) => [
      name!,
      text!,
    ]),
  )
  expect(parseSettings(env)).toEqual(parseSettings({}))
})

test('CHANGELOG.md has the version of the program', () => {
  expect(read('CHANGELOG.md')).toContain(version)
})

function read(path: string): string {
  return readFileSync(join(ROOT, path), 'utf8')
}

/** What stands in backticks and looks like a file or folder of the repository. */
function filesNamedIn(markdown: string): string[] {
  const inBackticks = [...withoutBlocks(markdown).matchAll(/`([^`\s]+)`/g)].map(([, text]) => text!)
  return inBackticks.filter(
    (text) =>
      /^(apps|packages|docs|prisma|scripts|\.ci)\/[\w./@-]+$/.test(text) ||
      /^[\w.-]+\.(md|ts|json|ya?ml)$/.test(text),
  )
}

function linksIn(markdown: string): string[] {
  return [...withoutBlocks(markdown).matchAll(/\]\(([^)]+)\)/g)]
    .map(([, target]) => target!)
    .filter((target) => !/^https?:/.test(target))
}

function leadsSomewhere(link: string, from: string): boolean {
  const [file, heading] = link.split('#')
  const path = file === '' ? from : join(dirname(from), file!)
  if (!existsSync(join(ROOT, path))) return false
  return heading === undefined || headingsOf(read(path)).includes(heading)
}

/** As GitHub makes them. */
function headingsOf(markdown: string): string[] {
  return [...withoutBlocks(markdown).matchAll(/^#+ (.+)$/gm)].map(([, text]) =>
    text!
      .toLowerCase()
      .replaceAll(/[^\w -]/g, '')
      .replaceAll(' ', '-'),
  )
}

function sectionOf(markdown: string, heading: string): string {
  const start = markdown.search(new RegExp(`^#+ ${heading}$`, 'm'))
  expect(start, `the heading ${heading}`).toBeGreaterThanOrEqual(0)
  const body = markdown.slice(markdown.indexOf('\n', start))
  const end = body.search(/^#+ /m)
  return end < 0 ? body : body.slice(0, end)
}

/** Cells of the tables, without their heads. */
function rowsOf(markdown: string): string[][] {
  const rows = markdown.split('\n').filter((line) => line.startsWith('|'))
  const rule = rows.findIndex((row) => /^\|[ |-]+\|$/.test(row))
  return rows.slice(rule + 1).map((row) =>
    row
      .slice(1, -1)
      .split('|')
      .map((cell) => cell.trim()),
  )
}

function withoutBlocks(markdown: string): string {
  return markdown.replaceAll(/^```[\s\S]*?^```$/gm, '')
}

import { defineConfig } from 'tsdown'

export default defineConfig({
  entry: ['src/index.ts'],
  format: ['esm', 'cjs'],
  platform: 'node',
  target: 'node20',
  // TypeScript 7 has no API for the usual declaration plugin; oxc needs none, only isolatedDeclarations.
  dts: { oxc: true },
  sourcemap: true,
  // Of @posthorn/contracts, which is not published, only the queue's names are used: they are built in, and
  // its schemas are left out.
  deps: { alwaysBundle: ['@posthorn/contracts'], onlyBundle: [] },
  treeshake: { moduleSideEffects: false },
})

/**
 * How the tests run: each file in a process of its own, because they start servers and token
 * children. Tests that bring up whole meshes, a dozen processes each, come last and two at a time.
 * Files called *.long.test.ts are long runs and are named one by one, never swept up.
 */
import { configDefaults, defineConfig } from 'vitest/config';

const long = 'test/**/*.long.test.ts';
const meshes = ['test/mesh/**/*.test.ts', 'test/e2e/**/*.test.ts', 'test/chaos/**/*.test.ts'];

export default defineConfig({
  test: {
    pool: 'forks',
    testTimeout: 20_000,
    hookTimeout: 30_000,
    teardownTimeout: 10_000,
    allowOnly: false,
    passWithNoTests: false,
    reporters: ['default', './test/counts-reporter.ts'],
    projects: [
      {
        extends: true,
        test: {
          name: 'parts',
          // The default leaves one processor idle: half of a machine with two.
          maxWorkers: '100%',
          include: ['test/**/*.test.ts'],
          exclude: [...configDefaults.exclude, ...meshes, long],
          sequence: { groupOrder: 0 },
        },
      },
      {
        extends: true,
        test: {
          name: 'meshes',
          include: meshes,
          exclude: [...configDefaults.exclude, long],
          maxWorkers: 2,
          testTimeout: 60_000,
          hookTimeout: 90_000,
          sequence: { groupOrder: 1 },
        },
      },
    ],
  },
});

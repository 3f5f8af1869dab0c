/**
 * How the tests run. Files of the parts share a process for each processor, because reading the modules
 * of the project costs more than most of them test: so a file leaves nothing behind that another one
 * would notice. Those that measure the memory of their process, change what is of the whole process or
 * start servers and token children have one of their own. Tests that bring up whole meshes, a dozen
 * processes each, come last and two at a time. Files called *.long.test.ts are long runs and are named
 * one by one, never swept up. Time limits are guards against what hangs, on machines that are four times
 * slower than usual; they measure nothing.
 */
import { configDefaults, defineConfig } from 'vitest/config';
import { patienceMs } from './test/support/patience.ts';

const long = 'test/**/*.long.test.ts';
const meshes = ['test/mesh/**/*.test.ts', 'test/e2e/**/*.test.ts', 'test/chaos/**/*.test.ts'];
const apart = [
  // Servers and token children, started and killed.
  'test/contract/**/*.test.ts',
  // Listeners for what nobody catches, of the whole process.
  'test/sim/**/*.test.ts',
  'test/unit/sim/lives.test.ts',
  // Memory that the process takes for hostile input.
  'test/fuzz/lengths.test.ts',
  'test/unit/bus/dead-letter.test.ts',
  'test/unit/crypto/canonical-msgpack.test.ts',
];

export default defineConfig({
  test: {
    pool: 'forks',
    testTimeout: 60_000,
    // The first hook that needs a ceremony holds it.
    hookTimeout: 120_000,
    teardownTimeout: 10_000,
    // What is waited for comes at once, or so it is where nobody else wants the processors.
    expect: { poll: { timeout: 20_000 } },
    allowOnly: false,
    passWithNoTests: false,
    reporters: ['default', './test/counts-reporter.ts'],
    projects: [
      {
        extends: true,
        test: {
          name: 'parts',
          isolate: false,
          // The default leaves one processor idle: half of a machine with two.
          maxWorkers: '100%',
          include: ['test/**/*.test.ts'],
          exclude: [...configDefaults.exclude, ...meshes, ...apart, long],
          sequence: { groupOrder: 0 },
        },
      },
      {
        extends: true,
        test: {
          name: 'parts-apart',
          maxWorkers: '100%',
          include: apart,
          exclude: [...configDefaults.exclude, long],
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
          testTimeout: 180_000,
          hookTimeout: 180_000,
          expect: { poll: { timeout: patienceMs } },
          sequence: { groupOrder: 1 },
        },
      },
    ],
  },
});

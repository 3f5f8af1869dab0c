/**
 * How long runs are run: files called *.long.test.ts, each for minutes, one after the other, and
 * never as part of `make test`. `make walks`, `make chaos-tests` and `make vectors-long` each name a
 * folder of them.
 */
import { defineConfig } from 'vitest/config';
import { patienceMs } from './test/support/patience.ts';

export default defineConfig({
  test: {
    pool: 'forks',
    include: ['test/**/*.long.test.ts'],
    maxWorkers: 1,
    testTimeout: 30 * 60_000,
    expect: { poll: { timeout: patienceMs } },
    passWithNoTests: false,
  },
});

/**
 * How long runs are run: files called *.long.test.ts, each for minutes, one after the other, and
 * never as part of `make test`. `make vectors-long` names a folder of them.
 */
import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    pool: 'forks',
    include: ['test/**/*.long.test.ts'],
    maxWorkers: 1,
    testTimeout: 30 * 60_000,
    passWithNoTests: false,
  },
});

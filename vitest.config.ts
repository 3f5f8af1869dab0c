/**
 * How the tests run: each file in a process of its own, because they start servers and token
 * children. Files called *.long.test.ts are long runs and are named one by one, never swept up.
 */
import { configDefaults, defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    exclude: [...configDefaults.exclude, 'test/**/*.long.test.ts'],
    pool: 'forks',
    testTimeout: 20_000,
    hookTimeout: 30_000,
    teardownTimeout: 10_000,
    allowOnly: false,
    passWithNoTests: false,
    reporters: ['default', './test/counts-reporter.ts'],
  },
});

/**
 * A vitest reporter that writes how many tests passed and failed to the file that GYRE_TEST_COUNTS
 * names, as two numbers on one line. Files that could not be loaded and errors outside of any test
 * count as failures; a test that was skipped counts as neither.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import type { Reporter, TestModule } from 'vitest/node';

export type Counts = { passed: number; failed: number };

export default class CountsReporter implements Reporter {
  onTestRunEnd(modules: readonly TestModule[], unhandledErrors: readonly unknown[]): void {
    const path = process.env['GYRE_TEST_COUNTS'];
    if (path === undefined || path === '') return;
    const { passed, failed } = countTests(modules);
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, `${passed} ${failed + unhandledErrors.length}\n`);
  }
}

function countTests(modules: readonly TestModule[]): Counts {
  const counts = { passed: 0, failed: 0 };
  for (const module of modules) {
    let failedHere = 0;
    for (const test of module.children.allTests()) {
      const { state } = test.result();
      if (state === 'passed') counts.passed += 1;
      if (state === 'failed') failedHere += 1;
    }
    // A module may fail with all its tests passed: a hook, or the file itself.
    counts.failed += module.ok() ? failedHere : Math.max(failedHere, 1);
  }
  return counts;
}

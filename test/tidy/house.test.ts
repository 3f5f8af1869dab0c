/**
 * The project itself, held against the rules of the house. A failure lists file, line, reason and
 * the offending line.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { checkHouse, formatViolation, RULES } from './house-rules.ts';
import type { SourceFile } from './house-rules.ts';

const ROOT = join(import.meta.dirname, '../..');
/** What is made, fetched or run here, and is no part of the project. */
const FOREIGN = new Set(['node_modules', '.git', '.cache', '.gyre']);
const BINARY = /\.(?:png|jpe?g|gif|ico|pdf|woff2?|wasm|bin)$/;

function filesUnder(folder: string): SourceFile[] {
  return readdirSync(join(ROOT, folder), { withFileTypes: true }).flatMap((entry) => {
    const path = folder === '' ? entry.name : `${folder}/${entry.name}`;
    if (FOREIGN.has(entry.name)) return [];
    if (entry.isDirectory()) return filesUnder(path);
    if (!entry.isFile() || BINARY.test(path)) return [];
    return [{ path, text: readFileSync(join(ROOT, path), 'utf8') }];
  });
}

const files = filesUnder('');
const violations = checkHouse(files);

test('the project is there to be checked', () => {
  const paths = files.map(({ path }) => path);
  expect(paths).toContain('package.json');
  expect(paths).toContain('test/tidy/house-rules.ts');
  expect(paths.filter((path) => /^(?:schemas|shared)\/.*\.ts$/.test(path)).length).toBeGreaterThan(
    5,
  );
});

test.each(RULES)('%s', (rule) => {
  expect(violations.filter((found) => found.rule === rule).map(formatViolation)).toEqual([]);
});

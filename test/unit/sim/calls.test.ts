/** Calls of the simulator's programs: wrong ones, and one that is stopped and goes on. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, onTestFinished, test } from 'vitest';
import { noTotals, type Totals } from '../../sim/results.ts';

const root = fileURLToPath(new URL('../../../', import.meta.url));

function call(program: string, ...flags: readonly string[]) {
  const args = [path.join('test', 'sim', program), ...flags];
  return spawnSync(process.execPath, args, { cwd: root, encoding: 'utf8' });
}

function stateFile(): string {
  const folder = mkdtempSync(path.join(tmpdir(), 'gyre-calls-'));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  return path.join(folder, 'million.json');
}

test.each([
  ['main.ts', ['--nosuch'], '--nosuch'],
  ['main.ts', ['--seeds', '5..1'], 'from 5 to 1'],
  ['main.ts', ['--seeds', '1..2', '--trace'], 'one run'],
  ['million.ts', ['--minutes', 'abc'], 'minutes'],
  ['matrix.ts', ['--jobs', '0'], '--jobs'],
  ['planted/planted.ts', ['stray'], 'stray'],
])('%s %j is a wrong call: one line, and 2', (program, flags, named) => {
  const { status, stdout, stderr } = call(program, ...flags);
  expect(stderr).toMatch(/^[^\n]+ \(--help tells how to call it\)\n$/);
  expect(stderr).toContain(named);
  expect({ status, stdout }).toEqual({ status: 2, stdout: '' });
});

test('a million goes on behind the last seed that was run', () => {
  const file = stateFile();
  const state = (): { next: number; totals: Totals } => JSON.parse(readFileSync(file, 'utf8'));
  const flags = ['--state', file, '--jobs', '2', '--piece', '2'];
  const totals = { ...noTotals(), runs: 6 };
  writeFileSync(file, JSON.stringify({ version: 3, next: 7, seconds: 0, totals, broken: [] }));
  const { status, stderr } = call('million.ts', ...flags, '--seeds', '9');
  expect(status).toBe(0);
  expect(stderr).toContain('6 of 9 seeds are done, goes on with seed 7');
  expect(state()).toMatchObject({ next: 10, totals: { runs: 9, failed: [] } });
  const again = call('million.ts', ...flags, '--seeds', '9');
  expect(again.stderr).toContain('nothing is left');
  expect(state()).toMatchObject({ next: 10, totals: { runs: 9 } });
});

test('a damaged state says how to go on', () => {
  const file = stateFile();
  writeFileSync(file, '{"version":2,"next":');
  const { status, stderr } = call('million.ts', '--state', file);
  expect(status).toBe(2);
  expect(stderr).toContain(`${file} is damaged; --anew begins again`);
});

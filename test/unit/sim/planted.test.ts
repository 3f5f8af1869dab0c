import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { stripTypeScriptTypes } from 'node:module';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, onTestFinished, test } from 'vitest';
import { activities } from '../../sim/activities.ts';
import { bugs } from '../../sim/planted/list.ts';
import { filesOf, planted, PlantingError, type PlantedBug } from '../../sim/planted/mutation.ts';
import { plantingFailed } from '../../sim/planted/plant.ts';

const root = fileURLToPath(new URL('../../../', import.meta.url));
const invariants = Array.from({ length: 15 }, (_, index) => index + 1);

function sourceOf(file: string): string {
  return readFileSync(path.join(root, file), 'utf8');
}

/** Loads the files, or nothing, in a process that the hook is in. */
function run(bug: string, imports: readonly string[]) {
  const folder = mkdtempSync(path.join(tmpdir(), 'gyre-planted-'));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  const script = path.join(folder, 'script.mjs');
  const specifiers = imports.map((file) => JSON.stringify(path.join(root, file)));
  writeFileSync(script, specifiers.map((each) => `await import(${each});`).join('\n'));
  return spawnSync(
    process.execPath,
    ['--import', path.join(root, 'test/sim/planted/hook.ts'), script],
    { cwd: root, encoding: 'utf8', env: { ...process.env, GYRE_PLANTED_BUG: bug } },
  );
}

describe('the list of planted bugs', () => {
  test('names at least 25, each once', () => {
    expect(bugs.length).toBeGreaterThanOrEqual(25);
    expect(new Set(bugs.map(({ name }) => name)).size).toBe(bugs.length);
    expect(bugs.filter(({ name }) => !/^[a-z]+(-[a-z]+)+$/.test(name))).toEqual([]);
  });

  test.each(invariants)('has one for invariant %i', (invariant) => {
    expect(bugs.filter((bug) => bug.invariant === invariant)).not.toEqual([]);
  });

  test('needs only activities that there are', () => {
    const known = activities.map(({ name }) => name);
    const needed = bugs.flatMap(({ needs }) => needs.activities ?? []);
    expect(needed.filter((name) => !known.includes(name))).toEqual([]);
  });

  test('changes production code and its ports, and no checker', () => {
    const files = bugs.flatMap(filesOf);
    const isPort = (file: string): boolean =>
      /^test\/sim\/(?:disk|sim-bus|network|token)/.test(file);
    expect(files.filter((file) => !/^(?:agents|shared)\//.test(file) && !isPort(file))).toEqual([]);
  });
});

describe.each(bugs)('$name', (bug) => {
  test.each(filesOf(bug))('stands in %s as it is now, and leaves it a program', (file) => {
    const source = sourceOf(file);
    const changed = planted(bug, file, source);
    expect(changed).not.toBe(source);
    expect(stripTypeScriptTypes(changed)).toContain('export');
  });
});

describe('planting', () => {
  const bug: PlantedBug = {
    name: 'not-there',
    invariant: 1,
    what: '',
    edits: [{ file: 'a.ts', find: 'twice', replace: 'once' }],
    needs: { faults: [], story: '' },
  };

  test.each(['', 'nothing of it', 'twice and twice'])('refuses %j', (source) => {
    expect(() => planted(bug, 'a.ts', source)).toThrow(PlantingError);
  });

  test('changes what is named and nothing else', () => {
    expect(planted(bug, 'a.ts', 'not twice')).toBe('not once');
    expect(planted(bug, 'b.ts', 'not twice')).toBe('not twice');
  });

  test('takes a replacement as it is', () => {
    const edit = { file: 'a.ts', find: 'twice', replace: "$& $' $1" };
    expect(planted({ ...bug, edits: [edit] }, 'a.ts', 'twice')).toBe("$& $' $1");
  });

  test('a process without a name runs as it is', () => {
    expect(run('', ['shared/core/approvals.ts']).status).toBe(0);
  });

  test('a bug that is planted is loaded', () => {
    const bug = 'a-held-slot-is-given-away';
    const { status, stderr } = run(bug, ['shared/core/slots.ts']);
    expect(stderr).toBe('');
    expect(status).toBe(0);
  });

  test('a text that is not there ends the process', () => {
    const file = 'shared/core/approvals.ts';
    const gone = { ...bug, edits: [{ file, find: 'no such text', replace: '' }] };
    const folder = mkdtempSync(path.join(tmpdir(), 'gyre-planted-'));
    onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
    const script = path.join(folder, 'script.mjs');
    const plantFile = path.join(root, 'test/sim/planted/plant.ts');
    const text = [
      `import { plant } from ${JSON.stringify(plantFile)};`,
      `plant(${JSON.stringify(gone)});`,
      `await import(${JSON.stringify(path.join(root, file))});`,
    ];
    writeFileSync(script, text.join('\n'));
    const { status, stderr } = spawnSync(process.execPath, [script], { encoding: 'utf8' });
    expect(status).toBe(plantingFailed);
    expect(stderr).toContain('stands 0 times');
  });

  test('a name that nobody planted ends the process', () => {
    const { status, stderr } = run('no-such-bug', []);
    expect(status).toBe(plantingFailed);
    expect(stderr).toContain('no-such-bug');
  });

  test('a file that was never loaded ends the process', () => {
    const { status, stderr } = run('a-held-slot-is-given-away', []);
    expect(status).toBe(plantingFailed);
    expect(stderr).toContain('shared/core/slots.ts');
  });
});

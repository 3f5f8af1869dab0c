/** The Node that gyre asks for is the one that it is tested with: package, start script and doctor agree. */
import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { checkNode } from '#cli/doctor/checks.ts';

const root = join(import.meta.dirname, '../../..');
const jsonOf = (path: string) => JSON.parse(readFileSync(join(root, path), 'utf8'));
const tested = Number(jsonOf('package.json').devDependencies.node.split('.')[0]);

let folder: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'gyre-node-'));
});

afterEach(() => rmSync(folder, { recursive: true, force: true }));

/** What the start script says where the only Node is one that calls itself `version`. */
function startedUnder(version: string): string {
  const [bin, path] = [join(folder, 'bin'), join(folder, 'path')];
  for (const each of [bin, path]) mkdirSync(each, { recursive: true });
  const script = join(bin, 'gyre');
  copyFileSync(join(root, 'bin/gyre'), script);
  const disguise = `Object.defineProperty(process, 'versions', { value: { node: '${version}' } });`;
  const node = `#!/bin/sh
if [ "$1" = --version ]; then echo v${version}; exit; fi
exec '${process.execPath}' -e "${disguise} $2" "$3"
`;
  writeFileSync(join(path, 'node'), node);
  for (const each of [script, join(path, 'node')]) chmodSync(each, 0o755);
  const environment = { ...process.env, PATH: `${path}:/usr/bin:/bin` };
  const { status, stderr } = spawnSync(script, ['--help'], { env: environment, encoding: 'utf8' });
  expect(status).toBe(1);
  return stderr;
}

test('package.json and its lock ask for the major version that is tested', () => {
  const needed = `>=${tested}.0.0`;
  expect(jsonOf('package.json').engines.node).toBe(needed);
  expect(jsonOf('package-lock.json').packages[''].engines.node).toBe(needed);
});

test('the start script refuses an older one, and says which is needed', () => {
  for (const version of ['24.8.0', `${tested - 1}.9.0`]) {
    const needed = `is v${version}, but Node.js ${tested}.0 or newer is needed`;
    expect(startedUnder(version)).toContain(needed);
  }
  for (const version of [`${tested}.0.0`, `${tested + 1}.0.0`]) {
    expect(startedUnder(version)).toContain('the npm packages are not installed');
  }
});

test('and so does the doctor', () => {
  const verdictOf = (node: string) => checkNode({ node, openssl: '3.5.8' }).verdict;
  expect(verdictOf(`${tested - 1}.9.0`)).toBe('fail');
  expect(verdictOf(`${tested}.0.0`)).toBe('ok');
});

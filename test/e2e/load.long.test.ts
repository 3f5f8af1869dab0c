/**
 * The short form of `make load`: three rotations, one emergency and some kills under a load, and everything
 * that is looked at afterwards. What it printed is shown where it failed.
 */
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { projectRoot } from '../support/gyre.ts';

test('three rotations under a load, with processes killed at random: no request fails', async () => {
  const main = join(projectRoot, 'test', 'load', 'main.ts');
  const settings = { GYRE_LOAD_SEED: '7', GYRE_LOAD_ROTATIONS: '3', GYRE_LOAD_SECONDS: '0' };
  const child = spawn(process.execPath, ['--disable-warning=ExperimentalWarning', main], {
    env: { ...process.env, ...settings },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let said = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => (said += text));
  child.stderr.setEncoding('utf8').on('data', (text: string) => (said += text));
  const code = await new Promise((resolve) => child.once('close', resolve));
  expect(code, said).toBe(0);
  expect(said).toMatch(/ requests, 0 failed, /);
});

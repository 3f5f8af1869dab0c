/** The file token against the token contract, and what is its own. */
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { describe, expect, onTestFinished, test } from 'vitest';

import { openFileToken } from '#shared/runtime/token/file-token.ts';

import { expectCode, tokenContract } from './suite.ts';
import type { TokenBackend } from './suite.ts';

async function makeFileBackend(): Promise<TokenBackend> {
  const dir = await mkdtemp(join(tmpdir(), 'gyre-file-token-'));
  const seedDirectory = join(dir, 'keys');
  return {
    open: (pin = 'right-pin') =>
      openFileToken({ label: 'gyre-test', directory: seedDirectory, pin: () => Buffer.from(pin) }),
    seedDirectory,
    another: makeFileBackend,
    remove: () => rm(dir, { recursive: true, force: true }),
  };
}

describe('file token', () => {
  tokenContract(makeFileBackend);

  test('describes itself', async () => {
    const backend = await makeFileBackend();
    onTestFinished(backend.remove);
    const token = await backend.open();
    expect(token.describe()).toEqual({
      kind: 'file',
      label: 'gyre-test',
      mode: 'file',
      isHsm: false,
      notice: 'file token: not an HSM',
    });
  });

  test('two first openings at once make one token', async () => {
    const backend = await makeFileBackend();
    onTestFinished(backend.remove);
    const [first, second] = await Promise.all([backend.open(), backend.open()]);
    const { publicKey } = await first.generateKey('audit');
    expect(await second.publicKey('audit')).toEqual(publicKey);
  });

  test('takes its PIN from a file, without the line break at its end', async () => {
    const backend = await makeFileBackend();
    onTestFinished(backend.remove);
    await (await backend.open()).close();
    const path = join(backend.seedDirectory, 'pin');
    await writeFile(path, 'right-pin\n');
    const options = { label: 'gyre-test', directory: backend.seedDirectory, pin: { path } };
    expect(await (await openFileToken(options)).canary()).toMatchObject({ ok: true });
  });

  test('does not start afresh beside keys whose token.key is missing or damaged', async () => {
    const backend = await makeFileBackend();
    onTestFinished(backend.remove);
    await (await backend.open()).close();
    const path = join(backend.seedDirectory, 'token.key');
    const header = await readFile(path);
    await writeFile(path, header.subarray(1));
    await expectCode(backend.open(), 'TOKEN_FAILED');
    await rm(path);
    await expectCode(backend.open(), 'TOKEN_FAILED');
    await writeFile(path, header);
    await (await backend.open()).close();
  });
});

/** SoftHSM2 in wrapped-seed mode against the token contract, its provisioning and its refusals. */
import { execFile } from 'node:child_process';
import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

import { afterAll, describe, expect, onTestFinished, test } from 'vitest';

import {
  initialiseSoftHsmToken,
  preparePkcs11Token,
} from '#shared/runtime/token/pkcs11-provisioning.ts';
import { openPkcs11Token } from '#shared/runtime/token/pkcs11-token.ts';

import { makeSoftHsmToken, removeOriginals, softHsm } from '../../support/softhsm.ts';
import type { SoftHsmForTest } from '../../support/softhsm.ts';
import { expectCode, tokenContract } from './suite.ts';
import type { TokenBackend } from './suite.ts';

async function makeSoftHsmBackend(copyOf = 'first'): Promise<TokenBackend> {
  const { options, dir, remove } = await makeSoftHsmToken({ copyOf });
  return {
    open: (pin) =>
      openPkcs11Token(pin === undefined ? options : { ...options, pin: () => Buffer.from(pin) }),
    seedDirectory: join(dir, 'keys'),
    another: () => makeSoftHsmBackend('another'),
    remove,
  };
}

async function freshToken(): Promise<SoftHsmForTest> {
  const token = await makeSoftHsmToken({ copyOf: 'first' });
  onTestFinished(token.remove);
  return token;
}

/** Runs statements on a logged-in, writable session (`p`, `s`, `keys`) in a process of its own. */
async function onSession(token: SoftHsmForTest, statements: string): Promise<void> {
  const script = `
    const { PKCS11 } = require(${JSON.stringify(createRequire(import.meta.url).resolve('pkcs11js'))});
    const p = new PKCS11(${JSON.stringify(token.options.libraryPath)});
    p.C_Initialize({ flags: 2 });
    const s = p.C_OpenSession(p.C_GetSlotList(true)[0], 6);
    p.C_Login(s, 1, ${JSON.stringify(token.pin)});
    p.C_FindObjectsInit(s, [{ type: 0, value: 4 }]);
    const keys = p.C_FindObjects(s, 10);
    p.C_FindObjectsFinal(s);
    const aes = (extra) => [
      { type: 0, value: 4 }, { type: 3, value: 'gyre-seed-wrapping-key' },
      { type: 0x100, value: 0x1f }, { type: 1, value: true }, { type: 2, value: true },
      { type: 0x103, value: true }, { type: 0x162, value: false },
      { type: 0x108, value: false }, { type: 0x10c, value: false }, { type: 0x170, value: false },
      { type: 0x104, value: true }, { type: 0x105, value: true },
      { type: 0x106, value: false }, { type: 0x107, value: false }, ...extra];
    ${statements}
    p.C_Finalize();`;
  await promisify(execFile)(process.execPath, ['--input-type=commonjs', '-e', script], {
    env: { ...token.options.env },
  });
}

afterAll(removeOriginals);

describe.runIf('libraryPath' in softHsm)('SoftHSM2 token', () => {
  tokenContract(() => makeSoftHsmBackend());

  test('describes itself as software', async () => {
    const { options } = await freshToken();
    const token = await openPkcs11Token(options);
    expect(token.describe()).toEqual({
      kind: 'pkcs11',
      label: 'gyre-test',
      mode: 'wrapped-seed',
      isHsm: false,
      notice: 'software token (SoftHSM2), wrapped-seed mode: not an HSM',
    });
    await token.close();
  });

  test('a library, a token or a PIN file that is not there has its own code', async () => {
    const { options, dir } = await freshToken();
    const open = (change: object) => openPkcs11Token({ ...options, ...change });
    await expectCode(open({ libraryPath: '/nonexistent/lib.so' }), 'TOKEN_LIBRARY_MISSING');
    await expectCode(
      open({ libraryPath: fileURLToPath(import.meta.url) }),
      'TOKEN_LIBRARY_MISSING',
    );
    await expectCode(open({ label: 'another-token' }), 'TOKEN_NOT_FOUND');
    await expectCode(open({ env: { SOFTHSM2_CONF: join(dir, 'nothing') } }), 'TOKEN_UNREACHABLE');
    await expectCode(open({ pin: { path: join(dir, 'nothing') } }), 'TOKEN_FAILED');
  });

  test('without the package pkcs11js it says so', async () => {
    const { options } = await freshToken();
    const bare = await mkdtemp(join(tmpdir(), 'gyre-bare-'));
    onTestFinished(() => rm(bare, { recursive: true, force: true }));
    const source = fileURLToPath(new URL('../../../shared/runtime/token', import.meta.url));
    await cp(source, join(bare, 'token'), { recursive: true });
    // What of the project it needs beside its own folder.
    await cp(join(source, '..', 'durable-file.ts'), join(bare, 'durable-file.ts'));
    await writeFile(join(bare, 'package.json'), JSON.stringify({ type: 'module' }));
    const script = `
      import { openPkcs11Token } from './token/pkcs11-token.ts';
      const options = ${JSON.stringify({ ...options, pin: undefined })};
      await openPkcs11Token({ ...options, pin: () => Buffer.from('1234') }).then(
        () => console.log('opened'),
        (error) => console.log(error.code),
      );`;
    const { stdout } = await promisify(execFile)(
      process.execPath,
      ['--input-type=module', '-e', script],
      { cwd: bare },
    );
    expect(stdout.trim()).toBe('TOKEN_LIBRARY_MISSING');
  });

  test('initialising again changes nothing and tries the PIN once', async () => {
    const { options, dir, pin } = await freshToken();
    const again = (userPin: string) =>
      initialiseSoftHsmToken({
        dir,
        label: options.label,
        libraryPath: options.libraryPath,
        pin: () => Buffer.from(userPin),
        soPin: () => Buffer.from('whatever'),
      });
    expect(await again(pin)).toMatchObject({ changed: false });
    await expectCode(again('not-the-pin'), 'TOKEN_PIN_WRONG');
    const token = await openPkcs11Token(options);
    await token.close();
  });

  test('initialising goes on where an earlier run stopped', async () => {
    const dir = await mkdtemp(join(tmpdir(), 'gyre-softhsm-'));
    onTestFinished(() => rm(dir, { recursive: true, force: true }));
    const { options } = await freshToken();
    const make = (soPin: string) =>
      initialiseSoftHsmToken({
        dir,
        label: 'half-made',
        libraryPath: options.libraryPath,
        pin: () => Buffer.from('user-pin'),
        soPin: () => Buffer.from(soPin),
      });
    // SoftHSM takes a short PIN for the officer's login, never for its initialisation.
    await expectCode(make('1'), 'TOKEN_FAILED');
    expect(await make('officer-pin')).toMatchObject({ changed: true });
    expect(await make('officer-pin')).toMatchObject({ changed: false });
  });

  test('preparing makes the wrapping key once', async () => {
    const token = await freshToken();
    await onSession(token, 'for (const key of keys) p.C_DestroyObject(s, key);');
    await expectCode(openPkcs11Token(token.options), 'TOKEN_FAILED');
    expect(await preparePkcs11Token(token.options)).toMatchObject({ changed: true });
    expect(await preparePkcs11Token(token.options)).toMatchObject({ changed: false });
    await (await openPkcs11Token(token.options)).close();
  });

  test('refuses a wrapping key that was brought in, or that may leave, or a second one', async () => {
    const token = await freshToken();
    const template = 'aes([{ type: 0x161, value: 32 }])';
    const make = (change: string) =>
      `p.C_GenerateKey(s, { mechanism: 0x1080, parameter: null }, ${template}${change});`;
    await onSession(token, make(''));
    await expectCode(openPkcs11Token(token.options), 'TOKEN_FAILED');
    const clear = 'for (const key of keys) p.C_DestroyObject(s, key);';
    await onSession(
      token,
      `${clear} p.C_CreateObject(s, aes([{ type: 0x11, value: Buffer.alloc(32, 1) }]));`,
    );
    await expectCode(openPkcs11Token(token.options), 'TOKEN_FAILED');
    await expectCode(preparePkcs11Token(token.options), 'TOKEN_FAILED');
    const extractable = make('.map((a) => (a.type === 0x162 ? { ...a, value: true } : a))');
    await onSession(token, `${clear} ${extractable}`);
    await expectCode(openPkcs11Token(token.options), 'TOKEN_FAILED');
    await onSession(token, `${clear} ${make('')}`);
    await (await openPkcs11Token(token.options)).close();
  });

  test('shows no PIN in the arguments or the environment of the child', async () => {
    const { options, pin } = await freshToken();
    const token = await openPkcs11Token(options);
    const procFolder = `/proc/${token.childPid()}`;
    for (const file of ['cmdline', 'environ']) {
      expect((await readFile(`${procFolder}/${file}`)).includes(pin)).toBe(false);
    }
    await token.close();
  });
});

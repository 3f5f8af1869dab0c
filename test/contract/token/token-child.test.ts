/**
 * The life of the token child: what happens when it is killed, stopped, hangs in the library or
 * loses its session, when its parent dies, and how often a PIN is tried. Real processes, real
 * SoftHSM2; the spy library counts and hangs.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';

import { afterAll, afterEach, beforeEach, describe, expect, test, vi } from 'vitest';

import type { TokenEvent } from '#shared/runtime/token/child-supervisor.ts';
import { openPkcs11Token } from '#shared/runtime/token/pkcs11-token.ts';
import type { Pkcs11Token, Pkcs11TokenOptions } from '#shared/runtime/token/pkcs11-token.ts';

import { makeSpiedToken, removeSpy, spyLibraryPath } from './spy.ts';
import type { SpiedToken } from './spy.ts';
import { context, expectCode, message, verifies } from './suite.ts';

function exists(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}

function requirePid(token: Pkcs11Token): number {
  const pid = token.childPid();
  if (pid === null) throw new Error('the token has no child');
  return pid;
}

afterAll(removeSpy);

describe.runIf(spyLibraryPath !== null)('token child', () => {
  let hsm: SpiedToken;
  let token: Pkcs11Token;
  let publicKey: Uint8Array;
  let events: TokenEvent[];

  async function open(change: Partial<Pkcs11TokenOptions> = {}): Promise<Pkcs11Token> {
    return openPkcs11Token({ ...hsm.options, onEvent: (event) => events.push(event), ...change });
  }

  function lossReasons(): string[] {
    return events.flatMap((event) => (event.kind === 'child-lost' ? [event.reason] : []));
  }

  const hanging = () => vi.waitUntil(() => hsm.calls().at(-1) === 'decrypt hangs', 20_000);
  const logins = () => hsm.calls().filter((call) => call === 'login').length;

  beforeEach(async () => {
    events = [];
    hsm = await makeSpiedToken();
    token = await open();
    ({ publicKey } = await token.generateKey('audit'));
  });

  afterEach(async () => {
    await token.close();
    await hsm.remove();
  });

  test('killed inside the library in mid-sign, the signature still comes', async () => {
    const pid = requirePid(token);
    hsm.plan('hang');
    const signing = token.sign('audit', message, context);
    await hanging();
    process.kill(pid, 'SIGKILL');
    expect(verifies(publicKey, await signing)).toBe(true);
    expect(requirePid(token)).not.toBe(pid);
    expect(lossReasons()).toEqual(['exited']);
    expect(events.at(-1)).toMatchObject({ kind: 'child-started', restarts: 1 });
  });

  test('killed at any moment, 20 waiting signatures still come', async () => {
    const signing = Array.from({ length: 20 }, () => token.sign('audit', message, context));
    await signing[3];
    process.kill(requirePid(token), 'SIGKILL');
    const signatures = await Promise.all(signing);
    expect(signatures.every((signature) => verifies(publicKey, signature))).toBe(true);
    expect(lossReasons()).toEqual(['exited']);
  });

  test('stopped, it is timed out, killed and replaced', async () => {
    await token.close();
    token = await open({ requestTimeoutMs: 500 });
    const pid = requirePid(token);
    process.kill(pid, 'SIGSTOP');
    expect(verifies(publicKey, await token.sign('audit', message, context))).toBe(true);
    expect(exists(pid)).toBe(false);
    expect(lossReasons()).toEqual(['closed', 'timeout']);
  });

  test('hanging twice is TOKEN_TIMEOUT, and the next request works', async () => {
    await token.close();
    token = await open({ requestTimeoutMs: 500 });
    hsm.plan('hang');
    const signing = expectCode(token.sign('audit', message, context), 'TOKEN_TIMEOUT');
    await hanging();
    hsm.plan('hang');
    await signing;
    expect(verifies(publicKey, await token.sign('audit', message, context))).toBe(true);
  });

  test('a key is never made twice: generation is not repeated after a loss', async () => {
    hsm.plan('hang');
    const making = token.generateKey('enrolment');
    await hanging();
    process.kill(requirePid(token), 'SIGKILL');
    await expectCode(making, 'TOKEN_UNREACHABLE');
    // The child died reading the seed back, so the key is there, as `publicKey` tells.
    expect((await token.publicKey('enrolment')).length).toBe(2592);
  });

  test('a lost session is a new child with a new login', async () => {
    const before = logins();
    hsm.plan('session-lost');
    expect(verifies(publicKey, await token.sign('audit', message, context))).toBe(true);
    expect(logins()).toBe(before + 1);
    expect(lossReasons()).toEqual(['session-lost']);
  });

  test('a wrong PIN is tried once, and never again', async () => {
    const before = logins();
    await expectCode(open({ pin: () => Buffer.from('not-the-pin') }), 'TOKEN_PIN_WRONG');
    expect(logins()).toBe(before + 1);
  });

  test('a PIN that stops being right ends the token after one try', async () => {
    await token.close();
    let pin = hsm.pin;
    token = await open({ pin: () => Buffer.from(pin) });
    pin = 'not-the-pin';
    const before = logins();
    process.kill(requirePid(token), 'SIGKILL');
    const waiting = Array.from({ length: 5 }, () =>
      expectCode(token.sign('audit', message, context), 'TOKEN_PIN_WRONG'),
    );
    await Promise.all(waiting);
    await expectCode(token.publicKey('audit'), 'TOKEN_PIN_WRONG');
    expect(logins()).toBe(before + 1);
    expect(token.childPid()).toBe(null);
  });

  test('the queue is bounded', async () => {
    await token.close();
    token = await open({ queueMax: 2 });
    hsm.plan('hang');
    const first = token.sign('audit', message, context);
    await hanging();
    const waiting = [1, 2].map(() => token.sign('audit', message, context));
    await expectCode(token.sign('audit', message, context), 'TOKEN_FAILED');
    process.kill(requirePid(token), 'SIGKILL');
    const signatures = await Promise.all([first, ...waiting]);
    expect(signatures.every((signature) => verifies(publicKey, signature))).toBe(true);
  });

  test('closing leaves no child behind, a hanging one neither', async () => {
    const pid = requirePid(token);
    await token.close();
    expect(exists(pid)).toBe(false);
    expect(token.childPid()).toBe(null);
    token = await open({ requestTimeoutMs: 500 });
    const stopped = requirePid(token);
    process.kill(stopped, 'SIGSTOP');
    await token.close();
    expect(exists(stopped)).toBe(false);
  });

  test.each(['idle', 'hanging'])('the death of its parent ends it, %s', async (state) => {
    const options = { ...hsm.options, pin: undefined };
    const parent = spawn(
      process.execPath,
      [fileURLToPath(new URL('./token-parent.ts', import.meta.url)), JSON.stringify(options)],
      { env: { ...process.env, GYRE_TEST_PIN: hsm.pin }, stdio: ['pipe', 'pipe', 'inherit'] },
    );
    const [line] = await once(parent.stdout, 'data');
    const pid = Number(String(line));
    expect(exists(pid)).toBe(true);
    if (state === 'hanging') {
      hsm.plan('hang');
      parent.stdin.write('sign\n');
      await hanging();
    }
    parent.kill('SIGKILL');
    await vi.waitUntil(() => !exists(pid), 20_000);
  });

  test.each(['SIGINT', 'SIGTERM', 'SIGHUP'] as const)('%s does not end it', async (signal) => {
    const pid = requirePid(token);
    process.kill(pid, signal);
    expect(verifies(publicKey, await token.sign('audit', message, context))).toBe(true);
    expect(requirePid(token)).toBe(pid);
  });
});

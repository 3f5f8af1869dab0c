/** The example by which a first user is enrolled (docs/layers/1-identity.md) makes what layer 1 takes. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { totpStepOf } from '#agents/layers/1-identity/totp.ts';
import { loginContext, sessionRequestCheck, userEntryCheck } from '#schemas/identity.ts';
import { fromBase64Url, toBase64Url, utf8 } from '#shared/crypto/bytes.ts';
import { crypto } from '../../support/world.ts';

const docs = join(import.meta.dirname, '../../../docs');
let folder = '';

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'gyre-user-'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function user(...words: string[]): unknown {
  const script = join(docs, 'examples/user.mjs');
  const file = join(folder, 'nora.json');
  const printed = execFileSync(process.execPath, [script, file, ...words], { stdio: 'pipe' });
  return JSON.parse(printed.toString());
}

test('a user is enrolled, and logs in with both factors', () => {
  const entry = user('enrol');
  if (!userEntryCheck.check(entry)) throw new Error(userEntryCheck.errors(entry).join('; '));
  expect(statSync(join(folder, 'nora.json')).mode & 0o777).toBe(0o600);
  const nonce = crypto.randomBytes(32);
  const challenge = { challengeId: 'A'.repeat(100), nonce: toBase64Url(nonce) };
  const request = user('sign', JSON.stringify(challenge));
  expect(sessionRequestCheck.errors(request)).toEqual([]);
  const { signature, otp } = request as { signature: string; otp: string };
  const raw = fromBase64Url(entry.publicKey) ?? new Uint8Array();
  const signed = { message: nonce, context: utf8(loginContext) };
  const signatureBytes = fromBase64Url(signature) ?? new Uint8Array();
  expect(crypto.verify(crypto.importVerifyKey(raw), { ...signed, signature: signatureBytes })).toBe(
    true,
  );
  const secret = fromBase64Url(entry.totpSecret ?? '') ?? new Uint8Array();
  expect(totpStepOf(secret, otp, Date.now())).toBeDefined();
});

test('a user is not enrolled over another one', () => {
  const before = readFileSync(join(folder, 'nora.json'));
  expect(() => user('enrol')).toThrow('EEXIST');
  expect(readFileSync(join(folder, 'nora.json'))).toEqual(before);
});

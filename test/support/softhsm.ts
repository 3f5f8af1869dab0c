/**
 * Throw-away SoftHSM2 tokens for tests: each in a temporary folder of its own, gone afterwards. Tests
 * that need one ask `softHsm` first, and a machine without it says so loudly instead of passing in
 * silence.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import {
  findSoftHsmLibrary,
  initialiseSoftHsmToken,
} from '#agents/signer/token/pkcs11-provisioning.ts';
import type { Pkcs11TokenOptions } from '#agents/signer/token/pkcs11-token.ts';

export interface SoftHsmForTest {
  /** What `openPkcs11Token` needs; override what a test changes. */
  options: Pkcs11TokenOptions;
  pin: string;
  /** The temporary folder: `softhsm2.conf`, `tokens` and `keys`. */
  dir: string;
  remove(): Promise<void>;
}

export type SoftHsmAvailability = { libraryPath: string } | { missing: string };

/** Whether SoftHSM2 and pkcs11js are here; what is missing goes to stderr, once. */
export const softHsm: SoftHsmAvailability = findSoftHsm();

if ('missing' in softHsm) {
  process.stderr.write(`\n*** NOT TESTED: the PKCS#11 token, because ${softHsm.missing} ***\n\n`);
}

/** A fresh token with its wrapping key. Fails if SoftHSM2 is not available. */
export async function makeSoftHsmToken(
  options: { label?: string; libraryPath?: string; env?: Record<string, string> } = {},
): Promise<SoftHsmForTest> {
  if ('missing' in softHsm) throw new Error(softHsm.missing);
  const dir = await mkdtemp(join(tmpdir(), 'gyre-softhsm-'));
  const label = options.label ?? 'gyre-test';
  const pin = 'test-pin-4711';
  const prepared = await initialiseSoftHsmToken({
    dir,
    label,
    libraryPath: softHsm.libraryPath,
    pin: () => Buffer.from(pin),
    soPin: () => Buffer.from('test-so-pin-0815'),
  });
  return {
    options: {
      libraryPath: options.libraryPath ?? prepared.libraryPath,
      label,
      directory: join(dir, 'keys'),
      pin: () => Buffer.from(pin),
      env: { ...prepared.env, ...options.env },
    },
    pin,
    dir,
    remove: () => rm(dir, { recursive: true, force: true }),
  };
}

function findSoftHsm(): SoftHsmAvailability {
  const libraryPath = findSoftHsmLibrary();
  if (libraryPath === null) {
    return { missing: 'no SoftHSM2 library was found (apt-get install softhsm2)' };
  }
  try {
    createRequire(import.meta.url)('pkcs11js');
  } catch (error) {
    return { missing: `the package pkcs11js does not load (${String(error)})` };
  }
  return { libraryPath };
}

/**
 * Throw-away SoftHSM2 tokens for tests: each in a temporary folder of its own, gone afterwards. They are
 * copies of one that is initialised once in a process, with its wrapping key, as it was before it was
 * opened. Tests that need one ask `softHsm` first, and a machine without it says so loudly instead of
 * passing in silence.
 */
import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { afterAll } from 'vitest';

import {
  findSoftHsmLibrary,
  initialiseSoftHsmToken,
} from '#agents/signer/token/pkcs11-provisioning.ts';
import type { Pkcs11TokenOptions } from '#agents/signer/token/pkcs11-token.ts';
import { compileCacheDirectory } from '#cli/mesh/compile-cache.ts';

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

export interface SoftHsmChoices {
  readonly libraryPath?: string;
  readonly env?: Readonly<Record<string, string>>;
  /** Another name is another wrapping key. */
  readonly copyOf?: string;
}

/** A fresh token with its wrapping key. Fails if SoftHSM2 is not available. */
export async function makeSoftHsmToken(options: SoftHsmChoices = {}): Promise<SoftHsmForTest> {
  if ('missing' in softHsm) throw new Error(softHsm.missing);
  const name = options.copyOf ?? 'first';
  const initialised = templates.get(name) ?? initialise(softHsm.libraryPath);
  templates.set(name, initialised);
  const template = await initialised;
  const dir = await mkdtemp(join(tmpdir(), 'gyre-softhsm-'));
  await cp(template, dir, { recursive: true });
  const configuration = join(dir, 'softhsm2.conf');
  const text = await readFile(configuration, 'utf8');
  await writeFile(configuration, text.replaceAll(template, dir));
  return {
    options: {
      libraryPath: options.libraryPath ?? softHsm.libraryPath,
      label,
      directory: join(dir, 'keys'),
      pin: () => Buffer.from(pin),
      env: {
        SOFTHSM2_CONF: configuration,
        // More than half of what starting a child takes is reading its files.
        NODE_COMPILE_CACHE: compileCacheDirectory,
        ...options.env,
      },
    },
    pin,
    dir,
    remove: () => rm(dir, { recursive: true, force: true }),
  };
}

const label = 'gyre-test';
const pin = 'test-pin-4711';
/** Folders of tokens that nobody opened yet. */
const templates = new Map<string, Promise<string>>();
afterAll(async () => {
  for (const dir of templates.values()) await rm(await dir, { recursive: true, force: true });
  templates.clear();
});

async function initialise(libraryPath: string): Promise<string> {
  const dir = await mkdtemp(join(tmpdir(), 'gyre-softhsm-'));
  await initialiseSoftHsmToken({
    dir,
    label,
    libraryPath,
    pin: () => Buffer.from(pin),
    soPin: () => Buffer.from('test-so-pin-0815'),
  });
  return dir;
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

/**
 * Throw-away SoftHSM2 tokens for tests: each in a temporary folder of its own, gone afterwards. Who
 * needs many has copies of one, as it was before it was opened. Tests that need one ask `softHsm` first, and a machine without it says so loudly instead of
 * passing in silence.
 */
import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import {
  findSoftHsmLibrary,
  initialiseSoftHsmToken,
} from '#shared/runtime/token/pkcs11-provisioning.ts';
import type { Pkcs11TokenOptions } from '#shared/runtime/token/pkcs11-token.ts';
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
  readonly label?: string;
  readonly libraryPath?: string;
  readonly env?: Readonly<Record<string, string>>;
  /** Copies of one name are initialised once, and have one wrapping key. */
  readonly copyOf?: string;
}

/** A fresh token with its wrapping key. Fails if SoftHSM2 is not available. */
export async function makeSoftHsmToken(options: SoftHsmChoices = {}): Promise<SoftHsmForTest> {
  if ('missing' in softHsm) throw new Error(softHsm.missing);
  const { libraryPath } = softHsm;
  const label = options.label ?? 'gyre-test';
  const dir = await mkdtemp(join(tmpdir(), 'gyre-softhsm-'));
  if (options.copyOf === undefined) await initialise(dir, label, libraryPath);
  else await copy(`${options.copyOf} ${label}`, dir, { label, libraryPath });
  return {
    options: {
      libraryPath: options.libraryPath ?? libraryPath,
      label,
      directory: join(dir, 'keys'),
      pin: () => Buffer.from(pin),
      env: {
        SOFTHSM2_CONF: join(dir, configuration),
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

/** For `afterAll` of those who made copies. */
export async function removeOriginals(): Promise<void> {
  for (const dir of originals.values()) await rm(await dir, { recursive: true, force: true });
  originals.clear();
}

const pin = 'test-pin-4711';
const configuration = 'softhsm2.conf';
/** Folders of tokens that nobody opened. */
const originals = new Map<string, Promise<string>>();

async function copy(
  name: string,
  dir: string,
  { label, libraryPath }: { readonly label: string; readonly libraryPath: string },
): Promise<void> {
  const made =
    originals.get(name) ??
    mkdtemp(join(tmpdir(), 'gyre-softhsm-')).then((own) => initialise(own, label, libraryPath));
  originals.set(name, made);
  const original = await made;
  await cp(original, dir, { recursive: true });
  const text = await readFile(join(original, configuration), 'utf8');
  await writeFile(join(dir, configuration), text.replaceAll(original, dir));
}

async function initialise(dir: string, label: string, libraryPath: string): Promise<string> {
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

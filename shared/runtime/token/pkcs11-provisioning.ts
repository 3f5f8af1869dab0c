/**
 * Makes tokens ready: a private SoftHSM2 token from nothing, or the wrapping key in a token that
 * someone else initialised. Both run in a token child through the library itself, not through
 * softhsm2-util, so that no PIN shows in a process list. Both may be run again after a crash and go
 * on where they stopped.
 */
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { join, resolve } from 'node:path';

import { createDurably, systemCode } from '../durable-file.ts';
import type { Operation } from './child-messages.ts';
import { TokenProcess } from './child-process.ts';
import { readPin } from './pin.ts';
import type { PinSource } from './pin.ts';
import { TokenError, isTokenLabel } from './token.ts';

export interface SoftHsmTokenOptions {
  /** Private to the token; made if missing, mode 0700. */
  dir: string;
  label: string;
  libraryPath: string;
  pin: PinSource;
  soPin: PinSource;
  /** False for a token whose keys go by name (key-token.ts), which wraps no seeds; true unless told. */
  wrappingKey?: boolean;
}

export interface PreparedToken {
  libraryPath: string;
  label: string;
  /** What the token's child needs in its environment. */
  env: Readonly<Record<string, string>>;
  /** False if the token was ready before. */
  changed: boolean;
}

/** Where distributions put the library; GYRE_SOFTHSM_LIB overrides them all. */
const softHsmLibraryPaths = [
  '/usr/lib/softhsm/libsofthsm2.so',
  '/usr/lib64/softhsm/libsofthsm2.so',
  '/usr/lib64/pkcs11/libsofthsm2.so',
  '/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so',
  '/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so',
  '/usr/local/lib/softhsm/libsofthsm2.so',
  '/opt/homebrew/lib/softhsm/libsofthsm2.so',
];
/** SoftHSM derives a key from each PIN, and a busy disk must not fail a provisioning. */
const provisioningTimeoutMs = 30_000;

/** The SoftHSM2 library of this machine, null if there is none. */
export function findSoftHsmLibrary(
  environment: Readonly<Record<string, string | undefined>> = process.env,
): string | null {
  const named = environment['GYRE_SOFTHSM_LIB'];
  if (named !== undefined && named !== '') return existsSync(named) ? named : null;
  return softHsmLibraryPaths.find((path) => existsSync(path)) ?? null;
}

/**
 * A SoftHSM2 token in a folder of its own, with its wrapping key. If the token is there already the
 * PIN is tried once (TOKEN_PIN_WRONG) and nothing changes; not so where no wrapping key is wanted.
 */
export async function initialiseSoftHsmToken(options: SoftHsmTokenOptions): Promise<PreparedToken> {
  const { label, libraryPath, wrappingKey = true } = options;
  assert(isTokenLabel(label), 'token label is 1 to 32 printable ASCII characters');
  const env = { SOFTHSM2_CONF: await writeConfiguration(resolve(options.dir)) };
  const pin = await readPin(options.pin);
  try {
    const soPin = await readPin(options.soPin);
    try {
      const names = { libraryPath, label, pin, soPin };
      const operation = { op: 'initialise', wrappingKey, ...names } as const;
      return { libraryPath, label, env, changed: await provision(operation, env) };
    } finally {
      soPin.fill(0);
    }
  } finally {
    pin.fill(0);
  }
}

/** Makes the wrapping key in a token that has its PINs, unless it is there. One login attempt. */
export async function preparePkcs11Token(options: {
  libraryPath: string;
  label: string;
  pin: PinSource;
  env?: Readonly<Record<string, string>>;
}): Promise<PreparedToken> {
  const { label, libraryPath, env = {} } = options;
  assert(isTokenLabel(label), 'token label is 1 to 32 printable ASCII characters');
  const pin = await readPin(options.pin);
  try {
    const operation = { op: 'prepare', libraryPath, label, pin } as const;
    return { libraryPath, label, env, changed: await provision(operation, env) };
  } finally {
    pin.fill(0);
  }
}

async function provision(
  operation: Operation,
  env: Readonly<Record<string, string>>,
): Promise<boolean> {
  const child = await TokenProcess.start({ env, onLost: () => {} });
  try {
    const outcome = await child.request(operation, provisioningTimeoutMs);
    if (outcome.outcome === 'provisioned') return outcome.changed;
    throw new TokenError('TOKEN_FAILED', `the token child answered ${outcome.outcome}`);
  } finally {
    await child.kill();
  }
}

/** The path of softhsm2.conf. */
async function writeConfiguration(dir: string): Promise<string> {
  const path = join(dir, 'softhsm2.conf');
  const tokens = join(dir, 'tokens');
  // The format has no quoting: one line is one setting.
  if (/[\r\n]/.test(dir)) throw new TokenError('TOKEN_FAILED', 'the folder has a line break');
  const lines = [
    `directories.tokendir = ${tokens}`,
    'objectstore.backend = file',
    'log.level = ERROR',
    'slots.removable = false',
  ];
  try {
    await mkdir(tokens, { recursive: true, mode: 0o700 });
    await createDurably(path, Buffer.from(`${lines.join('\n')}\n`));
  } catch (error) {
    if (systemCode(error) !== 'EEXIST') {
      throw new TokenError('TOKEN_FAILED', `cannot write ${path}`, { cause: error });
    }
  }
  return path;
}

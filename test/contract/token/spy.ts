/**
 * The spy library (spy-library.c) between the token child and SoftHSM2: compiled where there is a C
 * compiler, which also means wherever pkcs11js could be. It tells how often the library was asked to
 * log in, and makes it hang or lose its session when a test wants that.
 */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

import { makeSoftHsmToken, removeOriginals, softHsm } from '../../support/softhsm.ts';
import type { SoftHsmForTest } from '../../support/softhsm.ts';

export interface SpiedToken extends SoftHsmForTest {
  /** Calls so far, in order: `login`, `decrypt`, `decrypt hangs`. */
  calls(): string[];
  /** The next decryption never returns; `session-lost` makes it fail as without a session. */
  plan(what: 'hang' | 'session-lost'): void;
}

const folder = mkdtempSync(join(tmpdir(), 'gyre-spy-'));

/** Takes the library, its notes and the original of the tokens away; for `afterAll`. */
export async function removeSpy(): Promise<void> {
  rmSync(folder, { recursive: true, force: true });
  await removeOriginals();
}

/** The compiled library, null (said loudly) where it cannot be made. */
export const spyLibraryPath = 'missing' in softHsm ? null : compileSpy();

export async function makeSpiedToken(): Promise<SpiedToken> {
  if (spyLibraryPath === null || 'missing' in softHsm) throw new Error('no spy library');
  const spyDir = mkdtempSync(join(folder, 'token-'));
  const token = await makeSoftHsmToken({
    copyOf: 'spied',
    libraryPath: spyLibraryPath,
    env: { GYRE_SPY_DIR: spyDir, GYRE_SPY_REAL: softHsm.libraryPath },
  });
  const callsPath = join(spyDir, 'calls');
  return {
    ...token,
    calls: () =>
      existsSync(callsPath) ? readFileSync(callsPath, 'utf8').trimEnd().split('\n') : [],
    plan: (what) => writeFileSync(join(spyDir, what), ''),
  };
}

function compileSpy(): string | null {
  const output = join(folder, 'spy-library.so');
  const source = fileURLToPath(new URL('./spy-library.c', import.meta.url));
  const packageFolder = dirname(createRequire(import.meta.url).resolve('pkcs11js/package.json'));
  const headers = join(packageFolder, 'includes', 'pkcs11');
  try {
    execFileSync('cc', ['-shared', '-fPIC', '-I', headers, '-o', output, source, '-ldl']);
    return output;
  } catch (error) {
    process.stderr.write(
      `\n*** NOT TESTED: token hangs and login counts: ${String(error)} ***\n\n`,
    );
    return null;
  }
}

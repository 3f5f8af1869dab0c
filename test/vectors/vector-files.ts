/**
 * The published test vectors, which are not part of the project: a folder of gzipped JSON named by
 * GYRE_VECTORS (default: ../shared/vectors beside the project). Where it is missing, every test file
 * that wants it says so in a test of its own and on the console.
 */
import { existsSync, readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { expect, test } from 'vitest';
import type { CryptoProvider } from '#shared/crypto/provider.ts';
import { createNativeProvider } from '#shared/crypto/native-provider.ts';
import { createNobleProvider } from '#shared/crypto/noble-provider.ts';

const projectRoot = resolve(import.meta.dirname, '../..');

export const vectorFolder = resolve(
  projectRoot,
  process.env['GYRE_VECTORS'] ?? resolve(projectRoot, '../shared/vectors'),
);

/** Both providers: every vector goes through each. */
export const providers: readonly CryptoProvider[] = [createNativeProvider(), createNobleProvider()];

/**
 * Whether these files are there. Also registers a test that always runs and states the answer; a
 * folder that was named by hand must exist.
 */
export function haveVectors(...files: readonly string[]): boolean {
  const missing = files.filter((file) => !existsSync(resolve(vectorFolder, file)));
  const named = process.env['GYRE_VECTORS'] !== undefined;
  test(`test vectors in ${vectorFolder}: ${missing.length === 0 ? 'found' : 'MISSING, NOT RUN'}`, () => {
    if (missing.length > 0) {
      console.warn(
        `\n*** NOT TESTED: vectors ${missing.join(', ')} are not in ${vectorFolder}. ***\n` +
          '*** Set GYRE_VECTORS to the folder that holds them. ***\n',
      );
    }
    expect(named ? missing : [], 'files of the folder that GYRE_VECTORS names').toEqual([]);
  });
  return missing.length === 0;
}

interface VectorGroup<Group, Case> {
  readonly group: Group;
  readonly tests: readonly Case[];
}

/** The groups of one file, each with its cases. */
export function readVectors<Group, Case>(file: string): VectorGroup<Group, Case>[] {
  const text = gunzipSync(readFileSync(resolve(vectorFolder, file))).toString('utf8');
  const content = JSON.parse(text) as { testGroups: (Group & { tests: Case[] })[] };
  return content.testGroups.map((group) => ({ group, tests: group.tests }));
}

/** Bytes of hexadecimal in either case. */
export function hex(text: string): Uint8Array {
  return Uint8Array.from(Buffer.from(text, 'hex'));
}

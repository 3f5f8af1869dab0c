/**
 * For services that read their keys from files: the agent makes the keys, keeps them in its store, and
 * writes what the service needs, whole files at a time, after every change: `jwks.json`, the public
 * halves that are to be accepted, and for each slot `<key type>.jwk`, the primary key with its secret
 * half, readable by its owner alone. Then it runs the reload program, which has to end with 0.
 *
 * A new key is in jwks.json before it signs, an old one until it is destroyed. Files follow from the store
 * alone, so writing them again after a crash brings them up to date. Signature keys are written as
 * AKP keys (RFC 9964), symmetric ones as `oct`.
 */

import { chmodSync, mkdirSync } from 'node:fs';
import { toBase64Url } from '#shared/crypto/bytes.ts';
import type { Disk } from '#shared/runtime/disk.ts';
import { SystemDisk } from '#shared/runtime/system-disk.ts';
import { AdapterError } from '../adapter.ts';
import { EmbeddedAdapter, type EmbeddedOptions } from '../embedded/embedded-adapter.ts';
import type { StoredSlot, StoredVersion } from '../embedded/key-store.ts';
import { HookedAdapter, type SlotHooks } from '../service/hooked-adapter.ts';
import type { ProgramSpec } from './program.ts';
import { reload as runReload } from './reload.ts';

export interface KeyFilesOptions extends EmbeddedOptions {
  /** Where the service reads: made with mode 0700 if it is not there. */
  readonly directory: string;
  /** Told `{ "operation": "reload", "slot", "keyId" }` on standard input. */
  readonly reload?: ProgramSpec;
}

export interface KeyFiles {
  readonly keys: EmbeddedAdapter;
  readonly adapter: HookedAdapter;
}

/** @throws AdapterError */
export async function openKeyFiles(options: KeyFilesOptions): Promise<KeyFiles> {
  const { directory, reload } = options;
  const keys = EmbeddedAdapter.open(options);
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  chmodSync(directory, 0o700);
  const files = new SystemDisk(directory);
  const project = async (slot: string, without?: number): Promise<void> => {
    writeFiles(keys, files, without === undefined ? undefined : { slot, version: without });
    if (reload !== undefined) await runReload(reload, slot, keys.store.primary(slot)?.keyId);
  };
  const hooksOf = (slot: string): SlotHooks => ({
    prepared: () => project(slot),
    activated: () => project(slot),
    rolledBack: () => project(slot),
    retiring: (version) => project(slot, version),
  });
  const slots = keys.store.slots();
  const hooks = Object.fromEntries(slots.map(({ slot }) => [slot, hooksOf(slot)]));
  writeFiles(keys, files);
  return { keys, adapter: new HookedAdapter('key-files', keys, hooks) };
}

interface LeavingKey {
  readonly slot: string;
  readonly version: number;
}

/** Public halves first: a key that signs has been published. */
function writeFiles({ store }: EmbeddedAdapter, files: Disk, leaving?: LeavingKey): void {
  const slots = store.slots().map((slot) => {
    const versions = store.versions(slot.slot).filter(({ state, version }) => {
      const isLeaving = leaving?.slot === slot.slot && leaving.version === version;
      return state !== 'destroyed' && !isLeaving;
    });
    return { slot, versions };
  });
  const published = slots.flatMap(({ slot, versions }) =>
    versions.flatMap((version) => publicJwk(slot, version) ?? []),
  );
  write(files, 'jwks.json', { keys: published });
  for (const { slot, versions } of slots) {
    const primary = versions.find(({ state }) => state === 'primary');
    if (primary === undefined) continue;
    const secret = store.withKey(primary, (key) => toBase64Url(key.secret));
    write(files, `${keyType(slot)}.jwk`, secretJwk(slot, primary, secret));
  }
}

/** Undefined for symmetric keys. */
function publicJwk(slot: StoredSlot, { keyId, publicKey, state }: StoredVersion) {
  if (publicKey === undefined) return undefined;
  return {
    kty: 'AKP',
    alg: slot.algorithm,
    kid: keyId,
    use: slot.keyKind === 'signature' ? 'sig' : 'enc',
    pub: toBase64Url(publicKey),
    /** Ours: whether it is the one in use, or one that was or will be. */
    state,
  };
}

function secretJwk(slot: StoredSlot, version: StoredVersion, secret: string) {
  const { keyId, publicKey } = version;
  const common = { alg: slot.algorithm, kid: keyId };
  return publicKey === undefined
    ? { kty: 'oct', ...common, k: secret }
    : { kty: 'AKP', ...common, pub: toBase64Url(publicKey), priv: secret };
}

function keyType({ slot }: StoredSlot): string {
  return slot.slice(slot.indexOf('/') + 1);
}

function write(files: Disk, name: string, content: unknown): void {
  try {
    files.replaceFile(name, Buffer.from(`${JSON.stringify(content, null, 2)}\n`));
  } catch (cause) {
    throw new AdapterError('STORE_FAILED', `${files.place(name)} was not written`, {
      cause,
      retryable: true,
    });
  }
}

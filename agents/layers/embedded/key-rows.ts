/** Rows of the key store's tables, as the embedded key system works with them; no secret is in them. */

import type { SQLOutputValue } from 'node:sqlite';
import { keyKinds, type KeyKind } from '#schemas/layers.ts';
import { invariant } from '#shared/crypto/errors.ts';
import type { Artefact } from './key-kinds.ts';

const keyStates = ['prepared', 'primary', 'accepted', 'withdrawn', 'destroyed'] as const;
export type KeyState = (typeof keyStates)[number];

export type Row = Record<string, SQLOutputValue>;

export interface StoredSlot {
  readonly slot: string;
  readonly keyKind: KeyKind;
  readonly algorithm: string;
  readonly frozen: boolean;
}

export interface StoredVersion {
  readonly slot: string;
  readonly version: number;
  readonly state: KeyState;
  readonly keyId: string;
  readonly publicKey?: Uint8Array;
  readonly createdAtMs: number;
  readonly activatedAtMs?: number;
  /** What the key made when it became primary; gone with the key. */
  readonly canary?: Artefact;
}

export function slotOf(row: Row): StoredSlot {
  const keyKind = keyKinds.find((kind) => kind === row['kind']);
  invariant(keyKind !== undefined, 'a stored slot has a known kind');
  const [slot, algorithm] = [row['slot'], row['algorithm']];
  invariant(typeof slot === 'string' && typeof algorithm === 'string', 'a stored slot is whole');
  return { slot, keyKind, algorithm, frozen: row['frozen'] === 1 };
}

export function versionOf(row: Row): StoredVersion {
  const state = keyStates.find((name) => name === row['state']);
  const { slot, version, key_id: keyId, created_at_ms: createdAtMs } = row;
  invariant(
    state !== undefined &&
      typeof slot === 'string' &&
      typeof version === 'number' &&
      typeof keyId === 'string' &&
      typeof createdAtMs === 'number',
    'a stored version is whole',
  );
  const { public_key: publicKey, activated_at_ms: activatedAtMs } = row;
  const { canary_input: input, canary_output: output } = row;
  return {
    slot,
    version,
    state,
    keyId,
    createdAtMs,
    ...(publicKey instanceof Uint8Array ? { publicKey } : {}),
    ...(typeof activatedAtMs === 'number' ? { activatedAtMs } : {}),
    ...(input instanceof Uint8Array && output instanceof Uint8Array
      ? { canary: { input, output } }
      : {}),
  };
}

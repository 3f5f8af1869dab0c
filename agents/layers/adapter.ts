/**
 * The interface through which a layer's real system is attached: whoever holds the keys implements
 * these six operations. Each one may be called again with the same arguments after a crash and must
 * then end in the same state; `inspect` tells what is really there, so that a restart can reconcile.
 */

import type { KeyKind } from '#schemas/layers.ts';
import type { Samples } from '#schemas/saga.ts';

export interface KeyVersion {
  readonly version: number;
  /** SHA3-256 of the public half, or of the commitment to a symmetric key; 64 hex characters. */
  readonly keyId: string;
  readonly publicDigest: string;
  /** Raw public half; absent for symmetric keys. */
  readonly publicKey?: Uint8Array;
  readonly state: 'prepared' | 'primary' | 'accepted' | 'withdrawn';
  readonly createdAtMs: number;
  readonly activatedAtMs?: number;
}

export interface SlotInspection {
  readonly slot: string;
  readonly keyKind: KeyKind;
  readonly algorithm: string;
  readonly frozen: boolean;
  /** Highest number that was ever given to a key of this slot, destroyed keys included. */
  readonly highestVersion: number;
  /** Newest first. `withdrawn` keys were rolled back and still verify and decrypt. */
  readonly versions: readonly KeyVersion[];
}

export interface ActivationProof {
  /** A use of the new key that others can check with its public half alone; absent if symmetric. */
  readonly proof?: Uint8Array;
}

export interface VerificationResult {
  readonly ok: boolean;
  readonly reason?: string;
}

export interface LayerAdapter {
  readonly name: string;
  /** Digest over what the adapter is and how it is configured; part of a plan's basis. */
  fingerprint(): string;
  inspect(): Promise<readonly SlotInspection[]>;
  /** Generates the key for `version` of a slot, not yet used for anything. */
  prepare(slot: string, version: number): Promise<KeyVersion>;
  /** Makes `version` primary; the one before stays accepted for verification and decryption. */
  activate(slot: string, version: number, challenge: Uint8Array): Promise<ActivationProof>;
  /** Uses `version` for real, and the one before where it must still be accepted. */
  verify(slot: string, version: number): Promise<VerificationResult>;
  /** Makes `version` primary again; newer versions become `withdrawn`, or go if never active. */
  rollback(slot: string, version: number): Promise<void>;
  /** Destroys the key of `version`. Never called for the primary one. */
  retire(slot: string, version: number): Promise<void>;
  /** Uses of `version` seen lately; a version with uses is not retired. */
  usesLately(slot: string, version: number): Promise<number>;
  /** Use of the primary key since its activation. */
  samples(slot: string): Promise<Samples>;
  /** Stops (or allows again) signing and encryption; verification goes on. */
  freeze(slot: string, frozen: boolean): Promise<void>;
}

export const adapterErrorCodes = [
  'SLOT_UNKNOWN',
  'VERSION_UNKNOWN',
  'STATE_CONFLICT',
  'STORE_FAILED',
  'DISK_FULL',
  /** The attached system does not answer, or not in its own terms. */
  'SYSTEM_UNREACHABLE',
] as const;
export type AdapterErrorCode = (typeof adapterErrorCodes)[number];

export function isAdapterErrorCode(code: string): code is AdapterErrorCode {
  return adapterErrorCodes.some((known) => known === code);
}

/** A fault of the attached system. `retryable` says whether trying again may help. */
export class AdapterError extends Error {
  readonly code: AdapterErrorCode;
  readonly retryable: boolean;

  constructor(
    code: AdapterErrorCode,
    message: string,
    options?: { cause?: unknown; retryable?: boolean },
  ) {
    super(message, { cause: options?.cause });
    this.name = 'AdapterError';
    this.code = code;
    this.retryable = options?.retryable ?? false;
  }
}

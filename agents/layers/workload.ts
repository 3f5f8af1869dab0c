/**
 * A layer's keys as local workloads use them: by slot, never touching a secret half. What makes
 * something new uses the primary key of the moment; what takes something back names the key that
 * made it, so that a rotation is invisible on both sides. The key service offers this over a socket.
 */

export const workloadOperations = [
  'sign',
  'verify',
  'mac',
  'verify-mac',
  'encrypt',
  'decrypt',
  'encapsulate',
  'decapsulate',
] as const;
export type WorkloadOperation = (typeof workloadOperations)[number];

/** Bytes that go in and come out, by name. */
export interface WorkloadInput {
  readonly message?: Uint8Array;
  readonly signature?: Uint8Array;
  readonly tag?: Uint8Array;
  readonly plaintext?: Uint8Array;
  readonly ciphertext?: Uint8Array;
  readonly aad?: Uint8Array;
  /** The key that made what is taken back; 64 hexadecimal characters. */
  readonly keyId?: string;
}

export interface WorkloadResult {
  readonly signature?: Uint8Array;
  readonly tag?: Uint8Array;
  readonly plaintext?: Uint8Array;
  readonly ciphertext?: Uint8Array;
  readonly sharedSecret?: Uint8Array;
  readonly valid?: boolean;
}

export type WorkloadRefusal =
  'SLOT_UNKNOWN' | 'KEY_UNKNOWN' | 'SLOT_FROZEN' | 'OPERATION_UNSUPPORTED' | 'INPUT_INVALID';

export type WorkloadOutcome =
  | {
      readonly status: 'done';
      readonly version: number;
      readonly keyId: string;
      readonly result: WorkloadResult;
    }
  | { readonly status: 'refused'; readonly code: WorkloadRefusal };

export interface WorkloadSlot {
  readonly slot: string;
  readonly keyType: string;
  readonly keyKind: string;
  readonly algorithm: string;
  readonly version: number;
  readonly keyId: string;
  readonly publicKey?: Uint8Array;
  readonly frozen: boolean;
  /** Keys still taken for verification and decryption, newest first, the primary one included. */
  readonly accepted: readonly { readonly version: number; readonly keyId: string }[];
}

export interface Workload {
  slots(): readonly WorkloadSlot[];
  /** @throws AdapterError when the keys' store fails */
  use(keyType: string, operation: WorkloadOperation, input: WorkloadInput): WorkloadOutcome;
}

/**
 * How layer 6 seals a resource. Every patient has a key of his own and every resource one below it,
 * both derived under the rotating root of slot 6/patient-mac, never stored:
 *
 *   patient key  = HMAC-SHA3-384(root, "gyre/v1/phi/patient"  ‖ patient)
 *   resource key = HMAC-SHA3-384(patient key, "gyre/v1/phi/resource" ‖ type ‖ id)
 *   tag          = HMAC-SHA3-384(resource key, RFC 8785 JSON of the resource)     48 bytes
 *
 * each part with its length before it. Consents are signed as well (slot 6/consent-signature,
 * ML-DSA-87): whoever could write tags could still not give consent in a patient's name.
 */

import type { HealthResource } from '#schemas/fhir.ts';
import { equalConstantTime, lengthPrefixed, utf8 } from '#shared/crypto/bytes.ts';
import { canonicalJson } from '#shared/crypto/canonical-json.ts';
import type { CryptoProvider } from '#shared/crypto/provider.ts';
import type { Clock } from '#shared/runtime/ports.ts';
import { AdapterError } from '../adapter.ts';
import type { EmbeddedAdapter } from '../embedded/embedded-adapter.ts';
import { signWith, slotContext, verifyWith, type OpenKey } from '../embedded/key-kinds.ts';
import type { StoredVersion } from '../embedded/key-store.ts';
import { Refused } from '../service/http-app.ts';

export const tagSlot = '6/patient-mac';
export const signatureSlot = '6/consent-signature';

/** Under which version of its slot's key something was made. */
export interface Seal {
  readonly version: number;
  readonly bytes: Uint8Array;
}

export interface SealingPorts {
  readonly keys: EmbeddedAdapter;
  readonly crypto: CryptoProvider;
  readonly clock: Clock;
}

export function nameOf({ resourceType, id }: { resourceType: string; id: string }): string {
  return `${resourceType}/${id}`;
}

/** Whose data it is. */
export function patientOf(resource: HealthResource): string {
  if (resource.resourceType === 'Patient') return resource.id;
  const { reference } = resource.resourceType === 'Consent' ? resource.patient : resource.subject;
  return reference.slice('Patient/'.length);
}

export class Sealing {
  readonly #ports: SealingPorts;

  constructor(ports: SealingPorts) {
    this.#ports = ports;
  }

  /** Under the primary key. @throws Refused SLOT_FROZEN, AdapterError */
  tag(resource: HealthResource): Seal {
    const sealed = sealedParts(resource);
    return this.#make(tagSlot, 'mac', (key) => tagUnder(this.#ports.crypto, key.secret, sealed));
  }

  /** Under the primary key. @throws Refused SLOT_FROZEN, AdapterError */
  sign(resource: HealthResource): Seal {
    const input = { message: canonicalJson(resource), context: slotContext(signatureSlot) };
    return this.#make(signatureSlot, 'sign', (key) => signWith(this.#ports.crypto, key, input));
  }

  /** Also under keys that are no longer primary, as long as they live. @throws AdapterError */
  isTagOf(seal: Seal, resource: HealthResource): boolean {
    const sealed = sealedParts(resource);
    return this.#check(tagSlot, 'verify-mac', seal, (key) =>
      equalConstantTime(tagUnder(this.#ports.crypto, key.secret, sealed), seal.bytes),
    );
  }

  /** As `isTagOf`, of a signature. @throws AdapterError */
  isSignatureOf(seal: Seal, resource: HealthResource): boolean {
    const input = { message: canonicalJson(resource), context: slotContext(signatureSlot) };
    return this.#check(signatureSlot, 'verify', seal, ({ publicKey }) =>
      publicKey === undefined
        ? false
        : verifyWith(this.#ports.crypto, publicKey, { ...input, signature: seal.bytes }),
    );
  }

  /** The version that seals are made under at present. @throws AdapterError */
  primaryVersion(slot: string): number {
    return this.#primary(slot).version;
  }

  isFrozen(slot: string): boolean {
    return this.#ports.keys.store.slot(slot).frozen;
  }

  #make(slot: string, operation: string, use: (key: OpenKey) => Uint8Array): Seal {
    const primary = this.#primary(slot);
    if (this.isFrozen(slot)) {
      throw new Refused('SLOT_FROZEN', `nothing is sealed under ${slot} while it is frozen`);
    }
    const bytes = this.#counted(primary, operation, () => this.#withKey(primary, use));
    return { version: primary.version, bytes };
  }

  #check(slot: string, operation: string, { version }: Seal, use: (key: OpenKey) => boolean) {
    const stored = this.#ports.keys.store.version(slot, version);
    if (stored === undefined || stored.state === 'destroyed' || stored.state === 'prepared') {
      return false;
    }
    return this.#counted(stored, operation, () => this.#withKey(stored, use));
  }

  #withKey<Result>(stored: StoredVersion, use: (key: OpenKey) => Result): Result {
    return this.#ports.keys.store.withKey(stored, use);
  }

  #primary(slot: string): StoredVersion {
    const primary = this.#ports.keys.store.primary(slot);
    if (primary !== undefined) return primary;
    throw new AdapterError('STATE_CONFLICT', `${slot} has no primary key`);
  }

  #counted<Result>({ slot, version }: StoredVersion, operation: string, run: () => Result): Result {
    const { keys, clock } = this.#ports;
    const beganMs = clock.monotonicMs();
    let failed = true;
    try {
      const result = run();
      failed = false;
      return result;
    } finally {
      const durationMs = clock.monotonicMs() - beganMs;
      keys.usage.record({ slot, version, operation, durationMs, failed });
    }
  }
}

interface SealedParts {
  readonly patient: Uint8Array;
  readonly type: Uint8Array;
  readonly id: Uint8Array;
  readonly content: Uint8Array;
}

/** Outside of any use of a key: what somebody sent is no fault of the key. */
function sealedParts(resource: HealthResource): SealedParts {
  return {
    patient: utf8(patientOf(resource)),
    type: utf8(resource.resourceType),
    id: utf8(resource.id),
    content: canonicalJson(resource),
  };
}

function tagUnder(crypto: CryptoProvider, root: Uint8Array, sealed: SealedParts): Uint8Array {
  const { patient, type, id, content } = sealed;
  const patientKey = crypto.hmacSha3_384(
    root,
    lengthPrefixed(utf8('gyre/v1/phi/patient'), patient),
  );
  const resourceKey = crypto.hmacSha3_384(
    patientKey,
    lengthPrefixed(utf8('gyre/v1/phi/resource'), type, id),
  );
  patientKey.fill(0);
  try {
    return crypto.hmacSha3_384(resourceKey, content);
  } finally {
    resourceKey.fill(0);
  }
}

/**
 * Who is enrolled: the enrolments of the genesis bundle, and the revocations that were adopted since.
 * A revoked agent stays known, because what it said before is evidence still.
 */

import { channelNamePattern, type AgentKind, type EnrolmentBody } from '#schemas/trust.ts';
import { fromBase64Url } from './bytes.ts';
import type { VerifyKey } from './key-handle.ts';
import type { CryptoProvider } from './provider.ts';

export interface Enrolled {
  readonly agentId: string;
  readonly kind: AgentKind;
  readonly layer?: number;
  readonly capabilities: readonly string[];
  /** Raw ML-DSA-87 public key, 2,592 bytes. */
  readonly identityKey: Uint8Array;
  readonly verifyKey: VerifyKey;
  /** SHA3-256 of the identity key, hexadecimal. */
  readonly keyId: string;
  /** Raw ML-KEM-1024 public key, 1,568 bytes. */
  readonly kemKey: Uint8Array;
  readonly nkey: string;
  readonly issuedAtMs: number;
  readonly expiresAtMs: number;
  /** The agent says nothing that holds from this moment on. */
  readonly revokedAtMs?: number;
}

export class Enrolments {
  readonly #byId: Map<string, Enrolled>;

  constructor(enrolled: Iterable<Enrolled>) {
    this.#byId = new Map(Array.from(enrolled, (each) => [each.agentId, each]));
  }

  of(agentId: string): Enrolled | undefined {
    return this.#byId.get(agentId);
  }

  all(): Enrolled[] {
    return [...this.#byId.values()];
  }

  revoke(agentId: string, revokedAtMs: number): void {
    const enrolled = this.#byId.get(agentId);
    if (enrolled === undefined) throw new Error('assertion: only who is enrolled is revoked');
    this.#byId.set(agentId, { ...enrolled, revokedAtMs });
  }
}

/** Undefined where a key has another size, the id is a channel's, or a layer is missing or too much. */
export function enrolledFrom(crypto: CryptoProvider, body: EnrolmentBody): Enrolled | undefined {
  const identityKey = fromBase64Url(body.identity_key.public_key);
  const kemKey = fromBase64Url(body.kem_key.public_key);
  if (identityKey?.length !== 2592 || kemKey?.length !== 1568) return undefined;
  if (channelNamePattern.test(body.agent_id)) return undefined;
  if ((body.agent_kind === 'layer') !== (body.layer !== undefined)) return undefined;
  const verifyKey = crypto.importVerifyKey(identityKey);
  return {
    agentId: body.agent_id,
    kind: body.agent_kind,
    ...(body.layer === undefined ? {} : { layer: body.layer }),
    capabilities: body.capabilities,
    identityKey,
    verifyKey,
    keyId: verifyKey.keyIdHex,
    kemKey,
    nkey: body.nkey,
    issuedAtMs: Date.parse(body.issued_at),
    expiresAtMs: Date.parse(body.expires_at),
  };
}

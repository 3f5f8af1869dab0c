/** Signing healing claims: by the agent's own key store, or by the layer's service where it holds the keys. */

import {
  HealingSignature,
  healingSlot,
  type HealingClaim,
  type HealingSignature as Signature,
} from '#schemas/healing.ts';
import { compile } from '#schemas/primitives.ts';
import { fromBase64Url, toBase64Url } from '#shared/crypto/bytes.ts';
import { healingContext, healingMessage } from '#shared/crypto/healing-signature.ts';
import type { CryptoProvider } from '#shared/crypto/provider.ts';
import type { Clock } from '#shared/runtime/ports.ts';
import { AdapterError } from '../adapter.ts';
import type { EmbeddedAdapter } from '../embedded/embedded-adapter.ts';
import type { KeyUsage } from '../embedded/key-usage.ts';
import { publicKeyOf, signWith } from '../embedded/key-kinds.ts';
import { ServiceError, type ServiceClient } from '../service/service-client.ts';
import type { SignClaim } from './healer.ts';

const signatureCheck = compile(HealingSignature);

/** The keys, and where their uses are counted. */
export interface SigningKeys extends Pick<EmbeddedAdapter, 'store'> {
  readonly usage: Pick<KeyUsage, 'record'>;
}

/** What signing needs beside the keys; the clock measures how long it takes. */
export interface SigningPorts {
  readonly crypto: CryptoProvider;
  readonly clock: Pick<Clock, 'monotonicMs'>;
}

/** With the primary key of the slot, and not while it is frozen. @throws AdapterError */
export function signClaim(
  { store, usage }: SigningKeys,
  { crypto, clock }: SigningPorts,
  claim: HealingClaim,
): Signature {
  const primary = store.slot(healingSlot).frozen ? undefined : store.primary(healingSlot);
  if (primary === undefined) {
    throw new AdapterError('STATE_CONFLICT', `${healingSlot} signs nothing at present`);
  }
  const { slot, version, keyId } = primary;
  const beganMs = clock.monotonicMs();
  const signed = store.withKey(primary, (key) => ({
    publicKey: publicKeyOf(key),
    value: signWith(crypto, key, { message: healingMessage(claim), context: healingContext }),
  }));
  const durationMs = clock.monotonicMs() - beganMs;
  usage.record({ slot, version, operation: 'sign', durationMs, failed: false });
  return { version, keyId, ...signed };
}

export function embeddedSigning(adapter: SigningKeys, ports: SigningPorts): SignClaim {
  return async (claim) => signClaim(adapter, ports, claim);
}

/** Where the service signs claims, on its control socket. */
export const signingPath = '/v1/admin/healing-actions';

/** A signature in JSON: bytes as unpadded base64url. */
export function writtenSignature({ publicKey, value, ...names }: Signature) {
  return { ...names, publicKey: toBase64Url(publicKey), value: toBase64Url(value) };
}

export function serviceSigning(client: Pick<ServiceClient, 'ask'>): SignClaim {
  return async (claim) => {
    try {
      const answer = await client.ask({ method: 'POST', path: signingPath, body: claim });
      if (answer.status === 'refused') {
        throw new AdapterError('STATE_CONFLICT', answer.reason, { retryable: answer.retryable });
      }
      const signature = readSignature(answer.body);
      if (signature !== undefined) return signature;
      throw new AdapterError('SYSTEM_UNREACHABLE', 'the service gave no signature');
    } catch (error) {
      if (!(error instanceof ServiceError)) throw error;
      const options = { cause: error, retryable: true };
      throw new AdapterError('SYSTEM_UNREACHABLE', 'the service does not sign', options);
    }
  };
}

/** The signature in a service's answer, or undefined. */
function readSignature(answer: unknown): Signature | undefined {
  if (typeof answer !== 'object' || answer === null) return undefined;
  const { publicKey, value, ...names } = answer as Readonly<Record<string, unknown>>;
  if (typeof publicKey !== 'string' || typeof value !== 'string') return undefined;
  const signature = {
    ...names,
    publicKey: fromBase64Url(publicKey),
    value: fromBase64Url(value),
  };
  return signatureCheck.check(signature) ? signature : undefined;
}

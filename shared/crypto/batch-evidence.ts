/**
 * A proof of one telemetry event against the documents of a mesh: who said it, and that this sender
 * may say such a thing there. It proves that it was said and nothing more: no code takes a proof as
 * evidence for an action (`TrustView.verifyEvidence` refuses it).
 */
import type { RefusalCode } from '#schemas/errors.ts';
import type { Header } from '#schemas/frame.ts';
import { telemetryEventCheck, type TelemetryEvent } from '#schemas/telemetry.ts';
import { entitlementMisfit, type AddressOf } from '#shared/core/entitlement.ts';
import { parseProof, verifyProof } from './batch.ts';
import { toHex } from './bytes.ts';
import type { CryptoProvider } from './provider.ts';
import type { TrustView } from './trust.ts';

export interface ProvenEvent {
  /** Name of the batch, 64 hexadecimal characters. */
  readonly batch: string;
  readonly header: Header;
  readonly layer: number;
  readonly event: TelemetryEvent;
  readonly index: number;
  readonly count: number;
}

export type ProofVerdict =
  | { readonly status: 'ok'; readonly proven: ProvenEvent }
  | { readonly status: 'refused'; readonly code: RefusalCode };

/**
 * Checks a proof of any origin. The documents that the sender worked under are those that the header
 * names; whether they were in force then is not asked.
 */
export function verifyTelemetryProof(
  crypto: CryptoProvider,
  trust: TrustView,
  { proof, addressOf }: { readonly proof: unknown; readonly addressOf: AddressOf },
): ProofVerdict {
  const parsed = parseProof(proof);
  if (!parsed.ok) return { status: 'refused', code: parsed.code };
  const { header } = parsed;
  const sender = trust.agent(header.sender);
  if (sender === undefined) return { status: 'refused', code: 'SENDER_UNKNOWN' };
  const [policyDigest, registryDigest] = [toHex(header.policyDigest), toHex(header.registryDigest)];
  const misfit = entitlementMisfit({ ...header, policyDigest, registryDigest }, sender, {
    addressOf,
    standingOf: () => 'newest',
    takesSuperseded: () => true,
    clockSkewMs: trust.policy.policies.rotation.clock_skew_ms,
  });
  if (misfit !== undefined) return { status: 'refused', code: misfit };
  const verified = verifyProof(crypto, proof, sender.verifyKey);
  if (!verified.ok) return { status: 'refused', code: verified.code };
  const { event, index, count, messageId: batch } = verified;
  if (!telemetryEventCheck.check(event)) return { status: 'refused', code: 'BODY_MALFORMED' };
  return {
    status: 'ok',
    proven: { batch, header, layer: sender.layer ?? 0, event, index, count },
  };
}

/**
 * One record of an audit log as evidence: the frame as received, who signed it, and what it says once
 * salt and body are disclosed. An auditor reads frames this way before it judges them, and a verifier
 * reads the same bytes the same way years later, with public keys alone.
 */

import type { RefusalCode } from '#schemas/errors.ts';
import { eventTypes, isEventType } from '#schemas/events.ts';
import type { ChainLink } from '#shared/core/audit-chain.ts';
import type { AnnouncedEvent } from '#shared/core/entitlement.ts';
import type { AuditContent, AuditEvent } from '#shared/core/audit-judge.ts';
import { concat, equalConstantTime, toHex } from './bytes.ts';
import { decodeCanonical } from './canonical-msgpack.ts';
import type { CanonicalValue } from './canonical-msgpack.ts';
import { parseFrame, statementHashOf, verifyFrame } from './envelope.ts';
import type { ParsedFrame } from './envelope.ts';
import type { CryptoProvider } from './provider.ts';
import type { Enrolled, TrustView } from './trust.ts';

/** A frame with the name it bears and the sender it claims; the seal is not checked yet. */
export interface AuditedFrame {
  readonly frame: ParsedFrame;
  /** Statement hash, hexadecimal. */
  readonly hash: string;
  readonly sender: Enrolled;
  readonly link: ChainLink;
  readonly announced: AnnouncedEvent;
}

export type FrameReading =
  | { readonly ok: true; readonly audited: AuditedFrame }
  | { readonly ok: false; readonly code: RefusalCode };

/** Structure and sender: FRAME_MALFORMED, FRAME_TOO_LARGE, *_UNKNOWN. Not authentic yet. */
export function readAuditedFrame(
  crypto: CryptoProvider,
  trust: TrustView,
  bytes: Uint8Array,
): FrameReading {
  const parsed = parseFrame(bytes);
  if (!parsed.ok) return parsed;
  const { frame } = parsed;
  const { header } = frame;
  const sender = trust.agent(header.sender);
  if (sender === undefined) return { ok: false, code: 'SENDER_UNKNOWN' };
  const hash = toHex(statementHashOf(crypto, frame));
  const { audience, lane, counter } = header;
  const link = {
    hash,
    sender: sender.agentId,
    incarnation: toHex(header.incarnation),
    audience,
    lane,
    counter,
    previous: toHex(header.previous),
  };
  const announced = {
    ...header,
    policyDigest: toHex(header.policyDigest),
    registryDigest: toHex(header.registryDigest),
  };
  return { ok: true, audited: { frame, hash, sender, link, announced } };
}

/** Whether the enrolled sender signed exactly this frame. */
export function isSealedBySender(crypto: CryptoProvider, { frame, sender }: AuditedFrame): boolean {
  return verifyFrame(crypto, frame, sender.verifyKey).ok;
}

/** Whether salt and body are what the frame's digest stands for. */
export function isContentOf(
  crypto: CryptoProvider,
  { parts }: ParsedFrame,
  disclosed: { readonly salt: Uint8Array; readonly body: Uint8Array },
): boolean {
  const digest = crypto.blake3(concat(disclosed.salt, disclosed.body));
  return disclosed.salt.length === 32 && equalConstantTime(digest, parts.digest);
}

/** The body of disclosed bytes: undefined where they are not canonical MessagePack. */
export function decodeBody(body: Uint8Array): CanonicalValue | undefined {
  const decoded = decodeCanonical(body, { floats: true });
  return decoded.ok ? decoded.value : undefined;
}

/** What the judge is given: `body` is undefined where the content is not readable. */
export function auditEvent(
  crypto: CryptoProvider,
  trust: TrustView,
  input: { readonly audited: AuditedFrame; readonly leafIndex: number; readonly body: unknown },
): AuditEvent {
  const { audited, leafIndex, body } = input;
  const { hash, link, announced } = audited;
  // What the frame was read under may have been amended since: a revocation counts from its leaf on.
  const sender = trust.agent(audited.sender.agentId) ?? audited.sender;
  const content = contentOf(announced.type, body);
  const restored = restoredHash(crypto, trust, content);
  return {
    hash,
    leafIndex,
    sender,
    link,
    announced,
    content,
    ...(restored === undefined ? {} : { restored }),
  };
}

function contentOf(type: string, body: unknown): AuditContent {
  if (body === undefined) return { status: 'unreadable' };
  const isOfSchema = isEventType(type) && eventTypes[type].body.check(body);
  return isOfSchema ? { status: 'read', body } : { status: 'malformed' };
}

/** The name of the event that an `event-restored` carries, where it carries one. */
function restoredHash(
  crypto: CryptoProvider,
  trust: TrustView,
  content: AuditContent,
): string | undefined {
  if (content.status !== 'read' || !eventTypes['event-restored'].body.check(content.body)) {
    return undefined;
  }
  const inner = readAuditedFrame(crypto, trust, content.body.frame);
  return inner.ok ? inner.audited.hash : undefined;
}

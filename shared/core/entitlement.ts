/**
 * Whether a sender may say what its header announces: type, lane, channel, subject, time of enrolment,
 * documents in force. A pure function of header and trust, so that every receiver, the auditor and
 * everyone who checks its log later come to the same verdict (invariant 12); for how long a version
 * that was amended since is taken is the one thing in which they differ, and they are asked for it.
 */

import type { RefusalCode } from '#schemas/errors.ts';
import { eventTypes, isEventType } from '#schemas/events.ts';
import { healingLayer } from '#schemas/healing.ts';
import type { Header } from '#schemas/frame.ts';
import type { AgentKind } from '#schemas/trust.ts';

/** What a subject says, once parsed. */
interface Address {
  readonly kind: string;
  readonly sagaId?: string;
  readonly agentId?: string;
  readonly operatorId?: string;
  readonly channel?: string;
  readonly layer?: number;
}

/** Null for a subject that is not of this mesh. */
export type AddressOf = (subject: string) => Address | null;

/** Of an enrolment, what entitlement rests on. */
export interface AuditedSender {
  readonly agentId: string;
  readonly kind: AgentKind;
  readonly layer?: number;
  readonly issuedAtMs: number;
  readonly expiresAtMs: number;
  /** From this moment on the agent may say nothing. */
  readonly revokedAtMs?: number;
}

/** A version of registry or policy that an event names, its digest in hexadecimal. */
export interface NamedVersion {
  readonly version: number;
  readonly digest: string;
}

/**
 * How it stands to what the receiver has adopted: `superseded` was in force and is no more, `ahead` is
 * to be learnt of, `unknown` never was in force.
 */
export type NamedStanding = 'newest' | 'superseded' | 'ahead' | 'unknown';

export type AmendedKind = 'registry' | 'policy';

export interface InForce {
  readonly addressOf: AddressOf;
  readonly standingOf: (kind: AmendedKind, named: NamedVersion) => NamedStanding;
  /** Whether a superseded version may still be named by this event. */
  readonly takesSuperseded: (kind: AmendedKind, event: AnnouncedEvent) => boolean;
  readonly clockSkewMs: number;
}

/** Header fields that entitlement looks at, digests in hexadecimal. */
export interface AnnouncedEvent extends Pick<
  Header,
  | 'type'
  | 'schemaVersion'
  | 'lane'
  | 'subject'
  | 'channel'
  | 'audience'
  | 'timeMs'
  | 'expiresMs'
  | 'policyVersion'
  | 'registryVersion'
> {
  readonly policyDigest: string;
  readonly registryDigest: string;
}

/** Types that belong to a saga, which ends under the documents that it began with. */
const sagaBound: ReadonlySet<string> = new Set([
  'plan-approved',
  'execution-requested',
  'rollback-requested',
  'recovery-requested',
  'recovery-approved',
  'saga-entry',
  'step-commanded',
  'step-reported',
  'receipts-issued',
  'event-restored',
  'statement-signed',
] satisfies (keyof typeof eventTypes)[]);

export function isSagaBound(type: string): boolean {
  return sagaBound.has(type);
}

/** Misfits of the versions that are named alone; an offer of documents is heard all the same. */
export const misfitsOfDocuments: ReadonlySet<RefusalCode> = new Set<RefusalCode>([
  'POLICY_NOT_IN_FORCE',
  'REGISTRY_NOT_IN_FORCE',
  'TRUST_BEHIND',
]);

/** The first thing that does not fit, or undefined. */
export function entitlementMisfit(
  event: AnnouncedEvent,
  sender: AuditedSender,
  inForce: InForce,
): RefusalCode | undefined {
  if (!isEventType(event.type)) return 'TYPE_UNKNOWN';
  const type = eventTypes[event.type];
  const subjects: readonly string[] = type.subjects;
  const senders: readonly AgentKind[] = type.senders;
  const channels: readonly string[] = type.channels;
  if (event.schemaVersion !== type.schemaVersion) return 'VERSION_UNKNOWN';
  if (!senders.includes(sender.kind)) return 'SENDER_NOT_ENTITLED';
  const address = inForce.addressOf(event.subject);
  if (address === null || !subjects.includes(address.kind)) return 'SUBJECT_MISMATCH';
  if (!ownsSubject(event, sender, address)) return 'SUBJECT_MISMATCH';
  const isLayerChannel = /^layer-[1-7]$/.test(event.channel);
  if (event.lane !== type.lane || !channels.includes(isLayerChannel ? 'layer' : event.channel)) {
    return 'CHANNEL_MISMATCH';
  }
  if (sender.kind === 'layer' && isLayerChannel && event.channel !== `layer-${sender.layer}`) {
    return 'CHANNEL_MISMATCH';
  }
  const spanMs = event.expiresMs - event.timeMs;
  if (spanMs < 0 || spanMs > type.validMs) return 'TIME_OUT_OF_RANGE';
  const early = event.timeMs < sender.issuedAtMs - inForce.clockSkewMs;
  if (early || event.timeMs > sender.expiresAtMs) return 'SENDER_EXPIRED';
  if (event.timeMs >= (sender.revokedAtMs ?? Infinity)) return 'SENDER_REVOKED';
  return versionMisfit('policy', event, inForce) ?? versionMisfit('registry', event, inForce);
}

/** The versions of an event as they are named. */
export function namedVersion(kind: AmendedKind, event: AnnouncedEvent): NamedVersion {
  return kind === 'policy'
    ? { version: event.policyVersion, digest: event.policyDigest }
    : { version: event.registryVersion, digest: event.registryDigest };
}

function versionMisfit(
  kind: AmendedKind,
  event: AnnouncedEvent,
  { standingOf, takesSuperseded }: InForce,
): RefusalCode | undefined {
  const standing = standingOf(kind, namedVersion(kind, event));
  if (standing === 'newest') return undefined;
  if (standing === 'superseded' && takesSuperseded(kind, event)) return undefined;
  if (standing === 'ahead') return 'TRUST_BEHIND';
  return kind === 'policy' ? 'POLICY_NOT_IN_FORCE' : 'REGISTRY_NOT_IN_FORCE';
}

/** Whether the subject is the sender's to speak on, whatever the bus let through. */
function ownsSubject(event: AnnouncedEvent, sender: AuditedSender, address: Address): boolean {
  if (event.type === 'event-restored') return sender.kind === 'auditor';
  switch (address.kind) {
    case 'saga-rotation':
    case 'saga-slots':
    case 'saga-requests':
      return sender.kind === 'orchestrator';
    case 'saga-epoch':
      return sender.kind === 'orchestrator';
    case 'trust':
    case 'prekey':
    case 'epoch-report':
      return sender.agentId === address.agentId;
    case 'negotiation':
      return true;
    case 'step':
      return sender.kind === 'orchestrator' && event.audience === address.agentId;
    case 'report':
    case 'capability':
    case 'telemetry':
      return sender.agentId === address.agentId && sender.layer === address.layer;
    case 'healing':
      return sender.agentId === address.agentId && sender.layer === healingLayer;
    case 'request':
      return sender.agentId === address.operatorId;
    case 'signer-log':
      return sender.kind === 'signer';
    case 'audit-receipt':
    case 'audit-verdict':
    case 'audit-checkpoint':
      return sender.kind === 'auditor';
    case 'query':
      return event.audience === address.agentId;
    default:
      return false;
  }
}

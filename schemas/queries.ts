/**
 * What can be asked over the query lane, and what comes back: reads of state, inspection of layer
 * agents, and requests to the signer. Nothing here causes an effect by itself; what the signer signs
 * it also records as a control event.
 */

import { Type, type Static } from 'typebox';
import { EpochAnnouncementBody, EpochNumber, epochsWantedMax } from './epoch.ts';
import { CheckpointIssued } from './events.ts';
import { OrchestrationCodeName } from './saga.ts';
import { SlotStatus, evidenceItemsMax } from './steps.ts';
import { Disclosure, batchEventsMax } from './frame.ts';
import { AlgorithmCapabilities, NegotiationConstraints, TlsVersion } from './negotiation.ts';
import {
  AuditCheckpointBody,
  RecoveryAuthorizationBody,
  RotationAuthorizationBody,
  RotationCommitBody,
  RotationPlan,
  RotationPlanBody,
} from './plan.ts';
import {
  AgentId,
  Bytes,
  BytesMax,
  DigestHex,
  DurationMs,
  Identifier,
  KebabName,
  List,
  OneOf,
  StrictObject,
  Text,
  Uint,
} from './primitives.ts';
import { EnrolmentBody } from './trust.ts';

const named = <Name extends string>(name: Name) => ({ ask: Type.Literal(name) });

/** A signing request: one typed statement and the events that entitle the asker to it. */
export const SignStatement = StrictObject({
  ...named('sign-statement'),
  statement: Type.Union([
    RotationPlanBody,
    RotationAuthorizationBody,
    RotationCommitBody,
    RecoveryAuthorizationBody,
    AuditCheckpointBody,
    EnrolmentBody,
    EpochAnnouncementBody,
  ]),
  /** The plan that the statement is about, where it is about one. */
  plan: Type.Optional(RotationPlan),
  evidence: List(Disclosure, { itemsMax: evidenceItemsMax }),
  /** RFC 9162 consistency proof from the checkpoint signed last (checkpoints only). */
  consistency: Type.Optional(List(DigestHex(), { itemsMax: 64 })),
});
export type SignStatement = Static<typeof SignStatement>;

/** One certificate or request in DER; with an ML-DSA-87 key and signature it has about 7.5 KB. */
export const CertificateDer = BytesMax(16 * 1024);

/** A request for a server's certificate, which the signer judges by its own configuration and policy. */
export const IssueCertificate = StrictObject({
  ...named('issue-certificate'),
  /** PKCS#10: names and public key, signed by the key. */
  request: CertificateDer,
  /** How long it shall be valid from now on: at most what the policy allows for the key. */
  validMs: DurationMs(),
});
export type IssueCertificate = Static<typeof IssueCertificate>;

export const Query = Type.Union([
  /* to orchestrators */
  StrictObject({ ...named('mesh-status') }),
  StrictObject({ ...named('rotation-list') }),
  StrictObject({
    ...named('rotation-show'),
    planId: Identifier(),
    /** Answer as soon as the saga is past this index, or after `waitMs`. */
    afterIndex: Type.Optional(Uint()),
    waitMs: DurationMs(5_000),
  }),
  StrictObject({ ...named('request-outcome'), request: DigestHex(), waitMs: DurationMs(5_000) }),
  StrictObject({ ...named('keys-list') }),
  /** Root, registry, policy and revocations above the given versions, as signed. */
  StrictObject({
    ...named('trust-documents'),
    rootVersion: Uint(),
    registryVersion: Uint(),
    policyVersion: Uint(),
  }),
  StrictObject({ ...named('epoch-status') }),
  StrictObject({
    ...named('negotiation-show'),
    negotiationId: Identifier(),
    waitMs: DurationMs(5_000),
  }),
  StrictObject({ ...named('capabilities-list') }),
  StrictObject({ ...named('telemetry-recent'), agentId: Type.Optional(AgentId()) }),
  /** One event as a `BatchProof`; the agent's newest where none is named. */
  StrictObject({
    ...named('telemetry-prove'),
    agentId: AgentId(),
    event: Type.Optional(StrictObject({ batch: DigestHex(), index: Uint(batchEventsMax - 1) })),
  }),
  /* to orchestrators and the signer, on the notices channel */
  StrictObject({
    ...named('epoch-secrets'),
    /** X25519MLKEM1024 public key, drawn for this question and for nothing else. */
    publicKey: Bytes(1600),
    /** Epochs that the asker has no announcement of: theirs come first in the answer. */
    wanted: Type.Optional(
      List(StrictObject({ channel: KebabName(), epoch: EpochNumber }), {
        itemsMax: epochsWantedMax,
      }),
    ),
  }),
  /* to layer agents */
  StrictObject({ ...named('layer-inspect') }),
  /* to the auditor */
  StrictObject({ ...named('audit-head') }),
  StrictObject({ ...named('audit-records'), from: Uint(), recordsMax: Uint(256) }),
  StrictObject({ ...named('audit-disclosures'), events: List(DigestHex(), { itemsMax: 64 }) }),
  StrictObject({ ...named('saga-entries'), from: Uint(), recordsMax: Uint(256) }),
  /** Receipts of these leaves, issued once more: what the bus had of them may be lost. */
  StrictObject({ ...named('receipts-again'), events: List(DigestHex(), { itemsMax: 64 }) }),
  StrictObject({ ...named('audit-checkpoint') }),
  /* to the signer */
  StrictObject({ ...named('signer-describe') }),
  SignStatement,
  IssueCertificate,
  /** Certificates of the authority whose key the signer holds, for those who have to know a server. */
  StrictObject({ ...named('certificate-roots') }),
]);
export type Query = Static<typeof Query>;
export type QueryName = Query['ask'];

export const lockoutsShownMax = 256;

/** Who offered a bad document, and until when who answers takes nothing new from it. */
export const LockoutsShown = List(
  StrictObject({ sender: AgentId(), code: OrchestrationCodeName, untilMs: Uint() }),
  { itemsMax: lockoutsShownMax },
);
export type LockoutsShown = Static<typeof LockoutsShown>;

export const SignerDescription = StrictObject({
  kind: OneOf(['pkcs11', 'file']),
  label: Text(64),
  mode: KebabName(),
  isHsm: Type.Boolean(),
  notice: Text(200),
  keys: List(StrictObject({ role: KebabName(), keyId: DigestHex() }), { itemsMax: 8 }),
  canaryOk: Type.Boolean(),
  childRestarts: Uint(),
  /** Absent where nobody is. */
  lockouts: Type.Optional(LockoutsShown),
});
export type SignerDescription = Static<typeof SignerDescription>;

/** Answer to `issue-certificate`: the server's certificate first, the roots apart. */
export const CertificateIssued = StrictObject({
  chain: List(CertificateDer, { itemsMin: 1, itemsMax: 4 }),
  roots: List(CertificateDer, { itemsMin: 1, itemsMax: 4 }),
});
export type CertificateIssued = Static<typeof CertificateIssued>;

/** Answer to `certificate-roots`. */
export const CertificateRoots = StrictObject({
  roots: List(CertificateDer, { itemsMin: 1, itemsMax: 4 }),
});
export type CertificateRoots = Static<typeof CertificateRoots>;

/** Answer to `trust-documents`: signed documents as UTF-8 JSON, in an order in which they hold. */
export const TrustDocuments = StrictObject({
  documents: List(BytesMax(384 * 1024), { itemsMax: 4096 }),
  /** Whether these are all; else the asker adopts them and asks again. */
  isWhole: Type.Boolean(),
});
export type TrustDocuments = Static<typeof TrustDocuments>;

/** One record of the auditor's log: the frame as received, and its content where disclosed. */
export const AuditRecord = StrictObject({
  leafIndex: Uint(),
  verdict: OneOf(['accepted', 'refused']),
  frame: BytesMax(440 * 1024),
  salt: Type.Optional(BytesMax(32)),
  body: Type.Optional(BytesMax(440 * 1024)),
});
export type AuditRecord = Static<typeof AuditRecord>;

export const AuditRecords = StrictObject({
  treeSize: Uint(),
  records: List(AuditRecord, { itemsMax: 256 }),
});
export type AuditRecords = Static<typeof AuditRecords>;

export const AuditHead = StrictObject({
  auditor: AgentId(),
  treeSize: Uint(),
  rootHash: DigestHex(),
  restored: Uint(),
  refused: Uint(),
  /** The last message of the control stream that was taken in or passed over. */
  lastSequence: Uint(),
  /** Why the auditor takes nothing in at present, a code; absent where it does. */
  trouble: Type.Optional(Text(63)),
  checkpoint: Type.Optional(CheckpointIssued),
  /** Absent where nobody is. */
  lockouts: Type.Optional(LockoutsShown),
});
export type AuditHead = Static<typeof AuditHead>;

export const LayerInspection = StrictObject({
  agentId: AgentId(),
  adapter: KebabName(),
  fingerprint: DigestHex(),
  ready: Type.Boolean(),
  reason: Type.Optional(Text(500)),
  slots: List(SlotStatus, { itemsMax: 64 }),
  algorithms: AlgorithmCapabilities,
  constraints: NegotiationConstraints,
  tlsVersionMin: Type.Optional(TlsVersion),
  /** Absent where nobody is. */
  lockouts: Type.Optional(LockoutsShown),
});
export type LayerInspection = Static<typeof LayerInspection>;

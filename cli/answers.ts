/**
 * What comes back over the query lane, as far as the command line uses it. Answers are sealed and
 * come from enrolled agents, but their shape is checked like everything from outside; fields that are
 * not named here are let through.
 */
import { EpochStatusList } from '#schemas/epoch.ts';
import type { Static, TProperties } from 'typebox';
import { OrchestrationCodeName, RotationPhase } from '#schemas/saga.ts';
import { RotationCommit, RotationPlan, RotationType } from '#schemas/plan.ts';
import { LayerNumber, SlotName } from '#schemas/layers.ts';
import { batchProofValidator } from '#schemas/frame.ts';
import { TelemetryRecent } from '#schemas/telemetry.ts';
import { CapabilitiesList, NegotiationShown } from '#schemas/negotiation.ts';
import {
  AuditHead,
  LayerInspection,
  LockoutsShown,
  SignerDescription,
  TrustDocuments,
} from '#schemas/queries.ts';
import {
  AgentId,
  DigestHex,
  Identifier,
  KebabName,
  List,
  OneOf,
  Text,
  TimeMs,
  Type,
  Uint,
  Version,
  compile,
  type TSchema,
} from '#schemas/primitives.ts';
import { gridSteps } from '#shared/core/rotation/grid.ts';

const open = <Fields extends TProperties>(fields: Fields) => Type.Object(fields);
const nullable = <Schema extends TSchema>(schema: Schema) => Type.Union([schema, Type.Null()]);

export const RequestOutcome = Type.Union([
  open({ status: Type.Literal('pending') }),
  open({ status: Type.Literal('accepted'), planId: Identifier() }),
  open({
    status: Type.Literal('refused'),
    code: OrchestrationCodeName,
    reason: Text(500),
    planId: Type.Optional(Identifier()),
  }),
]);
export type RequestOutcome = Static<typeof RequestOutcome>;

const Failure = open({ code: OrchestrationCodeName, reason: Text(500) });
export type Failure = Static<typeof Failure>;

const summary = {
  planId: Identifier(),
  planDigest: DigestHex(),
  phase: RotationPhase,
  rotationType: RotationType,
  layers: List(LayerNumber, { itemsMin: 1, itemsMax: 7 }),
  requestedBy: AgentId(),
  beganAtMs: TimeMs(),
  atMs: TimeMs(),
  /** Approvals that are still missing, while it waits for them. */
  awaitsApprovals: Type.Optional(Uint(16)),
  /** Uses of keys that are to go, which they hold up; absent where nothing does. */
  usesLeft: Type.Optional(Uint()),
  /** Why it can no longer be executed, where it waits for that. */
  stale: Type.Optional(Failure),
  failure: Type.Optional(Failure),
};
export const RotationSummary = open(summary);
export type RotationSummary = Static<typeof RotationSummary>;
export const RotationList = List(RotationSummary, { itemsMax: 1_000 });

const Key = open({ keyId: DigestHex(), version: Version() });
const Operator = open({ operatorId: AgentId() });

const KeyUses = List(open({ agentId: AgentId(), uses: Uint() }), { itemsMax: 1_024 });

const GridStatus = OneOf(['waiting', 'running', 'done', 'failed', 'skipped']);
const GridRow = open({
  layer: LayerNumber,
  name: Text(40),
  steps: open({
    prepare: GridStatus,
    accept: GridStatus,
    activate: GridStatus,
    verify: GridStatus,
    commit: GridStatus,
    retire: GridStatus,
    rollback: GridStatus,
  } satisfies Record<(typeof gridSteps)[number], TSchema>),
});

/** The state of a rotation: the part that people and scripts are shown. */
const State = open({
  decision: OneOf(['none', 'commit', 'rollback']),
  decidedAtMs: nullable(TimeMs()),
  approvals: List(Operator, { itemsMax: 16 }),
  dryRuns: List(
    open({
      operatorId: AgentId(),
      ok: Type.Boolean(),
      atMs: TimeMs(),
      code: Type.Optional(OrchestrationCodeName),
      reason: Type.Optional(Text(500)),
    }),
    { itemsMax: 64 },
  ),
  execution: nullable(open({ operatorId: AgentId(), atMs: TimeMs() })),
  commit: nullable(RotationCommit),
  slots: List(
    open({
      slot: SlotName(),
      layer: LayerNumber,
      checkpoint: Key,
      candidate: nullable(Key),
      activated: List(Type.Unknown(), { itemsMax: 1_024 }),
      /** Members, the owner among them, that were revoked while the rotation waited for them. */
      revoked: List(AgentId(), { itemsMax: 1_024 }),
      /** Members that still use the key that is to go, and how much, as they said when last asked. */
      heldBy: KeyUses,
    }),
    { itemsMax: 64 },
  ),
  failure: nullable(Failure),
  refusal: nullable(Failure),
  lockout: nullable(Failure),
  lockouts: Uint(1_000),
  recoveryRequest: nullable(
    open({ operatorId: AgentId(), approvals: List(Operator, { itemsMax: 16 }) }),
  ),
});

export const RotationDetails = open({
  ...summary,
  index: Uint(),
  plan: RotationPlan,
  state: State,
  grid: List(GridRow, { itemsMax: 7 }),
  timeline: List(
    open({ index: Uint(), event: Text(63), author: AgentId(), atMs: TimeMs(), hash: DigestHex() }),
    { itemsMax: 100_000 },
  ),
});
export type RotationDetails = Static<typeof RotationDetails>;

const Document = open({ version: Version(), digest: DigestHex() });

export const MeshStatus = open({
  orchestrator: AgentId(),
  mesh: Text(63),
  rootDigest: DigestHex(),
  registry: Document,
  policy: Document,
  documents: open({ root: Document, registry: Document, policy: Document }),
  /** Kinds of document that have expired. */
  stale: List(OneOf(['root', 'registry', 'policy']), { itemsMax: 3 }),
  revoked: List(AgentId(), { itemsMax: 20_000 }),
  /** Who offered a bad document, and until when the orchestrator takes nothing new from it. */
  lockouts: List(open({ sender: AgentId(), code: OrchestrationCodeName, untilMs: TimeMs() }), {
    itemsMax: 4_096,
  }),
  /** Events that the orchestrator refused since its start, by code. */
  refusals: Type.Record(Type.String({ pattern: '^[A-Z_]{1,40}$' }), Uint()),
  /** When the layers had been asked, by the orchestrator's clock. */
  askedAtMs: TimeMs(),
  layers: List(
    open({
      agentId: AgentId(),
      /** What holds the keys, as it calls itself. */
      adapter: KebabName(),
      ready: Type.Boolean(),
      reason: Type.Optional(Text(500)),
      slots: Uint(64),
      frozen: Uint(64),
      /** Whom the agent has locked out by itself; absent where it is nobody. */
      lockouts: Type.Optional(LockoutsShown),
      /** Set where no heartbeat came for longer than a few should take. */
      silentMs: Type.Optional(Uint()),
      /** Versions of the documents under which it said something last. */
      documents: Type.Optional(open({ registry: Version(), policy: Version() })),
    }),
    { itemsMax: 1_024 },
  ),
  rotations: RotationList,
});
export type MeshStatus = Static<typeof MeshStatus>;

/** What holds a slot, or an older key of one (`shared/core/key-holds.ts`). */
const KeyHold = Type.Union([
  open({ kind: Type.Literal('slot'), slot: SlotName(), planId: Identifier() }),
  open({
    kind: Type.Literal('key'),
    slot: SlotName(),
    planId: Identifier(),
    version: Version(),
    untilMs: Type.Optional(TimeMs()),
    heldBy: KeyUses,
  }),
]);

export const KeysList = open({
  layers: List(LayerInspection, { itemsMax: 1_024 }),
  holds: List(KeyHold, { itemsMax: 65_536 }),
});
export type KeysList = Static<typeof KeysList>;

export const checks = {
  requestOutcome: compile(RequestOutcome),
  rotationList: compile(RotationList),
  rotationDetails: compile(RotationDetails),
  meshStatus: compile(MeshStatus),
  keysList: compile(KeysList),
  signerDescription: compile(SignerDescription),
  auditHead: compile(AuditHead),
  negotiationShown: compile(NegotiationShown),
  capabilitiesList: compile(CapabilitiesList),
  trustDocuments: compile(TrustDocuments),
  telemetryRecent: compile(TelemetryRecent),
  batchProof: batchProofValidator,
  epochStatus: compile(EpochStatusList),
};

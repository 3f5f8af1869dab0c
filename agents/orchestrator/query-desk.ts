/** What operators can ask an orchestrator: how the mesh is, where a rotation stands, which keys. */

import type { CapabilitiesList } from '#schemas/negotiation.ts';
import { lockoutsShownMax, type Query } from '#schemas/queries.ts';
import type { AgentTelemetrySummary } from '#schemas/telemetry.ts';
import { keyHolds } from '#shared/core/key-holds.ts';
import type { Lockout } from '#shared/core/lockout.ts';
import { staleness, turnedSlots, type TurnedSlots } from '#shared/core/plan-staleness.ts';
import type { SlotHold } from '#shared/core/slots.ts';
import type { Enrolled } from '#shared/crypto/trust.ts';
import { rotationGrid } from '#shared/core/rotation/grid.ts';
import type { RotationState } from '#shared/core/rotation/state.ts';
import type { Answer, Exchange } from '#shared/runtime/exchange.ts';
import { toldDocuments } from '#shared/runtime/told-documents.ts';
import type { Epochs } from './epochs.ts';
import type { Outcomes } from './outcomes.ts';
import type { OrchestratorPorts } from './ports.ts';
import type { RotationDriver } from './rotation-driver.ts';
import { surveyLayers, surveyMembers } from './survey.ts';

interface Desk {
  readonly ports: OrchestratorPorts;
  readonly outcomes: Outcomes;
  readonly rotations: () => readonly RotationDriver[];
  readonly find: (planId: string) => RotationDriver | undefined;
  readonly isLive: () => boolean;
  /** What the ledger of slots says. */
  readonly heldSlots: () => readonly SlotHold[];
  /** Whom this orchestrator locked out. */
  readonly lockouts: () => readonly Lockout[];
  /** Absent where secrets are fixed. */
  readonly epochs: Pick<Epochs, 'answer'> | undefined;
  readonly negotiation: (query: Extract<Query, { ask: 'negotiation-show' }>) => Promise<Answer>;
}

const listedMax = 500;

export function answerQueries(desk: Desk): Parameters<Exchange['answer']>[0] {
  return async (query: Query, asker: Enrolled): Promise<Answer> => {
    const ofEpochs = desk.epochs?.answer(query, asker);
    if (ofEpochs !== undefined) return ofEpochs;
    if (query.ask === 'trust-documents') return toldDocuments(desk.ports.trust, query);
    if (asker.kind !== 'operator') {
      return { ok: false, code: 'ORCH-8015', reason: 'only operators may ask an orchestrator' };
    }
    if (!desk.isLive()) {
      return { ok: false, code: 'ORCH-8013', reason: 'still reading the log' };
    }
    switch (query.ask) {
      case 'mesh-status':
        return { ok: true, result: await meshStatus(desk) };
      case 'rotation-list':
        return { ok: true, result: latestRotations(desk) };
      case 'rotation-show':
        return showRotation(desk, query);
      case 'request-outcome':
        return { ok: true, result: await outcomeOf(desk, query) };
      case 'negotiation-show':
        return desk.negotiation(query);
      case 'capabilities-list':
        return { ok: true, result: await capabilities(desk) };
      case 'keys-list':
        return { ok: true, result: await keysList(desk) };
      case 'telemetry-recent':
        return { ok: true, result: desk.ports.telemetry.recent(query.agentId) };
      case 'telemetry-prove':
        return proofOf(desk, query);
      default:
        return { ok: false, code: 'ORCH-8012', reason: `not a question for an orchestrator` };
    }
  };
}

function proofOf(
  { ports }: Desk,
  { agentId, event }: Extract<Query, { ask: 'telemetry-prove' }>,
): Answer {
  const proof = ports.telemetry.prove(agentId, event);
  if (proof !== undefined) return { ok: true, result: proof };
  return { ok: false, code: 'ORCH-8012', reason: `no such telemetry of ${agentId} is remembered` };
}

async function meshStatus(desk: Desk) {
  const { ports } = desk;
  const { trust, telemetry } = ports;
  const heard = new Map(telemetry.recent().agents.map((each) => [each.agentId, each]));
  const inspections = await surveyLayers(ports);
  return {
    orchestrator: ports.agentId,
    mesh: trust.mesh,
    rootDigest: trust.rootDigest,
    registry: { version: trust.registry.version, digest: trust.registryDigest },
    policy: { version: trust.policy.version, digest: trust.policyDigest },
    /** The newest of each, digests in hexadecimal. */
    documents: trust.highest(),
    /** Kinds of document that have expired: nothing new is begun. */
    stale: trust.staleness(ports.clock.nowMs()),
    revoked: trust
      .agents()
      .flatMap(({ agentId, revokedAtMs }) => (revokedAtMs === undefined ? [] : [agentId])),
    /** Who offered a bad document a while ago and may ask for nothing new. */
    lockouts: desk.lockouts().slice(0, lockoutsShownMax),
    refusals: ports.exchange.refusals(),
    askedAtMs: ports.clock.nowMs(),
    layers: inspections.map(({ agentId, adapter, ready, reason, slots, lockouts }) => ({
      agentId,
      adapter,
      ready,
      ...(reason === undefined ? {} : { reason }),
      slots: slots.length,
      frozen: slots.filter(({ frozen }) => frozen).length,
      ...(lockouts === undefined ? {} : { lockouts }),
      ...heardOf(heard.get(agentId)),
    })),
    rotations: latestRotations(desk),
  };
}

/** How long an agent has been silent, where that is long, and the documents that it works by. */
function heardOf(summary: AgentTelemetrySummary | undefined) {
  if (summary === undefined) return {};
  const { silent, silentMs, documents } = summary;
  return { ...(silent ? { silentMs } : {}), ...(documents === undefined ? {} : { documents }) };
}

/** The keys as their agents show them, and what holds them as the logs say by then. */
async function keysList(desk: Desk) {
  const layers = await surveyMembers(desk.ports);
  return { layers, holds: keyHolds(desk.heldSlots(), desk.rotations().map(stateOf)) };
}

async function capabilities({ ports }: Desk): Promise<CapabilitiesList> {
  const inspections = await surveyMembers(ports);
  return {
    agents: inspections.flatMap((inspection) => {
      const { agentId, ready, reason, algorithms, constraints, tlsVersionMin } = inspection;
      const layer = ports.trust.agent(agentId)?.layer;
      if (layer === undefined) return [];
      const trouble = reason === undefined ? {} : { reason };
      const tls = tlsVersionMin === undefined ? {} : { tlsVersionMin };
      return [{ agentId, layer, ready, algorithms, constraints, ...trouble, ...tls }];
    }),
  };
}

async function showRotation(
  desk: Desk,
  query: Extract<Query, { ask: 'rotation-show' }>,
): Promise<Answer> {
  const driver = desk.find(query.planId);
  const state = driver?.log.state;
  if (driver === undefined || state === undefined || state === null) {
    return { ok: false, code: 'ORCH-8004', reason: `there is no plan ${query.planId}` };
  }
  await waitUntil(desk, query.waitMs, () => {
    const index = driver.log.state?.index ?? 0;
    return query.afterIndex === undefined || index > query.afterIndex
      ? undefined
      : driver.log.changed();
  });
  return { ok: true, result: detailsOf(desk, driver, query.afterIndex !== undefined) };
}

async function outcomeOf(desk: Desk, query: Extract<Query, { ask: 'request-outcome' }>) {
  await waitUntil(desk, query.waitMs, () =>
    desk.outcomes.get(query.request) === undefined ? desk.outcomes.changed() : undefined,
  );
  return desk.outcomes.get(query.request) ?? { status: 'pending' };
}

/** Waits until `condition` is met (undefined) or the time is up; it is asked again at each change. */
async function waitUntil(
  { ports }: Desk,
  waitMs: number,
  condition: () => Promise<void> | undefined,
): Promise<void> {
  let over = false;
  const timeUp = new Promise<void>((resolve) => {
    ports.clock.after(waitMs, () => {
      over = true;
      resolve();
    });
  });
  for (let change = condition(); change !== undefined && !over; change = condition()) {
    await Promise.race([change, timeUp]);
  }
}

/** By the time they began, whatever order the log was read in; the newest last. */
function latestRotations(desk: Desk) {
  const states = desk.rotations().map(stateOf);
  const turned = turnedSlots(states);
  return states
    .toSorted((one, other) => one.beganAtMs - other.beganAtMs)
    .slice(-listedMax)
    .map((state) => summaryOf(desk.ports, state, () => turned));
}

function stateOf({ log: { state } }: RotationDriver): RotationState {
  if (state === null) throw new Error('assertion: a rotation that is shown has a state');
  return state;
}

function summaryOf(
  { trust, clock }: OrchestratorPorts,
  state: RotationState,
  turned: () => TurnedSlots,
) {
  const { plan, phase, planDigest, atMs, beganAtMs, failure } = state;
  const usesLeft = usesOfOldKeys(state);
  const digests = {
    registry: trust.registryDigest,
    policy: trust.policyDigest,
    enrolments: trust.enrolmentsDigest,
  };
  const stale = staleness(state, { turned, digests, nowMs: clock.nowMs() });
  return {
    planId: state.sagaId,
    planDigest,
    phase,
    rotationType: plan.body.rotation_type,
    layers: plan.body.affected_layers,
    requestedBy: plan.body.requested_by,
    beganAtMs,
    atMs,
    ...(phase === 'validated'
      ? { awaitsApprovals: plan.body.approvals_required - state.approvals.length }
      : {}),
    ...(stale === undefined ? {} : { stale: { code: stale.code, reason: stale.reason } }),
    ...(usesLeft === 0 ? {} : { usesLeft }),
    ...(failure === null ? {} : { failure: { code: failure.code, reason: failure.reason } }),
  };
}

function usesOfOldKeys({ slots }: RotationState): number {
  return slots.flatMap(({ heldBy }) => heldBy).reduce((sum, { uses }) => sum + uses, 0);
}

/** All there is; or, for who asks again at every change, what changes and is looked at. */
function detailsOf({ ports, rotations }: Desk, driver: RotationDriver, isWatched: boolean) {
  const state = stateOf(driver);
  return {
    ...summaryOf(ports, state, () => turnedSlots(rotations().map(stateOf))),
    index: state.index,
    plan: state.plan,
    state: isWatched ? watchedPart(state) : state,
    grid: rotationGrid(state),
    timeline: driver.log.applied.map(({ entry, author, timeMs, hash }) => ({
      index: entry.index,
      event: entry.event.type,
      author,
      atMs: timeMs,
      hash,
    })),
  };
}

/** A tenth of the state: the rest would be sealed and opened again at every entry of the saga. */
function watchedPart(state: RotationState) {
  const { decision, decidedAtMs, approvals, dryRuns, execution, commit, counters } = state;
  const { failure, refusal, lockout, lockouts, recoveryRequest } = state;
  const progress = { decision, decidedAtMs, approvals, dryRuns, execution, commit, counters };
  const troubles = { failure, refusal, lockout, lockouts, recoveryRequest };
  const slots = state.slots.map((each) => {
    const { slot, layer, checkpoint, candidate, activated, revoked, heldBy } = each;
    return { slot, layer, checkpoint, candidate, activated, revoked, heldBy };
  });
  return { ...progress, ...troubles, slots };
}

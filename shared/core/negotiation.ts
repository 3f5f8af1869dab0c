/**
 * A negotiation: opened by an orchestrator at an operator's request, advertised by both agents,
 * confirmed by both, or failed. One function serves the two agents, the orchestrators and everyone who
 * computes it again from an audit; it is synchronous and total.
 *
 * Invariants: the first advertisement of a side stands, so that none is exchanged for an older or a
 * shorter one; a confirmation before both advertisements changes nothing; one that differs from what
 * follows from the advertisements ends the negotiation with ORCH-8012; nobody but the two agents can
 * agree, and nobody but they and orchestrators can end it.
 */

import type { OrchCode } from '#schemas/errors.ts';
import type { NegotiationConfirmed, NegotiationFailed } from '#schemas/negotiation.ts';
import { sameData } from './equality.ts';
import {
  basisOf,
  requestMisfit,
  transcriptInputOf,
  type AcceptedAdvertisement,
  type NegotiationEvent,
  type NegotiationRole,
  type NegotiationRules,
  type NegotiationState,
  type StateWithAdvertisements,
} from './negotiation-state.ts';
import { selectAlgorithms } from './negotiation-selection.ts';

/** What one of the two agents, or an orchestrator, has to do next. */
export type NegotiationCommand =
  | { readonly type: 'advertise'; readonly agentId: string; readonly role: NegotiationRole }
  | { readonly type: 'confirm'; readonly agentId: string; readonly body: NegotiationConfirmed }
  | {
      readonly type: 'announce-failure';
      readonly agentId: string;
      readonly body: NegotiationFailed;
    }
  /** For orchestrators: end it with ORCH-8013 if it is not over after so long. */
  | { readonly type: 'await-end'; readonly afterMs: number };

export type NegotiationStep =
  | { readonly state: NegotiationState; readonly commands: readonly NegotiationCommand[] }
  | { readonly rejected: OrchCode; readonly reason: string };

/** How long two agents may take to agree. */
export const negotiationTimeoutMs = 5_000;

export function beginNegotiation(
  negotiationId: string,
  event: Extract<NegotiationEvent, { type: 'negotiation-opened' }>,
  rules: NegotiationRules,
): NegotiationStep {
  const { body, hash, timeMs, senderKind } = event;
  const { client, server, constraints, request } = body;
  if (senderKind !== 'orchestrator' || body.negotiationId !== negotiationId) {
    return rejected('an orchestrator opens a negotiation, under its own id');
  }
  const layers = { client: rules.layerOf(client), server: rules.layerOf(server) };
  if (layers.client === undefined || layers.server === undefined || client === server) {
    return rejected('a negotiation is between two enrolled layer agents');
  }
  const misfit = requestMisfit(body, rules.requestOf(body.evidence));
  if (misfit !== undefined) return rejected(misfit);
  const basis = basisOf(event);
  if (rules.documentsOf(basis) === undefined) {
    return rejected('it was opened under documents that were never in force');
  }
  const state: NegotiationState = {
    negotiationId,
    phase: 'opened',
    client,
    server,
    layers: { client: layers.client, server: layers.server },
    constraints,
    request,
    opened: hash,
    openedBy: event.senderId,
    openedAtMs: timeMs,
    basis,
    advertisements: {},
    agreement: null,
    confirmations: {},
    failure: null,
  };
  return {
    state,
    commands: [
      { type: 'advertise', agentId: client, role: 'client' },
      { type: 'advertise', agentId: server, role: 'server' },
      { type: 'await-end', afterMs: negotiationTimeoutMs },
    ],
  };
}

export function stepNegotiation(
  state: NegotiationState,
  event: NegotiationEvent,
  rules: NegotiationRules,
): NegotiationStep {
  if (event.body.negotiationId !== state.negotiationId) {
    return rejected('the event is of another negotiation');
  }
  switch (event.type) {
    case 'negotiation-opened':
      return rejected('the negotiation is open already');
    case 'algorithms-advertised':
      return advertise(state, event, rules);
    case 'negotiation-confirmed':
      return confirm(state, event);
    case 'negotiation-failed':
      return end(state, event);
  }
}

function advertise(
  state: NegotiationState,
  event: Extract<NegotiationEvent, { type: 'algorithms-advertised' }>,
  rules: NegotiationRules,
): NegotiationStep {
  const role = roleOf(state, event.senderId);
  if (role === undefined) return rejected(`${event.senderId} does not take part`);
  if (isOver(state)) return rejected('the negotiation is over');
  if (state.advertisements[role] !== undefined) {
    return rejected(`the first advertisement of ${event.senderId} stands`);
  }
  const { hash, senderId, timeMs, body } = event;
  if (body.role !== role) return fail(state, event, `${senderId} is the ${role}`);
  if (rules.isNonceReused(body.nonce, hash)) {
    return fail(state, event, `the nonce of ${senderId} was used before`);
  }
  const accepted: AcceptedAdvertisement = { hash, agentId: senderId, timeMs, advertisement: body };
  const advertisements = { ...state.advertisements, [role]: accepted };
  const next: NegotiationState = { ...state, advertisements };
  const { client, server } = advertisements;
  return client === undefined || server === undefined
    ? { state: next, commands: [] }
    : select({ ...next, phase: 'advertised', advertisements: { client, server } }, event, rules);
}

/** Both advertisements are there: what follows is the same for everyone who knows them. */
function select(
  state: StateWithAdvertisements,
  event: NegotiationEvent,
  rules: NegotiationRules,
): NegotiationStep {
  const documents = rules.documentsOf(state.basis);
  if (documents === undefined) {
    return fail(state, event, 'the documents were amended meanwhile', 'ORCH-8002');
  }
  const { advertisements, constraints, layers } = state;
  const selection = selectAlgorithms({
    client: advertisements.client.advertisement,
    server: advertisements.server.advertisement,
    constraints,
    layers,
    ...documents,
  });
  if (selection.status === 'refused') {
    return fail(state, event, selection.reason, selection.code);
  }
  const { selected } = selection;
  const transcript = rules.transcriptOf(transcriptInputOf(state, selected));
  const body: NegotiationConfirmed = {
    negotiationId: state.negotiationId,
    selected,
    transcript,
    opened: state.opened,
    clientAdvertisement: advertisements.client.hash,
    serverAdvertisement: advertisements.server.hash,
  };
  return {
    state: { ...state, agreement: body },
    commands: [state.client, state.server].map((agentId) => ({ type: 'confirm', agentId, body })),
  };
}

function confirm(
  state: NegotiationState,
  event: Extract<NegotiationEvent, { type: 'negotiation-confirmed' }>,
): NegotiationStep {
  const role = roleOf(state, event.senderId);
  if (role === undefined) return rejected(`${event.senderId} does not take part`);
  if (isOver(state)) return rejected('the negotiation is over');
  const { agreement } = state;
  if (agreement === null) return rejected('a confirmation comes after both advertisements');
  if (!sameData(agreement, event.body)) {
    return fail(state, event, `${event.senderId} confirms what does not follow`);
  }
  const confirmations = { ...state.confirmations, [role]: event.hash };
  const isAgreed = confirmations.client !== undefined && confirmations.server !== undefined;
  const phase = isAgreed ? 'agreed' : state.phase;
  return { state: { ...state, phase, confirmations }, commands: [] };
}

/** A failure that is announced after all have seen it changes nothing. */
function end(
  state: NegotiationState,
  event: Extract<NegotiationEvent, { type: 'negotiation-failed' }>,
): NegotiationStep {
  const isParty = roleOf(state, event.senderId) !== undefined;
  if (!isParty && event.senderKind !== 'orchestrator') {
    return rejected(`${event.senderId} does not take part`);
  }
  if (state.phase === 'agreed') return rejected('the agents have agreed');
  if (state.phase === 'failed') return { state, commands: [] };
  const { code, reason } = event.body;
  const failure = { code, reason, by: event.senderId, event: event.hash };
  return { state: { ...state, phase: 'failed', failure }, commands: [] };
}

function fail(
  state: NegotiationState,
  { senderId, hash }: NegotiationEvent,
  reason: string,
  code: OrchCode = 'ORCH-8012',
): NegotiationStep {
  const { negotiationId, client, server } = state;
  const body = { negotiationId, code, reason };
  return {
    state: { ...state, phase: 'failed', failure: { code, reason, by: senderId, event: hash } },
    commands: [client, server].map((agentId) => ({ type: 'announce-failure', agentId, body })),
  };
}

export function isOver({ phase }: NegotiationState): boolean {
  return phase === 'agreed' || phase === 'failed';
}

function roleOf(state: NegotiationState, agentId: string): NegotiationRole | undefined {
  if (agentId === state.client) return 'client';
  return agentId === state.server ? 'server' : undefined;
}

function rejected(reason: string): NegotiationStep {
  return { rejected: 'ORCH-8012', reason };
}

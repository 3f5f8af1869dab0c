/**
 * What an orchestrator makes of the actions that layer 7 asks for, before a plan is made: whether the
 * slot's key signed the claim, and whether another rotation of this kind runs or ran lately. One after
 * another, so that a storm of them meets the first one's plan. It decides by the folded log alone; two
 * orchestrators that read it apart are told apart by the auditor (`audit-healing.ts`).
 */

import { eventTypes } from '#schemas/events.ts';
import { healingLayer, healingSlot } from '#schemas/healing.ts';
import {
  claimShortfall,
  healingKeysGone,
  healingKeysIn,
  healingPauseMs,
  healingRotationOf,
  healingShortfall,
  requestOfClaim,
} from '#shared/core/healing.ts';
import { servingAgents } from '#shared/core/plan-members.ts';
import type { RotationState } from '#shared/core/rotation/state.ts';
import { isHealingSigned } from '#shared/crypto/healing-signature.ts';
import type { ReceivedEvent } from '#shared/runtime/exchange.ts';
import { Turns } from '#shared/runtime/turns.ts';
import type { OrchestratorPorts } from './ports.ts';
import type { Refusal } from './request-desk.ts';
import { surveyLayers, type SurveyPorts } from './survey.ts';

type HealingPorts = SurveyPorts & Pick<OrchestratorPorts, 'clock' | 'crypto'>;
type Asked = ReceivedEvent<'healing-action-requested'>;

/** Actions of one agent that are looked at within a minute; more of them only a thief asks for. */
const heardMax = 12;
const heardWithinMs = 60_000;
/** How long an event is under way at the most. */
const heardLateMs = eventTypes['healing-action-requested'].validMs;

/** Whether layer 7 asked for the plan, by who the plan says asked. */
export function isOfHealing(
  { trust }: Pick<OrchestratorPorts, 'trust'>,
  plan: { readonly requested_by: string },
): boolean {
  return trust.agent(plan.requested_by)?.kind === 'layer';
}

export class HealingDesk {
  readonly #ports: HealingPorts;
  readonly #rotations: () => readonly RotationState[];
  readonly #heard = new Map<string, number[]>();
  /** Actions that were let pass, and by which event: whatever else names them comes too late. */
  readonly #passed = new Map<string, { readonly hash: string; readonly timeMs: number }>();
  readonly #turns = new Turns();

  constructor(ports: HealingPorts, rotations: () => readonly RotationState[]) {
    this.#ports = ports;
    this.#rotations = rotations;
  }

  /** False for what comes too often: it is dropped, and nobody is told. */
  hears({ sender }: Asked): boolean {
    const nowMs = this.#ports.clock.nowMs();
    const before = this.#heard.get(sender.agentId) ?? [];
    const lately = before.filter((atMs) => Math.abs(nowMs - atMs) < heardWithinMs);
    if (lately.length >= heardMax) return false;
    this.#heard.set(sender.agentId, [...lately, nowMs]);
    return true;
  }

  /** Runs `plan` when no other action is being looked at, unless something speaks against it. */
  attend(event: Asked, plan: () => Promise<Refusal | undefined>): Promise<Refusal | undefined> {
    return this.#turns.take('action', async () => (await this.#refusal(event)) ?? (await plan()));
  }

  async #refusal(event: Asked): Promise<Refusal | undefined> {
    const { trust, clock } = this.#ports;
    const { claim } = event.body;
    const old = claimShortfall(claim, { timeMs: event.header.timeMs, policy: trust.policy });
    if (old !== undefined) return { code: 'ORCH-8015', reason: old };
    const states = this.#rotations();
    const { layers } = requestOfClaim(claim, servingAgents(trust.agents()));
    const shortfall = healingShortfall(layers, {
      others: states
        .filter(({ plan }) => isOfHealing(this.#ports, plan.body))
        .map(healingRotationOf),
      policy: trust.policy,
      nowMs: clock.nowMs(),
    });
    if (shortfall !== undefined) return shortfall;
    if (!isHealingSigned(this.#ports.crypto, event.body, await this.#keysInUse(states))) {
      return { code: 'ORCH-8015', reason: `no key of ${healingSlot} in use signed the claim` };
    }
    return this.#reuse(event);
  }

  async #keysInUse(states: readonly RotationState[]): Promise<Set<string>> {
    const keys = healingKeysIn(states);
    for (const { slots } of await surveyLayers(this.#ports, [healingLayer])) {
      for (const { slot, keyId } of slots) if (slot === healingSlot) keys.add(keyId);
    }
    // What is gone by the log is gone, whatever its owner says of itself.
    for (const keyId of healingKeysGone(states)) keys.delete(keyId);
    return keys;
  }

  /**
   * An action is asked for by one event. What was let pass before a start is known to the log alone, and
   * the auditor refuses a second plan for it; what was let pass long ago rests on anomalies that are old.
   */
  #reuse({ hash, header: { timeMs }, body: { claim } }: Asked): Refusal | undefined {
    const { trust, clock } = this.#ports;
    const { clock_skew_ms: skewMs } = trust.policy.policies.rotation;
    const keptMs = healingPauseMs(trust.policy) + heardLateMs + 2 * skewMs;
    for (const [actionId, passed] of this.#passed) {
      if (passed.timeMs < clock.nowMs() - keptMs) this.#passed.delete(actionId);
    }
    const first = this.#passed.get(claim.actionId);
    if (first !== undefined && first.hash !== hash) {
      return { code: 'ORCH-8009', reason: `${claim.actionId} was asked for before` };
    }
    this.#passed.set(claim.actionId, { hash, timeMs });
    return undefined;
  }
}

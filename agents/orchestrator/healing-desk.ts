/**
 * What an orchestrator makes of the actions that layer 7 asks for, before a plan is made: whether the
 * slot's key signed the claim, and whether another rotation of this kind runs or ran lately. One after
 * another, so that a storm of them meets the first one's plan. It decides by the folded log alone; two
 * orchestrators that read it apart are told apart by the auditor (`audit-healing.ts`).
 */

import { healingLayer, healingSlot } from '#schemas/healing.ts';
import { withDependants } from '#shared/core/dependants.ts';
import { healingKeysIn, healingRotationOf, healingShortfall } from '#shared/core/healing.ts';
import type { RotationState } from '#shared/core/rotation/state.ts';
import { isHealingSigned } from '#shared/crypto/healing-signature.ts';
import type { ReceivedEvent } from '#shared/runtime/exchange.ts';
import type { OrchestratorPorts } from './ports.ts';
import type { Refusal } from './request-desk.ts';
import { surveyLayers } from './survey.ts';

type Asked = ReceivedEvent<'healing-action-requested'>;

/** Actions of one agent that are looked at within a minute; more of them only a thief asks for. */
const heardMax = 12;
const heardWithinMs = 60_000;

/** Whether layer 7 asked for the plan, by who the plan says asked. */
export function isOfHealing(
  { trust }: Pick<OrchestratorPorts, 'trust'>,
  plan: { readonly requested_by: string },
): boolean {
  return trust.agent(plan.requested_by)?.kind === 'layer';
}

export class HealingDesk {
  readonly #ports: OrchestratorPorts;
  readonly #rotations: () => readonly RotationState[];
  readonly #heard = new Map<string, number[]>();
  #tail: Promise<unknown> = Promise.resolve();

  constructor(ports: OrchestratorPorts, rotations: () => readonly RotationState[]) {
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
  async attend(
    event: Asked,
    plan: () => Promise<Refusal | undefined>,
  ): Promise<Refusal | undefined> {
    const turn = this.#tail.then(async () => (await this.#refusal(event)) ?? (await plan()));
    this.#tail = turn.catch(() => undefined);
    return turn;
  }

  async #refusal(event: Asked): Promise<Refusal | undefined> {
    const { trust, clock, crypto } = this.#ports;
    const states = this.#rotations();
    const shortfall = healingShortfall(withDependants(event.body.claim.action.layers), {
      others: states
        .filter(({ plan }) => isOfHealing(this.#ports, plan.body))
        .map(healingRotationOf),
      policy: trust.policy,
      nowMs: clock.nowMs(),
    });
    if (shortfall !== undefined) return shortfall;
    const accepted = healingKeysIn(states);
    for (const { slots } of await surveyLayers(this.#ports, [healingLayer])) {
      for (const { slot, keyId } of slots) if (slot === healingSlot) accepted.add(keyId);
    }
    return isHealingSigned(crypto, event.body, accepted)
      ? undefined
      : { code: 'ORCH-8015', reason: `no key of ${healingSlot} in use signed the claim` };
  }
}

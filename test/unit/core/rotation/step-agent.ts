/**
 * An honest layer agent in memory: it checks a step as a real one does, keeps its keys, answers a
 * repeated command with its first answer, and refuses to break an invariant.
 */

import type { RotationPlanBody } from '#schemas/plan.ts';
import type { SlotOutcome, StepReport } from '#schemas/saga.ts';
import type { SendStep } from '#shared/core/rotation/commands.ts';
import { checkStep, type StepCheck } from '#shared/core/step-evidence.ts';
import { digestOf } from '../mesh.ts';

export type AgentAnswer = Pick<StepReport, 'status' | 'slots' | 'code' | 'reason'>;

interface Key {
  readonly keyId: string;
  readonly version: number;
}

interface SlotStore {
  readonly old: Key;
  candidate: Key | null;
  primary: 'old' | 'candidate';
  isOldKept: boolean;
  frozen: boolean;
}

export class StepAgent {
  readonly agentId: string;
  readonly layer: number;
  readonly #slots = new Map<string, SlotStore>();
  readonly #answers = new Map<string, AgentAnswer>();
  readonly #owned = new Set<string>();
  #lastIndex = -1;
  #authorization: StepCheck['authorization'];

  constructor(agentId: string, layer: number, plan: RotationPlanBody) {
    this.agentId = agentId;
    this.layer = layer;
    for (const { slot, key_id: keyId, version, members } of plan.affected_keys) {
      const member = members.find(({ agent_id }) => agent_id === agentId);
      if (member?.role === 'owner') this.#owned.add(slot);
      this.#slots.set(slot, {
        old: { keyId, version },
        candidate: null,
        primary: 'old',
        isOldKept: true,
        frozen: false,
      });
    }
  }

  primary(slot: string): Key {
    const store = this.#store(slot);
    return store.primary === 'candidate' && store.candidate !== null ? store.candidate : store.old;
  }

  /** Whether the new key of a slot is kept here. */
  hasCandidate(slot: string): boolean {
    return this.#store(slot).candidate !== null;
  }

  isOldKept(slot: string): boolean {
    return this.#store(slot).isOldKept;
  }

  isFrozen(slot: string): boolean {
    return this.#store(slot).frozen;
  }

  carryOut(command: SendStep, check: StepCheck): AgentAnswer | 'overtaken' {
    const former = this.#answers.get(command.id);
    if (former !== undefined) return former;
    if (command.sagaIndex < this.#lastIndex) return 'overtaken';
    this.#authorization ??= check.command.authorization?.body;
    const kept = this.#authorization === undefined ? {} : { authorization: this.#authorization };
    const frozen = command.slots.some((slot) => this.#store(slot).frozen);
    const verdict = checkStep({ ...check, ...kept, frozen, lastSagaIndex: this.#lastIndex });
    if (verdict !== 'ok') return { status: 'failed', ...verdict, slots: [] };
    this.#lastIndex = command.sagaIndex;
    const slots = command.slots.map((slot) => this.#turn(command.operation, slot));
    const answer: AgentAnswer = { status: 'done', slots };
    this.#answers.set(command.id, answer);
    return answer;
  }

  #turn(operation: SendStep['operation'], slot: string): SlotOutcome {
    const store = this.#store(slot);
    const version = store.old.version + 1;
    switch (operation) {
      case 'prepare':
      case 'accept':
        store.candidate = { version, keyId: digestOf(`${slot} ${version}`) };
        break;
      case 'activate':
        if (store.candidate === null) throw new Error('assertion: activated without a key');
        store.primary = 'candidate';
        break;
      case 'verify':
      case 'measure':
        if (this.#owned.has(slot) && store.primary !== 'candidate') {
          throw new Error('assertion: used before it was active');
        }
        break;
      case 'release':
        return outcomeOf(slot, store.old, { inUse: 0 });
      case 'retire':
        if (this.#owned.has(slot) && store.primary !== 'candidate') {
          throw new Error('assertion: the key in use is destroyed');
        }
        store.isOldKept = false;
        return outcomeOf(slot, store.old);
      case 'rollback':
        if (!store.isOldKept) throw new Error('assertion: nothing to go back to');
        store.primary = 'old';
        store.frozen = false;
        return outcomeOf(slot, store.old);
      case 'discard':
        if (store.primary === 'candidate') throw new Error('assertion: discarded while primary');
        store.candidate = null;
        return outcomeOf(slot, store.old);
      case 'freeze':
        store.frozen = true;
        return outcomeOf(slot, store.old);
    }
    const key = store.candidate ?? store.old;
    const samples = { operations: 100, failures: 0, latencyPercent: 100 };
    return outcomeOf(slot, key, operation === 'measure' ? { samples } : {});
  }

  #store(slot: string): SlotStore {
    const store = this.#slots.get(slot);
    if (store === undefined) throw new Error(`no slot ${slot}`);
    return store;
  }
}

function outcomeOf(slot: string, { keyId, version }: Key, more: Partial<SlotOutcome> = {}) {
  return { slot, keyId, version, publicDigest: keyId, ...more };
}

/**
 * Ordinary use of the layers' keys while things go wrong: each layer's programs sign and encrypt with the
 * key of the moment, and now and then verify or decrypt what they made earlier, so that old keys are in use
 * while rotations want to let go of them. The keys are those of the agents, used as production uses them.
 */

import type { EmbeddedAdapter } from '#agents/layers/embedded/embedded-adapter.ts';
import { EmbeddedWorkload } from '#agents/layers/embedded/embedded-workload.ts';
import type { WorkloadInput, WorkloadOperation, WorkloadResult } from '#agents/layers/workload.ts';
import type { CryptoProvider } from '#shared/crypto/provider.ts';
import type { LifeClock } from './model.ts';
import type { Draws, Life } from './model.ts';

/** How far back a use holds an old key, in worlds with a workload. */
export const usageWindowMs = 1_500;

export interface Use {
  readonly agentId: string;
  readonly slot: string;
  readonly version: number;
  readonly purpose: 'make' | 'take';
}

export interface WorkloadPorts {
  readonly draws: Draws;
  readonly used: (use: Use) => void;
  /** A key no longer takes what it made. */
  readonly onFault: (agentId: string, what: string) => void;
}

/** The keys of one agent in one of its lives. */
export interface Using {
  readonly life: Life;
  readonly clock: LifeClock;
  readonly crypto: CryptoProvider;
  readonly layer: number;
  readonly keys: EmbeddedAdapter;
}

interface Made {
  readonly slot: string;
  readonly keyType: string;
  readonly takenBy: WorkloadOperation;
  readonly input: WorkloadInput;
}

const everyMs = { least: 150, most: 700 };
const keptMax = 6;
const message = Uint8Array.of(1, 2, 3, 4);

const makers: Readonly<
  Record<
    string,
    {
      readonly makes: WorkloadOperation;
      readonly takes: WorkloadOperation;
      readonly input: WorkloadInput;
      readonly inputOf: (result: WorkloadResult) => WorkloadInput;
    }
  >
> = {
  signature: {
    makes: 'sign',
    takes: 'verify',
    input: { message },
    inputOf: ({ signature }) => ({ message, ...(signature && { signature }) }),
  },
  mac: {
    makes: 'mac',
    takes: 'verify-mac',
    input: { message },
    inputOf: ({ tag }) => ({ message, ...(tag && { tag }) }),
  },
  aead: {
    makes: 'encrypt',
    takes: 'decrypt',
    input: { plaintext: message },
    inputOf: ({ ciphertext }) => ({ ...(ciphertext && { ciphertext }) }),
  },
};

export class Workload {
  readonly #ports: WorkloadPorts;
  /** By agent: what its programs made, oldest first; they outlive the agent. */
  readonly #made = new Map<string, Made[]>();
  #isOver = false;

  constructor(ports: WorkloadPorts) {
    this.#ports = ports;
  }

  /** Until the life ends, or all of it is stopped. */
  begin(using: Using): void {
    const { life, clock, keys, crypto, layer } = using;
    const draws = this.#ports.draws.fork(`${life.agentId} in life ${life.number}`);
    const { store, usage } = keys;
    const programs = new EmbeddedWorkload({ store, usage, crypto, clock, layer });
    const turn = (): void => {
      if (this.#isOver) return;
      if (draws.chance(0.5)) this.#make(life.agentId, programs, draws);
      else this.#take(life.agentId, programs, draws);
      wait();
    };
    const wait = (): void => {
      clock.after(draws.between(everyMs.least, everyMs.most), turn);
    };
    wait();
  }

  stop(): void {
    this.#isOver = true;
  }

  #make(agentId: string, programs: EmbeddedWorkload, draws: Draws): void {
    const usable = programs.slots().filter(({ keyKind }) => makers[keyKind] !== undefined);
    if (usable.length === 0) return;
    const { slot, keyType, keyKind } = draws.pick(usable);
    const maker = makers[keyKind];
    if (maker === undefined) return;
    const outcome = programs.use(keyType, maker.makes, maker.input);
    if (outcome.status !== 'done') return;
    const { version, keyId, result } = outcome;
    this.#ports.used({ agentId, slot, version, purpose: 'make' });
    const made = this.#made.get(agentId) ?? [];
    this.#made.set(agentId, made);
    made.push({ slot, keyType, takenBy: maker.takes, input: { ...maker.inputOf(result), keyId } });
    if (made.length > keptMax) made.splice(draws.between(0, keptMax - 1), 1);
  }

  #take(agentId: string, programs: EmbeddedWorkload, draws: Draws): void {
    const made = this.#made.get(agentId) ?? [];
    if (made.length === 0) return;
    // The oldest is of the key that goes next.
    const taken = draws.chance(0.5) ? made[0] : draws.pick(made);
    if (taken === undefined) return;
    const { slot, keyType, takenBy, input } = taken;
    const outcome = programs.use(keyType, takenBy, input);
    if (outcome.status === 'refused') {
      if (outcome.code === 'INPUT_INVALID') this.#ports.onFault(agentId, notTaken(slot));
      // The key is gone, and what it made is of no use any more.
      made.splice(made.indexOf(taken), 1);
      return;
    }
    const { version, result } = outcome;
    this.#ports.used({ agentId, slot, version, purpose: 'take' });
    if (result.valid === false) this.#ports.onFault(agentId, notTaken(slot));
  }
}

function notTaken(slot: string): string {
  return `a key of ${slot} does not take what it made`;
}

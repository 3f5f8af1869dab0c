/**
 * A workload on every layer at once: it signs, seals, encapsulates and authenticates with the keys of
 * all slots through the layers' key services, takes each artefact back at once and again while it
 * lives, and counts what fails. Its rate is bounded, and every artefact is used more often than a key
 * may lie idle before it is retired, so that no key may go while this workload needs it.
 */
import { randomBytes } from 'node:crypto';
import { equalConstantTime } from '#shared/crypto/bytes.ts';
import { KeyClient, KeyClientError, type KeyUseOutcome } from '#agents/layers/key-client.ts';
import type { WorkloadInput, WorkloadOperation } from '#agents/layers/workload.ts';

export interface ProbeTarget {
  readonly agentId: string;
  readonly layer: number;
  /** Path of the key service's unix socket. */
  readonly socketPath: string;
}

export interface ProbeCounts {
  /** Artefacts made, and artefacts taken back, with any key. */
  made: number;
  takenBack: number;
  /** Taken back under a key that was no longer the primary one. */
  withOlderKey: number;
  failures: number;
}

export interface ProbeReport {
  readonly layers: ReadonlyMap<number, ProbeCounts>;
  readonly total: ProbeCounts;
  /** What went wrong, at most twenty of it. */
  readonly failures: readonly string[];
}

interface Slot {
  readonly layer: number;
  readonly client: KeyClient;
  readonly keyType: string;
  readonly use: Use;
  artefacts: Artefact[];
  newestKeyId: string;
}

interface Artefact {
  readonly keyId: string;
  readonly madeAtMs: number;
  readonly input: WorkloadInput;
  /** What taking it back must yield; absent where it must only be valid. */
  readonly expected?: Uint8Array;
}

/** One kind of key: how something is made with it, and how that is taken back. */
interface Use {
  readonly make: WorkloadOperation;
  readonly takeBack: WorkloadOperation;
  readonly inputOf: () => WorkloadInput;
  readonly artefactOf: (
    given: WorkloadInput,
    outcome: Extract<KeyUseOutcome, { status: 'done' }>,
  ) => Pick<Artefact, 'input' | 'expected'>;
}

const roundMs = 450;
const artefactLifeMs = 2_000;
const failuresKept = 20;

export class Probe {
  readonly #slots: Slot[] = [];
  readonly #layers = new Map<number, ProbeCounts>();
  readonly #failures: string[] = [];
  readonly #clients: KeyClient[] = [];
  #running: Promise<void> | null = null;
  #stopping = false;

  /** Finds the slots of every layer and begins. */
  async start(targets: readonly ProbeTarget[]): Promise<void> {
    for (const { layer, socketPath } of targets) {
      const client = new KeyClient(socketPath, { timeoutMs: 10_000, socketsMax: 2 });
      this.#clients.push(client);
      this.#layers.set(layer, { made: 0, takenBack: 0, withOlderKey: 0, failures: 0 });
      for (const { keyType, keyKind, keyId } of await client.slots()) {
        const use = uses[keyKind];
        if (use === undefined) throw new Error(`no use is known for keys of kind ${keyKind}`);
        this.#slots.push({ layer, client, keyType, use, artefacts: [], newestKeyId: keyId });
      }
    }
    this.#running = this.#run();
  }

  get slotCount(): number {
    return this.#slots.length;
  }

  async stop(): Promise<ProbeReport> {
    this.#stopping = true;
    await this.#running;
    for (const client of this.#clients) client.close();
    return this.report();
  }

  report(): ProbeReport {
    const total: ProbeCounts = { made: 0, takenBack: 0, withOlderKey: 0, failures: 0 };
    for (const counts of this.#layers.values()) {
      for (const key of ['made', 'takenBack', 'withOlderKey', 'failures'] as const) {
        total[key] += counts[key];
      }
    }
    return { layers: this.#layers, total, failures: this.#failures };
  }

  /** One round after the other; the slots of a round are spread over its time. */
  async #run(): Promise<void> {
    for (let round = 0; !this.#stopping; round++) {
      const startedMs = performance.now();
      const pauseMs = roundMs / Math.max(1, this.#slots.length);
      for (const [index, slot] of this.#slots.entries()) {
        // Something new every other round; what is there already is taken back in each.
        await this.#exercise(slot, (round + index) % 2 === 0);
        const aheadMs = startedMs + (index + 1) * pauseMs - performance.now();
        if (aheadMs > 0) await new Promise((resolve) => setTimeout(resolve, aheadMs));
        if (this.#stopping) return;
      }
    }
  }

  async #exercise(slot: Slot, makesNew: boolean): Promise<void> {
    const counts = this.#countsOf(slot.layer);
    slot.artefacts = slot.artefacts.filter(
      ({ madeAtMs }) => performance.now() - madeAtMs < artefactLifeMs,
    );
    if (makesNew || slot.artefacts.length === 0) await this.#make(slot, counts);
    for (const artefact of slot.artefacts) {
      if (!(await this.#takeBack(slot, artefact))) continue;
      counts.takenBack += 1;
      if (artefact.keyId !== slot.newestKeyId) counts.withOlderKey += 1;
    }
  }

  async #make(slot: Slot, counts: ProbeCounts): Promise<void> {
    const input = slot.use.inputOf();
    const outcome = await this.#use(slot, slot.use.make, input);
    if (outcome === null) return;
    counts.made += 1;
    slot.newestKeyId = outcome.keyId;
    const made = slot.use.artefactOf(input, outcome);
    slot.artefacts.push({ ...made, keyId: outcome.keyId, madeAtMs: performance.now() });
  }

  async #takeBack(slot: Slot, { input, expected, keyId }: Artefact): Promise<boolean> {
    const { takeBack } = slot.use;
    const outcome = await this.#use(slot, takeBack, { ...input, keyId });
    if (outcome === null) return false;
    const yielded = outcome.plaintext ?? outcome.sharedSecret;
    const holds =
      expected === undefined
        ? outcome.valid === true
        : yielded !== undefined && equalConstantTime(yielded, expected);
    if (!holds) this.#fail(slot, `${takeBack} does not yield what was made`);
    return holds;
  }

  async #use(slot: Slot, operation: WorkloadOperation, input: WorkloadInput) {
    try {
      const outcome = await slot.client.use(slot.keyType, operation, input);
      if (outcome.status === 'done') return outcome;
      this.#fail(slot, `${operation} refused: ${outcome.code}`);
    } catch (error) {
      if (!(error instanceof KeyClientError)) throw error;
      this.#fail(slot, `${operation}: ${error.code}`);
    }
    return null;
  }

  #fail({ layer, keyType }: Slot, what: string): void {
    this.#countsOf(layer).failures += 1;
    if (this.#failures.length < failuresKept) this.#failures.push(`${layer}/${keyType}: ${what}`);
  }

  #countsOf(layer: number): ProbeCounts {
    const counts = this.#layers.get(layer);
    if (counts === undefined) throw new Error(`the probe does not know layer ${layer}`);
    return counts;
  }
}

const uses: Readonly<Record<string, Use>> = {
  signature: {
    make: 'sign',
    takeBack: 'verify',
    inputOf: () => ({ message: randomBytes(64) }),
    artefactOf: ({ message }, { signature }) => ({
      input: { message: present(message), signature: present(signature) },
    }),
  },
  mac: {
    make: 'mac',
    takeBack: 'verify-mac',
    inputOf: () => ({ message: randomBytes(64) }),
    artefactOf: ({ message }, { tag }) => ({
      input: { message: present(message), tag: present(tag) },
    }),
  },
  aead: {
    make: 'encrypt',
    takeBack: 'decrypt',
    inputOf: () => ({ plaintext: randomBytes(64), aad: randomBytes(8) }),
    artefactOf: ({ plaintext, aad }, { ciphertext }) => ({
      input: { ciphertext: present(ciphertext), aad: present(aad) },
      expected: present(plaintext),
    }),
  },
  kem: encapsulation(),
  'hybrid-kem': encapsulation(),
};

function encapsulation(): Use {
  return {
    make: 'encapsulate',
    takeBack: 'decapsulate',
    inputOf: () => ({}),
    artefactOf: (_given, { ciphertext, sharedSecret }) => ({
      input: { ciphertext: present(ciphertext) },
      expected: present(sharedSecret),
    }),
  };
}

function present(bytes: Uint8Array | undefined): Uint8Array {
  if (bytes === undefined) throw new Error('a key service left out what it made');
  return bytes;
}

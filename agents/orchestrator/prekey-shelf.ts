/**
 * The members' prekeys as they published them last, and which of them an announcement used up. An agent's
 * last publication holds all that may still be used, so older ones are not kept.
 */

import type { EpochCapsule, PrekeysPublished } from '#schemas/epoch.ts';
import type { Disclosure } from '#schemas/frame.ts';
import type { ReceivedEvent } from '#shared/runtime/exchange.ts';

export interface ShownPrekey {
  readonly agentId: string;
  readonly prekeyId: string;
  readonly publicKey: Uint8Array;
  /** The event that shows it: the signer checks it. */
  readonly evidence: Disclosure;
}

interface Published {
  readonly sequence: number;
  /** By its publisher's clock. */
  readonly timeMs: number;
  readonly disclosure: Disclosure;
  readonly prekeys: PrekeysPublished['prekeys'];
}

const usedMax = 16_384;

export class PrekeyShelf {
  readonly #published = new Map<string, Published>();
  readonly #used = new Set<string>();

  /** What comes in the stream before the one that is known counts where the stream began anew. */
  keep({ sender, header, sequence, disclosure, body }: ReceivedEvent<'prekeys-published'>): void {
    const { timeMs } = header;
    const known = this.#published.get(sender.agentId);
    if (known !== undefined && known.sequence > sequence && known.timeMs >= timeMs) return;
    this.#published.set(sender.agentId, { sequence, timeMs, disclosure, prekeys: body.prekeys });
  }

  /** The signer takes one of them for none: what their owners publish from now on counts. */
  forget(shown: readonly ShownPrekey[]): void {
    for (const { agentId } of shown) this.#published.delete(agentId);
  }

  use(capsules: readonly EpochCapsule[]): void {
    for (const { prekeyId } of capsules) {
      this.#used.add(prekeyId);
      const [oldest] = this.#used;
      if (this.#used.size > usedMax && oldest !== undefined) this.#used.delete(oldest);
    }
  }

  /** The prekey of an agent for a channel that nothing used yet. */
  find(agentId: string, channel: string): ShownPrekey | undefined {
    const published = this.#published.get(agentId);
    const found = published?.prekeys.find((each) => each.channel === channel);
    if (published === undefined || found === undefined || this.#used.has(found.prekeyId)) {
      return undefined;
    }
    const { prekeyId, publicKey } = found;
    return { agentId, prekeyId, publicKey, evidence: published.disclosure };
  }
}

/**
 * What the logs of epochs rest on, as the audit judges it: an announcement is the signer's and about its
 * channel and epoch, and who is said to have accepted an epoch before it came into use did so, by an
 * earlier leaf. A stolen orchestrator cannot put an epoch into use and name acceptances that there are
 * not (invariant 6).
 */

import type { SignedDocument } from '#schemas/document.ts';
import type { EpochAccepted, EpochEntry } from '#schemas/epoch.ts';
import { activationFault } from './epoch.ts';

export type EpochCode =
  /** The announcement is not signed by the orchestration role, or of another channel or epoch. */
  | 'EPOCH_DOCUMENT_INVALID'
  /** No announcement of the epoch that is not over is an accepted leaf before the entry. */
  | 'EPOCH_NOT_ANNOUNCED'
  /** A hash that is no acceptance of this epoch by a member, or members that are not accounted for. */
  | 'ACCEPTANCES_DIFFER';

export interface EpochMisfit {
  readonly code: EpochCode;
  readonly reason: string;
}

interface Known {
  /** Members of each announcement, by its digest. */
  readonly announced: Map<string, readonly string[]>;
  /** Who accepted which announcement, by the hash of the event. */
  readonly accepted: Map<string, { readonly agentId: string; readonly digest: string }>;
  wasUsed: boolean;
}

interface Documents {
  readonly isSigned: (document: SignedDocument<{ kind: string }>) => boolean;
  readonly digestOf: (document: SignedDocument<{ kind: string }>) => string;
}

/** Epochs that are not over, by the leaves so far. */
export class AuditedEpochs {
  readonly #documents: Documents;
  readonly #channels = new Map<string, Map<number, Known>>();

  constructor(documents: Documents) {
    this.#documents = documents;
  }

  /** Why an entry does not hold, or undefined: then it is taken in. */
  entry({ channel, epoch, event }: EpochEntry): EpochMisfit | undefined {
    const known = this.#channels.get(channel);
    switch (event.type) {
      case 'epoch-announced':
        return this.#announced({ channel, epoch }, event);
      case 'epoch-activated':
        return activationMisfit(known?.get(epoch), event);
      case 'epoch-abandoned':
        if (known?.get(epoch)?.wasUsed === false) known.delete(epoch);
        return undefined;
      case 'epoch-closed':
        this.#closed(channel, epoch);
        return undefined;
    }
  }

  /** Forgets what is over: nothing from the epoch in use on, whatever the entry says. */
  #closed(channel: string, epoch: number): void {
    const known = this.#channels.get(channel) ?? new Map<number, Known>();
    const used = [...known].flatMap(([number, { wasUsed }]) => (wasUsed ? [number] : []));
    const inUse = Math.max(0, ...used);
    for (const each of known.keys()) if (each <= epoch && each < inUse) known.delete(each);
  }

  /** A member's word: kept where there is something to accept. */
  acceptance(hash: string, agentId: string, { channel, epoch, announcementDigest }: EpochAccepted) {
    const known = this.#channels.get(channel)?.get(epoch);
    const isMember = known?.announced.get(announcementDigest)?.includes(agentId);
    if (isMember === true) known?.accepted.set(hash, { agentId, digest: announcementDigest });
  }

  #announced(
    { channel, epoch }: Pick<EpochEntry, 'channel' | 'epoch'>,
    { announcement }: Extract<EpochEntry['event'], { type: 'epoch-announced' }>,
  ): EpochMisfit | undefined {
    const { body } = announcement;
    const isAtHome = body.channel === channel && body.epoch === epoch;
    if (!isAtHome || !this.#documents.isSigned(announcement)) {
      return { code: 'EPOCH_DOCUMENT_INVALID', reason: 'the signer announced no such epoch' };
    }
    const epochs = this.#channels.get(channel) ?? new Map<number, Known>();
    const known = epochs.get(epoch) ?? {
      announced: new Map(),
      accepted: new Map(),
      wasUsed: false,
    };
    const members = body.members.map(({ agent_id: agentId }) => agentId);
    known.announced.set(this.#documents.digestOf(announcement), members);
    this.#channels.set(channel, epochs.set(epoch, known));
    return undefined;
  }
}

function activationMisfit(
  known: Known | undefined,
  { accepted, absent }: Extract<EpochEntry['event'], { type: 'epoch-activated' }>,
): EpochMisfit | undefined {
  if (known === undefined) {
    return { code: 'EPOCH_NOT_ANNOUNCED', reason: 'nothing is known of the epoch' };
  }
  const said = accepted.map((hash) => known.accepted.get(hash));
  const digests = new Set(said.map((each) => each?.digest));
  const [digest] = digests;
  const members = digest === undefined ? undefined : known.announced.get(digest);
  const who = [...said.map((each) => each?.agentId), ...absent];
  const isWhole =
    members !== undefined &&
    digests.size === 1 &&
    new Set(who).size === who.length &&
    activationFault({ accepted, absent }, members, []) === undefined;
  if (!isWhole) {
    return { code: 'ACCEPTANCES_DIFFER', reason: 'not everyone who is named accepted the epoch' };
  }
  known.wasUsed = true;
  return undefined;
}

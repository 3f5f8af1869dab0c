/**
 * Invariant 12: an event that is unsigned, replayed, stale, tampered with, or from a revoked agent
 * changes nothing. What the world let in is never accepted by an auditor, and its names turn up in no
 * store; and whatever an auditor accepts is sealed by its enrolled sender, who was not revoked at an
 * earlier leaf. (That it cannot stop the mesh either is invariant 13 in the same run.)
 */

import type { Change, Leaf, Observation } from '../observation.ts';
import { BaseChecker, bodyOf, nothing, type Violation } from './check.ts';

export class RefusedInput extends BaseChecker {
  readonly invariant = 12;
  readonly name = 'what is not authentic changes nothing';
  readonly kinds = ['injected', 'leaf', 'step', 'candidate', 'peer', 'reservation'] as const;
  /** Hash → why it must be refused. */
  readonly #wrong = new Map<string, string>();
  readonly #marks = new Map<string, string>();
  /** `<auditor> <agent>` → leaf of its revocation. */
  readonly #revokedAt = new Map<string, number>();
  readonly #seen = new Set<string>();

  override afterEvent(observation: Observation, change: Change): readonly Violation[] {
    switch (change.kind) {
      case 'injected':
        // A replayed event is the original's copy: only a second effect of it would be wrong.
        if (change.why !== 'replayed') this.#wrong.set(change.hash, change.why);
        for (const mark of change.marks) this.#marks.set(mark, change.why);
        return nothing;
      case 'leaf':
        return this.#judged(observation, change.agentId, change.leaf);
      case 'step':
        return this.#bears(observation, change.agentId, [
          change.after?.task.commandId,
          change.after?.task.sagaId,
          change.after?.task.planDigest,
        ]);
      case 'candidate':
        return this.#bears(observation, change.agentId, [
          change.after?.sagaId,
          change.after?.keyId,
        ]);
      case 'peer':
        return this.#bears(observation, change.agentId, [change.after?.keyId]);
      case 'reservation':
        return this.#bears(observation, change.agentId, [change.after]);
      default:
        return nothing;
    }
  }

  #judged(observation: Observation, agentId: string, leaf: Leaf): readonly Violation[] {
    const { hash, verdict, leafIndex } = leaf;
    this.looked += 1;
    const message = observation.messageOf(hash);
    const found: Violation[] = [];
    const about = [hash];
    if (message !== undefined && !message.authentic) {
      const what = `leaf ${leafIndex} (${verdict}) was not sealed by ${message.sender}`;
      found.push(this.violation(observation, { agentId, what, about }));
    }
    if (verdict === 'refused' || message === undefined) return found;
    const why = this.#wrong.get(hash);
    if (why !== undefined) {
      const what = `a ${message.type} that is ${why} was accepted`;
      found.push(this.violation(observation, { agentId, what, about }));
    }
    const revokedAt = this.#revokedAt.get(`${agentId} ${message.sender}`);
    if (revokedAt !== undefined && revokedAt < leafIndex) {
      const what = `leaf ${leafIndex} by ${message.sender}, revoked at leaf ${revokedAt}, was accepted`;
      found.push(this.violation(observation, { agentId, what, about }));
    }
    const entry = bodyOf(message, 'saga-entry');
    for (const consumed of entry?.consumed ?? []) {
      const wrong = this.#wrong.get(consumed);
      if (wrong === undefined) continue;
      const what = `an accepted entry rests on an event that is ${wrong}`;
      found.push(this.violation(observation, { agentId, what, about: [hash, consumed] }));
    }
    if (message.type === 'document-offered') this.#noteRevocation(observation, agentId, leaf);
    return found;
  }

  #noteRevocation(observation: Observation, agentId: string, { hash, leafIndex }: Leaf): void {
    const document = bodyOf(observation.messageOf(hash), 'document-offered')?.document;
    if (document === undefined) return;
    const { body } = JSON.parse(new TextDecoder().decode(document)) as {
      readonly body: { readonly kind: string; readonly agent_id: string };
    };
    if (body.kind === 'revocation') this.#revokedAt.set(`${agentId} ${body.agent_id}`, leafIndex);
  }

  #bears(
    observation: Observation,
    agentId: string,
    names: readonly (string | undefined)[],
  ): readonly Violation[] {
    if (this.#marks.size === 0) return nothing;
    const found: Violation[] = [];
    for (const name of names) {
      if (name === undefined) continue;
      this.looked += 1;
      const why = this.#marks.get(name);
      if (why === undefined || this.#seen.has(`${agentId} ${name}`)) continue;
      this.#seen.add(`${agentId} ${name}`);
      const what = `a store holds ${name}, which only an event bears that is ${why}`;
      found.push(this.violation(observation, { agentId, what, about: [name] }));
    }
    return found;
  }
}

/**
 * Invariant 11: no secret ever appears on the bus, in a log, an error or the audit. Every secret that
 * the world drew is looked for in what was said (opened), in log lines and errors, and in the bytes of
 * auditors' logs; of a long run a part, the same for the same run. And a secret that is over is gone:
 * nobody keeps that of a closed epoch.
 */

import type { Change, Observation } from '../observation.ts';
import { BaseChecker, nothing, type Violation } from './check.ts';
import { Needles } from './needles.ts';

/** Bytes that are looked through at rest; about one nanosecond each. */
const bytesMax = 3_000_000;
/** Of one frame, or one stretch of an auditor's log. */
const pieceBytes = 4_096;
const linesKeptMax = 20_000;

export class NoSecrets extends BaseChecker {
  readonly invariant = 11;
  readonly name = 'no secret where it does not belong';
  readonly kinds = ['secret', 'line'] as const;
  readonly #needles = new Needles();
  readonly #lines: { readonly agentId: string; readonly text: string }[] = [];
  #read = 0;

  override afterEvent(_observation: Observation, change: Change): readonly Violation[] {
    if (change.kind === 'secret') this.#needles.add(change.name, change.bytes);
    if (change.kind === 'line' && this.#lines.length < linesKeptMax) {
      this.#lines.push({ agentId: change.agentId, text: change.text });
    }
    return nothing;
  }

  override atRest(observation: Observation): readonly Violation[] {
    this.#read = 0;
    const found = this.#closedKept(observation);
    if (this.#needles.size === 0) return found;
    for (const { agentId, text } of this.#lines) {
      found.push(...this.#look(observation, Buffer.from(text), { agentId, where: 'a log line' }));
    }
    found.push(...this.#inMessages(observation));
    for (const { agentId, kind } of observation.agents.values()) {
      if (kind !== 'auditor') continue;
      found.push(...this.#inLog(observation, agentId));
    }
    return found;
  }

  #inMessages(observation: Observation): Violation[] {
    const { messages } = observation;
    const found: Violation[] = [];
    // Every message by turns: if not all can be read, those that are come from the whole run.
    const stride = Math.max(1, Math.ceil((messages.length * 2 * pieceBytes) / bytesMax));
    for (let at = 0; at < messages.length; at += stride) {
      const message = messages[at];
      if (message === undefined) continue;
      const { sender: agentId, hash, data } = message;
      const about = [hash];
      const where = `a ${message.type || 'message'} on the bus`;
      const frame = data.subarray(0, pieceBytes);
      found.push(...this.#look(observation, frame, { agentId, where, about }));
      const { plaintext } = message;
      if (plaintext === undefined) continue;
      const said = plaintext.subarray(0, 4 * pieceBytes);
      found.push(...this.#look(observation, said, { agentId, where: `${where}, opened`, about }));
    }
    return found;
  }

  #inLog(observation: Observation, agentId: string): Violation[] {
    const bytes = observation.auditBytes(agentId);
    const found: Violation[] = [];
    const stride = Math.max(pieceBytes, Math.ceil((bytes.length * pieceBytes * 4) / bytesMax));
    for (let at = 0; at < bytes.length; at += stride) {
      const piece = bytes.subarray(at, at + pieceBytes);
      found.push(...this.#look(observation, piece, { agentId, where: 'the audit log' }));
    }
    return found;
  }

  #look(
    observation: Observation,
    bytes: Uint8Array,
    { agentId, where, about = [] }: { agentId: string; where: string; about?: string[] },
  ): readonly Violation[] {
    if (this.#read > bytesMax) return nothing;
    this.#read += bytes.length;
    this.looked += 1;
    return this.#needles
      .findIn(bytes)
      .map((name) =>
        this.violation(observation, { agentId, what: `${name} stands in ${where}`, about }),
      );
  }

  #closedKept(observation: Observation): Violation[] {
    const closed = new Set(
      [...observation.agents.values()].flatMap(({ closedEpochs }) => [...closedEpochs]),
    );
    const found: Violation[] = [];
    for (const { agentId, vault } of observation.agents.values()) {
      for (const name of vault) {
        this.looked += 1;
        if (!closed.has(name)) continue;
        const what = `keeps the secret of a closed epoch: ${name}`;
        found.push(this.violation(observation, { agentId, what }));
      }
    }
    return found;
  }
}

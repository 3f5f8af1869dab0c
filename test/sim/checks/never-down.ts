/**
 * Invariant 6: root, registry and policy versions and epochs never go down, also after a restore.
 * Versions are taken from each agent's own file; epochs from what agents seal under, from the epochs'
 * logs and from what the signer remembers.
 */

import type { Change, Observation, ObservedMessage } from '../observation.ts';
import { BaseChecker, bodyOf, nothing, type Violation } from './check.ts';

const kindsOfDocuments = ['root', 'registry', 'policy'] as const;

interface Sealed {
  readonly counter: number;
  readonly epoch: number;
}

export class NeverDown extends BaseChecker {
  readonly invariant = 6;
  readonly name = 'versions and epochs never go down';
  readonly kinds = ['trust', 'epoch', 'mark', 'message', 'injected'] as const;
  readonly #versions = new Map<string, number>();
  readonly #epochs = new Map<string, number>();
  readonly #sealed = new Map<string, Sealed>();
  /** Channel → commitment of the epoch that was activated last. */
  readonly #active = new Map<string, { readonly epoch: number; readonly commitment: string }>();
  readonly #announced = new Map<string, string>();
  readonly #injected = new Set<string>();
  /** Files of agents are observed at all: those of a recorded log are not. */
  #hasSeenFiles = false;

  override afterEvent(observation: Observation, change: Change): readonly Violation[] {
    switch (change.kind) {
      case 'trust':
        return this.#adopted(observation, change);
      case 'epoch':
        return this.#rose(observation, change, 'seals under');
      case 'mark':
        return this.#rose(observation, change, 'remembers');
      case 'message':
        return this.#injected.has(change.message.hash)
          ? nothing
          : [
              ...this.#said(observation, change.message),
              ...this.#namedVersions(observation, change.message),
            ];
      case 'injected':
        this.#injected.add(change.hash);
        return nothing;
      default:
        return nothing;
    }
  }

  #adopted(
    observation: Observation,
    { agentId, after }: Extract<Change, { kind: 'trust' }>,
  ): readonly Violation[] {
    this.#hasSeenFiles = true;
    return kindsOfDocuments.flatMap((kind) => {
      this.looked += 1;
      const highest = this.#versions.get(`${agentId} ${kind}`) ?? 0;
      this.#versions.set(`${agentId} ${kind}`, Math.max(highest, after[kind]));
      if (after[kind] >= highest) return [];
      const what = `the ${kind} went from version ${highest} to ${after[kind]}`;
      return [this.violation(observation, { agentId, what })];
    });
  }

  #rose(
    observation: Observation,
    { kind, agentId, channel, after }: Extract<Change, { kind: 'epoch' | 'mark' }>,
    does: string,
  ): readonly Violation[] {
    this.looked += 1;
    const name = `${kind} ${agentId} ${channel}`;
    const highest = this.#epochs.get(name) ?? 0;
    this.#epochs.set(name, Math.max(highest, after));
    if (after >= highest) return nothing;
    const what = `${does} epoch ${after} of ${channel}, after ${highest}`;
    return [this.violation(observation, { agentId, what })];
  }

  #said(observation: Observation, message: ObservedMessage): readonly Violation[] {
    const { header } = message;
    if (header === undefined || !message.authentic) return nothing;
    const { sender, incarnation, audience, lane, channel, counter, epoch } = header;
    if (channel === 'notices') return this.#noticed(observation, message);
    this.looked += 1;
    const chain = [sender, Buffer.from(incarnation).toString('hex'), audience, lane, channel];
    const name = chain.join(' ');
    const last = this.#sealed.get(name);
    if (last === undefined || counter > last.counter) this.#sealed.set(name, { counter, epoch });
    const isDown =
      last !== undefined && (counter > last.counter ? epoch < last.epoch : epoch > last.epoch);
    if (!isDown) return nothing;
    const what = `sealed under epoch ${epoch} of ${channel} at ${counter}, ${last.epoch} at ${last.counter}`;
    return [this.violation(observation, { agentId: sender, what, about: [message.hash] })];
  }

  /** What an agent names as in force, it had written down before: else a crash would take it back. */
  #namedVersions(observation: Observation, message: ObservedMessage): readonly Violation[] {
    const { header, authentic, sender } = message;
    const agent = observation.agents.get(sender);
    if (header === undefined || !authentic || agent === undefined) return nothing;
    if (agent.kind === 'operator' || !this.#hasSeenFiles) return nothing;
    const { policy, registry } = agent.trust ?? { policy: 1, registry: 1 };
    this.looked += 1;
    if (header.policyVersion <= policy && header.registryVersion <= registry) return nothing;
    const named = `policy ${header.policyVersion}, registry ${header.registryVersion}`;
    const what = `speaks under ${named}, and has ${policy} and ${registry} on its disk`;
    return [this.violation(observation, { agentId: sender, what, about: [message.hash] })];
  }

  #noticed(observation: Observation, message: ObservedMessage): readonly Violation[] {
    const entry = bodyOf(message, 'epoch-entry');
    if (entry === undefined) return nothing;
    const { channel, epoch, event } = entry;
    const name = `${channel} ${epoch}`;
    const active = this.#active.get(channel);
    const about = [message.hash];
    const agentId = message.sender;
    if (event.type === 'epoch-announced') {
      this.looked += 1;
      this.#announced.set(name, event.announcement.body.secret_commitment);
      if (active === undefined || epoch >= active.epoch) return nothing;
      const what = `epoch ${epoch} of ${channel} is announced after ${active.epoch} was in use`;
      return [this.violation(observation, { agentId, what, about })];
    }
    if (event.type !== 'epoch-activated') return nothing;
    this.looked += 1;
    const commitment = this.#announced.get(name) ?? '';
    if (active !== undefined && epoch < active.epoch) {
      const what = `epoch ${epoch} of ${channel} came into use after ${active.epoch}`;
      return [this.violation(observation, { agentId, what, about })];
    }
    this.#active.set(channel, { epoch, commitment });
    if (active?.epoch !== epoch || active.commitment === commitment) return nothing;
    const what = `epoch ${epoch} of ${channel} came into use with two secrets`;
    return [this.violation(observation, { agentId, what, about })];
  }
}

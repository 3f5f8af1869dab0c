/**
 * The mesh's own channels and who belongs to which. Membership decides who is given which secret, so a
 * layer agent never holds the key of another layer's channel. The signer holds all of them, because its
 * vault is the one place where they are kept at rest.
 */

import { layerNumbers } from '#schemas/layers.ts';
import type { AgentKind } from '#schemas/trust.ts';

/** Every channel that has epochs. */
export const channels: readonly string[] = [
  'saga',
  'mesh',
  'operators',
  'telemetry',
  ...layerNumbers.map((layer) => `layer-${layer}`),
];

/** Whether anything is sealed for the channel that an auditor keeps: bulk telemetry is not. */
export function isAudited(channel: string): boolean {
  return channel !== 'telemetry';
}

/** Signed, ordered and audited like every channel, but sealed under a key that anyone can derive. */
export const noticesChannel = 'notices';

/** The auditor's archive key travels and is kept like the secret of a channel; it has no epochs. */
export const archiveChannel = 'archive';
export const archiveEpoch = 1;

/** The channels whose secrets an agent is given. */
export function channelsOf(member: {
  readonly kind: AgentKind;
  readonly layer?: number;
}): readonly string[] {
  switch (member.kind) {
    case 'orchestrator':
    case 'auditor':
    case 'signer':
      return channels;
    case 'operator':
      return ['mesh', 'operators'];
    case 'layer':
      return ['mesh', 'telemetry', `layer-${member.layer}`];
  }
}

/** Whether the enrolled agent may hold the secret of a channel at this time. */
export function isEntitledTo(
  channel: string,
  agent: {
    readonly kind: AgentKind;
    readonly layer?: number;
    readonly expiresAtMs: number;
    readonly revokedAtMs?: number;
  },
  nowMs: number,
): boolean {
  const isInForce = nowMs <= agent.expiresAtMs && nowMs < (agent.revokedAtMs ?? Infinity);
  return isInForce && channelsOf(agent).includes(channel);
}

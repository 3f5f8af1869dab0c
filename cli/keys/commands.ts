/** `gyre keys …`: which key is primary in every slot, and which older ones are still accepted. */
import { checks, type KeysList } from '../answers.ts';
import type { CommandSpec } from '../command.ts';
import { inSession } from '../context.ts';
import { exitCodes } from '../fault.ts';
import { fingerprint, table, type Style } from '../style.ts';

const list: CommandSpec = {
  name: 'list',
  summary: 'list the key slots of all layers with their primary keys',
  examples: ['gyre keys list --json'],
  run: async ({ output, ...context }) => {
    const keys = await inSession({ output, ...context }, (session) =>
      session.askOrchestrator({ ask: 'keys-list' }, checks.keysList),
    );
    const slots = keys.layers
      .flatMap(({ agentId, slots: held }) => held.map((slot) => ({ agentId, ...slot })))
      .toSorted(bySlot);
    const silent = keys.layers.filter(({ ready }) => !ready);
    for (const { agentId, reason } of silent) {
      output.progress(`${agentId} is not ready: ${reason ?? 'no reason given'}`);
    }
    output.result({ keys: slots, layers: keys.layers.map(layerOf) }, (style) =>
      renderKeys(keys, style),
    );
    return silent.length === 0 ? exitCodes.done : exitCodes.failed;
  },
};

export const keysCommands: readonly CommandSpec[] = [list];

export function renderKeys({ layers }: KeysList, style: Style): string {
  const head = ['slot', 'algorithm', 'version', 'key', 'active since', 'accepted', ''].map((name) =>
    style.dim(name),
  );
  const rows = layers
    .flatMap(({ slots }) => slots)
    .toSorted(bySlot)
    .map((slot) => [
      slot.slot,
      slot.algorithm,
      `v${slot.version}`,
      fingerprint(slot.keyId),
      new Date(slot.activatedAtMs).toISOString(),
      slot.accepted.map((version) => `v${version}`).join(' '),
      slot.frozen ? style.failed('frozen') : reservation(slot.reservedBy, style),
    ]);
  return table([head, ...rows]);
}

function bySlot(left: { readonly slot: string }, right: { readonly slot: string }): number {
  return left.slot < right.slot ? -1 : 1;
}

function reservation(planId: string | undefined, style: Style): string {
  return planId === undefined ? '' : style.busy(`reserved by ${planId}`);
}

function layerOf({ agentId, ready, reason }: KeysList['layers'][number]) {
  return { agentId, ready, ...(reason === undefined ? {} : { reason }) };
}

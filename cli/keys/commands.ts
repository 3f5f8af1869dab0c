/**
 * `gyre keys …`: which key is primary in every slot, how old the policy lets it grow, which older ones
 * are still accepted, and what holds slots and older keys.
 */
import { keyAges, type KeyAge } from '#shared/core/key-ages.ts';
import { checks, type KeysList } from '../answers.ts';
import type { CommandSpec } from '../command.ts';
import { inSession } from '../context.ts';
import { exitCodes } from '../fault.ts';
import { clockTime, fingerprint, table, usesText, type Style } from '../style.ts';

const list: CommandSpec = {
  name: 'list',
  summary: 'list the key slots of all layers with their primary keys and the ages of these',
  details:
    'A key is due in the last tenth of the time that max_key_age_days of the policy gives it, and\n' +
    'overdue after it. Nothing turns by itself: plan a rotation of the layer. Below the list stands\n' +
    'what is held: a slot by the rotation that turns it, until that is decided; after it an older key\n' +
    'until the overlap is over, and then as long as somebody uses it.',
  examples: ['gyre keys list --json'],
  run: async ({ output, ...context }) => {
    const { keys, policy } = await inSession({ output, ...context }, async (session) => {
      const answer = await session.askOrchestrator({ ask: 'keys-list' }, checks.keysList);
      return { keys: answer, policy: session.trust.policy };
    });
    const held = keys.layers.flatMap(({ slots: ofLayer }) => ofLayer);
    const ages = new Map(keyAges(held, policy, Date.now()).map((age) => [age.slot, age]));
    const slots = keys.layers
      .flatMap(({ agentId, slots: ofLayer }) =>
        ofLayer.map((slot) => ({
          agentId,
          ...shown(slot, keys.holds),
          ...ageOf(ages.get(slot.slot)),
        })),
      )
      .toSorted(bySlot);
    const silent = keys.layers.filter(({ ready }) => !ready);
    for (const { agentId, reason } of silent) {
      output.progress(`${agentId} is not ready: ${reason ?? 'no reason given'}`);
    }
    output.result({ keys: slots, layers: keys.layers.map(layerOf) }, (style) =>
      renderKeys(slots, style),
    );
    return silent.length === 0 ? exitCodes.done : exitCodes.failed;
  },
};

export const keysCommands: readonly CommandSpec[] = [list];

type SlotShown = KeysList['layers'][number]['slots'][number];
type Hold = KeysList['holds'][number];
type OldKey = Extract<Hold, { kind: 'key' }>;
export type ListedKey = SlotShown &
  ReturnType<typeof ageOf> & { readonly held?: readonly Omit<OldKey, 'kind' | 'slot'>[] };

/**
 * A slot with what holds it. An agent keeps its own note of a rotation until the old key is gone; whose
 * the slot is, the mesh's ledger says.
 */
export function shown(slot: SlotShown, holds: readonly Hold[]) {
  const { reservedBy: _, ...status } = slot;
  const ofSlot = holds.filter((hold) => hold.slot === slot.slot);
  const holder = ofSlot.find(({ kind }) => kind === 'slot');
  const held = ofSlot.flatMap((hold) => {
    if (hold.kind === 'slot') return [];
    const { kind: _kind, slot: _slot, ...old } = hold;
    return [old];
  });
  return {
    ...status,
    ...(holder === undefined ? {} : { reservedBy: holder.planId }),
    ...(held.length === 0 ? {} : { held }),
  };
}

export function renderKeys(slots: readonly ListedKey[], style: Style): string {
  const names = ['slot', 'algorithm', 'accepted', 'key', 'since', 'over age'];
  const rows = slots.map((slot) => [
    slot.slot,
    slot.algorithm,
    // The primary one first.
    [slot.version, ...slot.accepted.filter((each) => each !== slot.version)]
      .map((version) => `v${version}`)
      .join(' '),
    fingerprint(slot.keyId),
    dayOf(slot.activatedAtMs),
    slot.age === undefined ? '' : overAge(slot.age, style),
  ]);
  const marked = slots.flatMap((slot) => {
    const marks = [
      ...(slot.frozen ? [style.failed('frozen')] : []),
      ...(slot.reservedBy === undefined ? [] : [style.busy(`reserved by ${slot.reservedBy}`)]),
      ...(slot.held ?? []).map((old) => heldText(old)),
    ];
    return marks.map((mark) => `${slot.slot}: ${mark}`);
  });
  return [table([names.map((name) => style.dim(name)), ...rows]), ...marked].join('\n');
}

function dayOf(ms: number): string {
  return new Date(ms).toISOString().slice(0, 10);
}

function ageOf(age: KeyAge | undefined) {
  if (age === undefined) return {};
  const { rule, overAgeAtMs, state } = age;
  return { age: { rule, overAgeAtMs, state } };
}

function overAge({ overAgeAtMs, state }: Omit<KeyAge, 'slot'>, style: Style): string {
  const since = dayOf(overAgeAtMs);
  switch (state) {
    case 'fresh':
      return since;
    case 'due':
      return style.warning(`${since} due`);
    case 'overdue':
      return style.failed(`${since} overdue`);
  }
}

function bySlot(left: { readonly slot: string }, right: { readonly slot: string }): number {
  return left.slot < right.slot ? -1 : 1;
}

/** Why an older key is still there. */
function heldText({ version, planId, untilMs, heldBy }: Omit<OldKey, 'kind' | 'slot'>): string {
  const users = heldBy.map(({ agentId, uses }) => `${usesText(uses)} at ${agentId}`);
  if (untilMs !== undefined) {
    return `v${version} stays valid until ${clockTime(untilMs)}, the overlap of ${planId}`;
  }
  if (users.length === 0) return `v${version} is about to be destroyed by ${planId}`;
  return `v${version} stays for ${users.join(', ')}; ${planId} destroys it after that`;
}

function layerOf({ agentId, ready, reason }: KeysList['layers'][number]) {
  return { agentId, ready, ...(reason === undefined ? {} : { reason }) };
}

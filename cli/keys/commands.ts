/**
 * `gyre keys …`: which key is primary in every slot, how old the policy lets it grow, and which older
 * ones are still accepted.
 */
import { keyAges, type KeyAge } from '#shared/core/key-ages.ts';
import { checks, type KeysList } from '../answers.ts';
import type { CommandSpec } from '../command.ts';
import { inSession } from '../context.ts';
import { exitCodes } from '../fault.ts';
import { fingerprint, table, type Style } from '../style.ts';

const list: CommandSpec = {
  name: 'list',
  summary: 'list the key slots of all layers with their primary keys and the ages of these',
  details:
    'A key is due in the last tenth of the time that max_key_age_days of the policy gives it, and\n' +
    'overdue after it. Nothing turns by itself: plan a rotation of the layer.',
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
        ofLayer.map((slot) => ({ agentId, ...slot, ...ageOf(ages.get(slot.slot)) })),
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

type ListedKey = KeysList['layers'][number]['slots'][number] & ReturnType<typeof ageOf>;

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
    const mark = slot.frozen ? style.failed('frozen') : reservation(slot.reservedBy, style);
    return mark === '' ? [] : [`${slot.slot}: ${mark}`];
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

function reservation(planId: string | undefined, style: Style): string {
  return planId === undefined ? '' : style.busy(`reserved by ${planId}`);
}

function layerOf({ agentId, ready, reason }: KeysList['layers'][number]) {
  return { agentId, ready, ...(reason === undefined ? {} : { reason }) };
}

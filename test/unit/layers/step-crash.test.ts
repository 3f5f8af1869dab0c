/**
 * The power goes at every point of every step: before and after the intent, before and after the
 * effect, inside the transaction of the outcome, and after it. The agent comes back on the same disk,
 * the bus delivers the message again, and the step has happened once. The cryptography is the simulator's.
 */
import { beforeAll, describe, expect, test } from 'vitest';
import type { LayerAdapter } from '#agents/layers/adapter.ts';
import type { StepOperation } from '#schemas/saga.ts';
import type { World } from '../../support/world.ts';
import { Actor, standingIn, type Between } from './actor.ts';
import { Director, cheapStageWorld } from './director.ts';

class PowerCut extends Error {}

const points = [
  'before the intent',
  'after the intent',
  'before the effect',
  'after the effect',
  'before the outcome',
  'inside the outcome',
  'after the outcome',
] as const;
type Point = (typeof points)[number];

/** Which of the adapter's methods is the effect of a step at the owner. */
const effectOf: Partial<Record<StepOperation, keyof LayerAdapter>> = {
  prepare: 'prepare',
  activate: 'activate',
  verify: 'verify',
  measure: 'samples',
  release: 'usesLately',
  retire: 'retire',
  rollback: 'rollback',
  discard: 'retire',
  freeze: 'freeze',
};

/** What leads to each step, and what is there once it has happened (slot 1/session-token). */
const ways: readonly {
  readonly operation: StepOperation;
  readonly before: readonly (readonly [StepOperation, 'owner' | 'verifier'])[];
  readonly actor: 'owner' | 'verifier';
  readonly states: readonly string[];
}[] = [
  { operation: 'prepare', before: [], actor: 'owner', states: ['2:prepared', '1:primary'] },
  {
    operation: 'accept',
    before: [['prepare', 'owner']],
    actor: 'verifier',
    states: ['2:prepared', '1:primary'],
  },
  {
    operation: 'activate',
    before: [
      ['prepare', 'owner'],
      ['accept', 'verifier'],
    ],
    actor: 'owner',
    states: ['2:primary', '1:accepted'],
  },
  {
    operation: 'verify',
    before: [
      ['prepare', 'owner'],
      ['accept', 'verifier'],
      ['activate', 'owner'],
    ],
    actor: 'verifier',
    states: ['2:primary', '1:accepted'],
  },
  {
    operation: 'release',
    before: [
      ['prepare', 'owner'],
      ['accept', 'verifier'],
      ['activate', 'owner'],
    ],
    actor: 'owner',
    states: ['2:primary', '1:accepted'],
  },
  {
    operation: 'retire',
    before: [
      ['prepare', 'owner'],
      ['accept', 'verifier'],
      ['activate', 'owner'],
      ['release', 'owner'],
      ['release', 'verifier'],
    ],
    actor: 'owner',
    states: ['2:primary'],
  },
  {
    operation: 'rollback',
    before: [
      ['prepare', 'owner'],
      ['accept', 'verifier'],
      ['activate', 'owner'],
    ],
    actor: 'owner',
    states: ['2:withdrawn', '1:primary'],
  },
  {
    operation: 'discard',
    before: [
      ['prepare', 'owner'],
      ['accept', 'verifier'],
      ['activate', 'owner'],
      ['rollback', 'owner'],
    ],
    actor: 'owner',
    states: ['1:primary'],
  },
  {
    operation: 'freeze',
    before: [['prepare', 'owner']],
    actor: 'owner',
    states: ['2:prepared', '1:primary'],
  },
];

const token = '1/session-token';
let world: World;
let rotations = 0;

beforeAll(async () => {
  world = await cheapStageWorld();
});

describe.each(ways)('$operation at the $actor', ({ operation, before, actor: role, states }) => {
  test.each(points)('power cut %s', async (point) => {
    const owner = new Actor(world, 'identity-a', 1);
    const verifier = new Actor(world, 'authorization-a', 2);
    const actor = role === 'owner' ? owner : verifier;
    try {
      rotations += 1;
      const planId = `crash-${rotations}`;
      const director = await Director.plan(world, [owner, verifier], { planId, layers: [1] });
      for (const [step, by] of before) {
        await director.succeed(by === 'owner' ? owner : verifier, step);
      }
      actor.begin(cutAt(point, role === 'owner' ? effectOf[operation] : undefined));
      const sent = director.message(actor, await director.body(actor, operation));
      const reached = point.includes('the effect') && role === 'verifier' ? 'resolves' : 'rejects';
      const handled = actor.agent.handle(sent);
      if (reached === 'rejects') await expect(handled).rejects.toBeInstanceOf(PowerCut);
      else expect(await handled).toBe('ack');
      const early = actor.reports();

      actor.begin();
      await actor.agent.reconcile();
      expect(await actor.agent.handle({ ...sent, deliveryCount: 2 })).toBe('ack');
      const reports = [...early, ...actor.reports()].map(({ body }) => body);
      expect(reports.length).toBeGreaterThan(0);
      for (const report of reports) {
        expect(report).toMatchObject({ status: 'done', commandId: reports[0]?.commandId });
        expect(report.slots).toEqual(reports[0]?.slots);
      }
      expect(await owner.states(token)).toEqual(states);
      expect(actor.store.openTasks()).toEqual([]);
      const [slot] = (await owner.adapter.inspect()).filter((each) => each.slot === token);
      expect(slot?.highestVersion).toBe(2);
    } finally {
      owner.end();
      verifier.end();
    }
  });
});

test('an intent that a later command overtook is not run any more', async () => {
  const owner = new Actor(world, 'identity-a', 1);
  const verifier = new Actor(world, 'authorization-a', 2);
  try {
    const director = await Director.plan(world, [owner, verifier], {
      planId: 'overtaken',
      layers: [1],
    });
    await director.succeed(owner, 'prepare');
    await director.succeed(verifier, 'accept');
    owner.begin(cutAt('before the effect', 'activate'));
    const sent = director.message(owner, await director.body(owner, 'activate'));
    await expect(owner.agent.handle(sent)).rejects.toBeInstanceOf(PowerCut);
    owner.begin();
    await director.succeed(owner, 'rollback');
    await owner.agent.reconcile();
    const [report] = owner.reports();
    expect(report?.body).toMatchObject({ operation: 'activate', status: 'failed' });
    expect(await owner.states(token)).toEqual(['1:primary']);
  } finally {
    owner.end();
    verifier.end();
  }
});

test("the number of a preparation that was overtaken is the next rotation's, and so is its key", async () => {
  const owner = new Actor(world, 'identity-a', 1);
  try {
    const first = await Director.plan(world, [owner], { planId: 'given-up', layers: [1] });
    owner.begin(cutAt('before the effect', 'prepare'));
    const sent = first.message(owner, await first.body(owner, 'prepare'));
    await expect(owner.agent.handle(sent)).rejects.toBeInstanceOf(PowerCut);
    owner.begin();
    await first.succeed(owner, 'rollback');
    await owner.agent.reconcile();
    owner.reports();
    const second = await Director.plan(world, [owner], { planId: 'the-next', layers: [1] });
    await second.succeed(owner, 'prepare');
    expect(await owner.states(token)).toEqual(['2:prepared', '1:primary']);
    await first.succeed(owner, 'discard');
    expect(await owner.states(token)).toEqual(['2:prepared', '1:primary']);
    await second.succeed(owner, 'discard');
    expect(await owner.states(token)).toEqual(['1:primary']);
  } finally {
    owner.end();
  }
});

/** Once only: the process that comes back has its power. */
function cutAt(point: Point, effect: keyof LayerAdapter | undefined): Between {
  const cut = (): never => {
    throw new PowerCut(point);
  };
  return {
    store: (store) =>
      standingIn(store, {
        recordIntent: (intent, atMs) => {
          if (point === 'before the intent') cut();
          store.recordIntent(intent, atMs);
          if (point === 'after the intent') cut();
        },
        recordOutcome: (outcome, atMs, enqueue) => {
          if (point === 'before the outcome') cut();
          store.recordOutcome(outcome, atMs, enqueue);
          if (point === 'after the outcome') cut();
        },
      }),
    enqueue: (enqueue) => (event) => {
      enqueue(event);
      if (point === 'inside the outcome') cut();
    },
    adapter: (adapter) =>
      effect === undefined
        ? adapter
        : standingIn(adapter, {
            [effect]: async (...inputs: unknown[]) => {
              if (point === 'before the effect') cut();
              const real: unknown = Reflect.get(adapter, effect);
              if (typeof real !== 'function') throw new Error(`${effect} is no method`);
              const result: unknown = await Reflect.apply(real, adapter, inputs);
              if (point === 'after the effect') cut();
              return result;
            },
          }),
  };
}

/**
 * What a layer agent refuses, and how: what is not authentic changes nothing and gets no answer; what
 * is authentic but not entitled gets a failed report with a code. Nothing is done in either case.
 */
import { afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { StepCommanded } from '#schemas/steps.ts';
import type { Disclosure } from '#schemas/frame.ts';
import type { World } from '../../support/world.ts';
import { Actor } from './actor.ts';
import { Director, signed, stageWorld } from './director.ts';

const token = '1/session-token';

let world: World;
let owner: Actor;
let verifier: Actor;
let director: Director;
let rotations = 0;

beforeAll(async () => {
  world = await stageWorld();
});

beforeEach(async () => {
  owner = new Actor(world, 'identity-a', 1);
  verifier = new Actor(world, 'authorization-a', 2);
  rotations += 1;
  const planId = `refused-${rotations}`;
  director = await Director.plan(world, [owner, verifier], { planId, layers: [1] });
});

afterEach(() => {
  owner.end();
  verifier.end();
});

describe('not authentic: nothing happens', () => {
  test.each([
    ['another agent’s command', 'AUDIENCE_MISMATCH'],
    ['a command signed with a stolen name', 'SIGNATURE_INVALID'],
    ['a command that is garbage', 'FRAME_MALFORMED'],
    ['the same command as another message', 'EVENT_REPLAYED'],
  ])('%s', async (what, code) => {
    const sent = director.message(owner, await director.body(owner, 'prepare'));
    const refuse = async (): Promise<unknown> => {
      switch (what) {
        case 'another agent’s command':
          return await verifier.agent.handle(sent);
        case 'a command signed with a stolen name': {
          const signingKey = world.keys.get('op-1');
          if (signingKey === undefined) throw new Error('no key');
          const thief = world.principal('orchestrator-a', { signingKey });
          const forged = director.message(owner, await director.body(owner, 'prepare'), thief);
          return await owner.agent.handle(forged);
        }
        case 'the same command as another message':
          await owner.agent.handle(sent);
          owner.reports();
          return await owner.agent.handle({ ...sent, sequence: sent.sequence + 1000 });
        default:
          return await owner.agent.handle({ ...sent, data: sent.data.subarray(1) });
      }
    };
    const disposition = await refuse();
    // The frame of another subject may already be refused for its subject.
    expect(disposition).toEqual({ deadLetter: code });
    expect([...owner.reports(), ...verifier.reports()]).toEqual([]);
  });
});

describe('authentic, but not entitled: a failed report and no effect', () => {
  const cases: readonly {
    readonly what: string;
    readonly code: string;
    readonly change: (body: StepCommanded) => StepCommanded | Promise<StepCommanded>;
  }[] = [
    {
      what: 'without an approval',
      code: 'ORCH-8015',
      change: (body) => ({ ...body, evidence: [] }),
    },
    {
      what: 'approved by the requester only',
      code: 'ORCH-8015',
      change: (body) => ({ ...body, evidence: [director.approve('op-1')] }),
    },
    {
      what: 'with an approval that was tampered with',
      code: 'ORCH-8015',
      change: (body) => ({ ...body, evidence: [flipped(director.approval, 'seal')] }),
    },
    {
      what: 'with an approval of another plan',
      code: 'ORCH-8015',
      change: async (body) => {
        const planId = `other-${rotations}`;
        const other = await Director.plan(world, [owner, verifier], { planId, layers: [1] });
        return { ...body, evidence: [other.approval] };
      },
    },
    {
      what: 'with a receipt that covers an earlier entry',
      code: 'ORCH-8015',
      change: (body) => ({ ...body, receipt: director.receipt(body.sagaIndex - 1, 'preparing') }),
    },
    {
      what: 'with a receipt for another phase',
      code: 'ORCH-8015',
      change: (body) => ({ ...body, receipt: director.receipt(body.sagaIndex, 'approved') }),
    },
    {
      what: 'with a receipt that was tampered with',
      code: 'ORCH-8015',
      change: (body) => ({ ...body, receipt: flipped(body.receipt, 'body') }),
    },
    {
      what: 'with an approval in place of the receipt',
      code: 'ORCH-8015',
      change: (body) => ({ ...body, receipt: director.approval }),
    },
    {
      what: 'without an authorization',
      code: 'ORCH-8015',
      change: (body) => without(body, 'authorization'),
    },
    {
      what: 'with an authorization that the signer did not sign',
      code: 'ORCH-8015',
      change: async (body) => ({
        ...body,
        authorization: await signed(world, (await director.authorization()).body, 'audit'),
      }),
    },
    {
      what: 'with an authorization of another plan',
      code: 'ORCH-8015',
      change: async (body) => ({
        ...body,
        authorization: await director.authorization('9'.repeat(64)),
      }),
    },
    {
      what: 'with a plan that the signer did not sign',
      code: 'ORCH-8015',
      change: async (body) => ({ ...body, plan: await signed(world, director.plan.body, 'op-1') }),
    },
    {
      what: 'with another plan than the digest says',
      code: 'ORCH-8004',
      change: async (body) => ({
        ...body,
        plan: await signed(world, { ...director.plan.body, reason: 'another reason' }),
      }),
    },
    {
      what: 'without any plan',
      code: 'ORCH-8004',
      change: (body) => without(body, 'plan'),
    },
    {
      what: 'for a slot of another layer',
      code: 'ORCH-8015',
      change: (body) => ({ ...body, slots: ['7/healing-signature'] }),
    },
  ];

  test.each(cases)('a preparation $what', async ({ change, code }) => {
    const body = await change(await director.body(owner, 'prepare'));
    expect(await owner.agent.handle(director.message(owner, body))).toBe('ack');
    const reports = owner.reports();
    expect(reports).toHaveLength(1);
    expect(reports[0]?.body).toMatchObject({ status: 'failed', code, commandId: body.commandId });
    expect(await owner.states(token)).toEqual(['1:primary']);
    expect(owner.store.holderOf(token)).toBeUndefined();
    // A refusal does not use the id up: the right command is still carried out.
    await director.succeed(owner, 'prepare', { commandId: body.commandId });
  });

  test('a plan made from a key that is no longer primary', async () => {
    await owner.adapter.prepare(token, 2);
    await owner.adapter.activate(token, 2, new Uint8Array(1));
    const { report } = await director.step(owner, 'prepare');
    expect(report?.body).toMatchObject({ status: 'failed', code: 'ORCH-8004' });
  });

  test('an acceptance of what the owner did not report', async () => {
    const { report } = await director.step(verifier, 'accept');
    expect(report?.body).toMatchObject({ status: 'failed', code: 'ORCH-8014' });
    await director.succeed(owner, 'prepare');
    const forged = await director.step(verifier, 'accept', {
      evidence: [director.approval, ...director.evidenceFor('prepare').slice(1)],
    });
    expect(forged.report?.body).toMatchObject({ status: 'failed', code: 'ORCH-8014' });
    await director.succeed(verifier, 'accept');
  });

  test('an activation without the acknowledgements of every member', async () => {
    await director.succeed(owner, 'prepare');
    const early = await director.step(owner, 'activate');
    expect(early.report?.body).toMatchObject({ status: 'failed', code: 'ORCH-8014' });
    expect(await owner.states(token)).toEqual(['2:prepared', '1:primary']);
    await director.succeed(verifier, 'accept');
    await director.succeed(owner, 'activate');
  });

  test('an activation by one who only verifies', async () => {
    await director.succeed(owner, 'prepare');
    await director.succeed(verifier, 'accept');
    const { report } = await director.step(verifier, 'activate', { slots: [token] });
    expect(report?.body).toMatchObject({ status: 'failed', code: 'ORCH-8015' });
  });

  test('a retirement without the commit decision, or without every release', async () => {
    await director.succeed(owner, 'prepare');
    await director.succeed(verifier, 'accept');
    await director.succeed(owner, 'activate');
    await director.succeed(owner, 'release');
    const early = await director.step(owner, 'retire');
    expect(early.report?.body).toMatchObject({ status: 'failed', code: 'ORCH-8007' });
    await director.succeed(verifier, 'release');
    const undecided = await director.step(owner, 'retire', {
      change: (body) => without(body, 'commit'),
    });
    expect(undecided.report?.body).toMatchObject({ status: 'failed', code: 'ORCH-8015' });
    expect(await owner.states(token)).toEqual(['2:primary', '1:accepted']);
    await director.succeed(owner, 'retire');
  });

  test('a discard of the key that is in use, where the slot is frozen', async () => {
    await director.succeed(owner, 'prepare');
    await director.succeed(verifier, 'accept');
    await director.succeed(owner, 'activate');
    await director.succeed(owner, 'freeze');
    const { report } = await director.step(owner, 'discard');
    expect(report?.body).toMatchObject({ status: 'failed', code: 'ORCH-8005' });
    expect(await owner.states(token)).toEqual(['2:primary', '1:accepted']);
  });
});

function flipped(disclosure: Disclosure, part: 'seal' | 'body'): Disclosure {
  const bytes = Uint8Array.from(disclosure[part]);
  bytes[bytes.length - 1] = (bytes.at(-1) ?? 0) ^ 1;
  return { ...disclosure, [part]: bytes };
}

function without(
  body: StepCommanded,
  document: 'plan' | 'authorization' | 'commit',
): StepCommanded {
  const copy = { ...body };
  delete copy[document];
  return copy;
}

/** One decision, whoever makes it and whatever the bus forgets (invariants 2, 5, 7, 8, 15). */

import { afterEach, expect, it } from 'vitest';
import { subjectsOf } from '#shared/bus/subjects.ts';
import { InMemoryMesh } from '../support/in-memory-mesh.ts';
import { crypto } from '../support/world.ts';

let mesh: InMemoryMesh | undefined;

afterEach(async () => {
  await mesh?.stop();
  mesh = undefined;
});

const atRest = ['committed', 'retiring', 'retired', 'rolled_back'] as const;

interface Timeline {
  readonly timeline: readonly { readonly event: string; readonly author: string }[];
}

async function eventsOf(on: InMemoryMesh, planId: string) {
  const { timeline } = (await on.ask({ ask: 'rotation-show', planId, waitMs: 0 })) as Timeline;
  return timeline;
}

it('two orchestrators that both act on everything come to one decision', async () => {
  mesh = await InMemoryMesh.start({ takeoverMs: 0 });
  const plan = await mesh.approvedPlan([1, 2, 4]);
  const both = await Promise.all([mesh.execute(plan), mesh.execute(plan)]);
  expect(both.filter(({ status }) => status === 'accepted')).toHaveLength(1);
  await mesh.until(plan.planId, atRest);
  const timeline = await eventsOf(mesh, plan.planId);
  const count = (name: string) => timeline.filter(({ event }) => event === name).length;
  expect(count('plan-drafted')).toBe(1);
  expect(count('execution-requested')).toBe(1);
  expect(count('commit-decided')).toBe(1);
  expect(await mesh.versions()).toMatchObject({
    '1/identity-signature': 2,
    '2/nonce-mac': 2,
    '4/kek': 2,
    '3/key-exchange': 1,
  });
});

it('an orchestrator that stops is followed by the other', async () => {
  mesh = await InMemoryMesh.start();
  const plan = await mesh.approvedPlan([1, 4]);
  await mesh.execute(plan);
  const author = (await eventsOf(mesh, plan.planId)).at(-1)?.author ?? 'orchestrator-a';
  await mesh.stopAgent(author);
  await mesh.until(plan.planId, atRest);
  expect(await mesh.versions()).toMatchObject({ '1/identity-signature': 2, '4/kek': 2 });
});

it('both orchestrators gone: a fresh one reads the log and goes on', async () => {
  mesh = await InMemoryMesh.start();
  const plan = await mesh.approvedPlan([1, 4]);
  await mesh.execute(plan);
  await mesh.stopAgent('orchestrator-a');
  await mesh.stopAgent('orchestrator-b');
  await mesh.startAgent('orchestrator-b');
  await mesh.until(plan.planId, atRest);
  expect(await mesh.versions()).toMatchObject({ '1/identity-signature': 2, '4/kek': 2 });
});

it('what the bus forgets in the middle is put back, and the decision stays one', async () => {
  mesh = await InMemoryMesh.start();
  const plan = await mesh.approvedPlan([1, 2, 3, 4]);
  await mesh.execute(plan);
  await mesh.until(plan.planId, ['activating', 'verifying', ...atRest]);
  mesh.world.broker.truncate('GYRE_CONTROL');
  await mesh.until(plan.planId, atRest);
  // A new orchestrator must come to the same story from what is there now.
  await mesh.stopAgent('orchestrator-a');
  await mesh.stopAgent('orchestrator-b');
  await mesh.startAgent('orchestrator-a');
  const { phase } = await mesh.show(plan.planId);
  expect(atRest).toContain(phase);
  const restored = await restoredCount(mesh);
  expect(restored).toBeGreaterThan(0);
  expect(await mesh.versions()).toMatchObject({
    '1/identity-signature': 2,
    '2/nonce-mac': 2,
    '3/key-exchange': 2,
    '4/kek': 2,
  });
});

it('a step that is delivered twice has one effect', async () => {
  mesh = await InMemoryMesh.start();
  const plan = await mesh.approvedPlan([7]);
  const bus = mesh.world.bus('orchestrator-b');
  const step = subjectsOf(mesh.world.mesh).step(7, 'self-healing-a');
  let copies = 0;
  await bus.follow(
    { stream: 'GYRE_CONTROL', subjects: [step], fromSequence: 1 },
    async (message) => {
      if (copies >= 3) return;
      copies += 1;
      const messageId = `copy-${copies}`;
      await bus.publish({ subject: message.subject, data: message.data, messageId });
    },
  );
  await mesh.execute(plan);
  await mesh.until(plan.planId, atRest);
  expect(copies).toBe(3);
  expect(await mesh.versions()).toMatchObject({ '7/healing-signature': 2 });
  await bus.close();
});

it('garbage on a log stops nothing', async () => {
  mesh = await InMemoryMesh.start();
  const plan = await mesh.approvedPlan([7]);
  const thief = mesh.world.bus('orchestrator-b');
  const subject = subjectsOf(mesh.world.mesh).sagaRotation(plan.planId);
  const flood = async () => {
    for (let count = 0; count < 20; count += 1) {
      const data = crypto.randomBytes(200);
      await thief.publish({ subject, data, messageId: `noise-${count}` });
    }
  };
  await Promise.all([flood(), mesh.execute(plan)]);
  await mesh.until(plan.planId, atRest);
  expect(await mesh.versions()).toMatchObject({ '7/healing-signature': 2 });
  await thief.close();
});

async function restoredCount(on: InMemoryMesh): Promise<number> {
  const to = { agentId: 'auditor', channel: 'operators' };
  const answer = await on.operator('op-1').ask(to, { ask: 'audit-head' }, 5_000);
  if (!answer.ok) throw new Error(answer.reason);
  return (answer.result as { restored: number }).restored;
}

/** A layer that fails: the stack goes back as one, or is locked out and comes back by approval. */

import { afterEach, expect, it } from 'vitest';
import { AdapterError, type LayerAdapter } from '#agents/layers/adapter.ts';
import { InMemoryMesh } from '../support/in-memory-mesh.ts';

let mesh: InMemoryMesh | undefined;

afterEach(async () => {
  await mesh?.stop();
  mesh = undefined;
});

/** The adapter of one layer with some operations failing as its switches say. */
function failing(adapter: LayerAdapter, broken: Set<keyof LayerAdapter>): LayerAdapter {
  return new Proxy(adapter, {
    get: (target, property) => {
      const value: unknown = Reflect.get(target, property, target);
      if (typeof value !== 'function') return value;
      if (!broken.has(property as keyof LayerAdapter)) return value.bind(target) as unknown;
      if (property === 'verify') return failsOnNew(target);
      return () => Promise.reject(new AdapterError('STORE_FAILED', 'the system says no'));
    },
  });
}

/** The new key does not work; the old one does. */
function failsOnNew(adapter: LayerAdapter): LayerAdapter['verify'] {
  return (slot, version) =>
    version > 1
      ? Promise.resolve({ ok: false, reason: 'the signature does not verify' })
      : adapter.verify(slot, version);
}

const start = (layer: number, broken: Set<keyof LayerAdapter>) =>
  InMemoryMesh.start({
    adapterOf: (at, adapter) => (at === layer ? failing(adapter, broken) : adapter),
  });

it.each(['prepare', 'activate', 'verify'] as const)(
  'a layer that cannot %s takes everybody back',
  async (operation) => {
    mesh = await start(2, new Set([operation]));
    const plan = await mesh.approvedPlan([1, 2, 3, 4]);
    await mesh.execute(plan);
    const { phase } = await mesh.until(plan.planId, ['rolled_back', 'committed', 'locked_out']);
    expect(phase).toBe('rolled_back');
    expect(new Set(Object.values(await mesh.versions()))).toEqual(new Set([1]));
    // The slots are free again, and the next rotation skips the burned version numbers.
    const again = await mesh.approvedPlan([3, 4]);
    expect(await mesh.execute(again)).toMatchObject({ status: 'accepted' });
    await mesh.until(again.planId, ['committed', 'retiring', 'retired']);
  },
);

it('a rollback that cannot complete locks out, and an approved recovery ends that', async () => {
  const broken = new Set<keyof LayerAdapter>(['rollback']);
  const later = new Set<keyof LayerAdapter>(['activate']);
  mesh = await InMemoryMesh.start({
    adapterOf: (layer, adapter) => {
      if (layer === 1) return failing(adapter, broken);
      return layer === 2 ? failing(adapter, later) : adapter;
    },
  });
  const plan = await mesh.approvedPlan([1, 2]);
  const { planId, planDigest } = plan;
  await mesh.execute(plan);
  await mesh.until(planId, ['locked_out']);
  const unapproved = await mesh.request('op-1', 'recovery-approved' as never, {
    planId,
    planDigest,
    lockout: 1,
  });
  expect(unapproved.status).toBe('refused');
  // Sticky: mending the system alone changes nothing.
  broken.clear();
  later.clear();
  expect((await mesh.show(planId)).phase).toBe('locked_out');
  const body = { planId, planDigest };
  const asked = await mesh.request('op-1', 'recovery-requested' as never, body);
  expect(asked.status).toBe('accepted');
  const own = await mesh.request('op-1', 'recovery-approved' as never, { ...body, lockout: 1 });
  expect(own).toMatchObject({ status: 'refused', code: 'ORCH-8015' });
  const other = await mesh.request('op-2', 'recovery-approved' as never, { ...body, lockout: 1 });
  expect(other.status).toBe('accepted');
  await mesh.until(planId, ['rolled_back']);
  expect(new Set(Object.values(await mesh.versions()))).toEqual(new Set([1]));
});

it('two plans for one slot: the second waits its turn or is refused, never both', async () => {
  mesh = await InMemoryMesh.start();
  const first = await mesh.approvedPlan([1, 4]);
  const second = await mesh.approvedPlan([4, 7]);
  await Promise.all([mesh.execute(first), mesh.execute(second)]);
  await mesh.until(first.planId, ['approved', 'committed', 'retiring', 'retired']);
  await mesh.until(second.planId, ['approved', 'committed', 'retiring', 'retired']);
  const phases = [await mesh.show(first.planId), await mesh.show(second.planId)];
  expect(phases.filter(({ phase }) => phase === 'approved')).toHaveLength(1);
  const versions = await mesh.versions();
  expect(versions['4/kek']).toBe(2);
});

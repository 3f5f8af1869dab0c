/**
 * Who comes late while somebody who may write what is kept on the bus hides, replaces or re-orders it:
 * the newest state in the end, by what operators signed and nobody's order, and what was taken away put
 * back by the next orchestrator that looks. The cryptography is the simulator's.
 */

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { SignedDocument } from '#schemas/document.ts';
import type { OfferedDocument, RootBody } from '#schemas/trust.ts';
import type { Bus } from '#shared/bus/bus.ts';
import { MemoryBroker } from '#shared/bus/memory-broker.ts';
import { provisionPlan } from '#shared/bus/streams.ts';
import { documentDigest, localSigner, signDocument } from '#shared/crypto/signed-document.ts';
import type { SigningKey } from '#shared/crypto/key-handle.ts';
import type { TrustView } from '#shared/crypto/trust.ts';
import { SystemDisk } from '#shared/runtime/system-disk.ts';
import { TrustDesk } from '#shared/runtime/trust-desk.ts';
import { TrustStore, type TrustStoreOptions } from '#shared/runtime/trust-store.ts';
import {
  keyOf,
  policyAfter,
  revocationOf,
  rootAfter,
  signedBy,
  signedRoot,
} from '../../support/amendments.ts';
import { keysOf } from '../../support/ceremony.ts';
import { bytesOf } from '../../support/documents.ts';
import { makeCheapWorld } from '../../support/cheap-world.ts';
import { quiet, type World } from '../../support/world.ts';

let world: World;
let directory: string;
/** By the keys that the second root removes. */
let policy: OfferedDocument;
let revocation: OfferedDocument;
/** Replaces the operators' keys for policies, and names what stood. */
let root: SignedDocument<RootBody>;
/** The same, and says nothing of what stood. */
let silent: SignedDocument<RootBody>;
/** By the new keys. */
let newest: OfferedDocument;
/** Two after the one in force. */
let third: SignedDocument<RootBody>;

let operators: readonly SigningKey[];

function successorOf(upholds: RootBody['upholds'], version = 2): Promise<SignedDocument<RootBody>> {
  const body = rootAfter(world, (draft) => {
    draft.version = version;
    Object.assign(draft.keys, keysOf(operators));
    const keyIds = operators.map(({ publicKey }) => publicKey.keyIdHex);
    draft.roles.policy = { key_ids: keyIds, threshold: 2 };
    if (upholds !== undefined) draft.upholds = upholds;
  });
  const keys = [keyOf(world, 'op-1'), keyOf(world, 'op-2')];
  return signedRoot(world, body, keys, [...world.anchors.values()]);
}

beforeAll(async () => {
  world = await makeCheapWorld();
  const { crypto } = world;
  operators = [1, 2].map(() => crypto.importSigningSeed(crypto.randomBytes(32)));
  policy = await signedBy(world, policyAfter(world));
  revocation = await signedBy(world, revocationOf(world, 'phi-a'));
  const before = world.newTrust();
  for (const document of [policy, revocation]) before.adopt(document, world.clock.nowMs());
  [root, silent, third] = await Promise.all([
    successorOf(before.upheldNow()),
    successorOf(undefined),
    successorOf(undefined, 3),
  ]);
  newest = await signDocument(
    policyAfter(world, (body) => (body.version = 3)),
    operators.map((key) => localSigner(crypto, key)),
  );
});

beforeEach(() => {
  directory = mkdtempSync(path.join(tmpdir(), 'gyre-late-'));
  const principals = world.trust.agents().map(({ agentId: id, kind, layer }) => ({
    id,
    kind,
    ...(layer === undefined ? {} : { layer }),
  }));
  broker = new MemoryBroker(provisionPlan({ mesh: world.mesh, principals, replicas: 1 }));
  written = 0;
});

afterEach(() => rmSync(directory, { recursive: true }));

let broker: MemoryBroker;
let written: number;

function busOf(agentId: string): Bus {
  const agent = world.trust.agent(agentId);
  if (agent === undefined) throw new Error(`${agentId} is not enrolled`);
  const { kind, layer } = agent;
  const principal = { id: agentId, kind, ...(layer === undefined ? {} : { layer }) };
  return broker.connect({ principal, onTrouble: () => undefined });
}

interface Open {
  readonly desk: TrustDesk;
  readonly trust: TrustView;
  /** Whatever waits for its time. */
  readonly runTimers: () => void;
}

function open(agentId = 'identity-a', options: Partial<TrustStoreOptions> = {}): Open {
  const { crypto } = world;
  const trust = world.newTrust();
  const disk = new SystemDisk(mkdtempSync(path.join(directory, `${agentId}-`)));
  const store = TrustStore.open({ disk, crypto, trust, ...options });
  const kind = trust.agent(agentId)?.kind ?? 'layer';
  const timers = new Set<() => void>();
  let monotonicMs = 0;
  const clock = {
    nowMs: () => world.clock.nowMs(),
    monotonicMs: () => (monotonicMs += 1_000),
    after: (_delayMs: number, run: () => void) => {
      timers.add(run);
      return { cancel: () => void timers.delete(run) };
    },
  };
  const bus = busOf(agentId);
  const desk = new TrustDesk({ agentId, kind, trust, store, crypto, bus, clock, log: quiet });
  const runTimers = (): void => {
    const due = [...timers];
    timers.clear();
    for (const run of due) run();
  };
  return { desk, trust, runTimers };
}

/** As somebody who may write anything: under any name, and so in any order. */
async function write(...documents: readonly unknown[]): Promise<void> {
  const bucket = busOf('orchestrator-b').bucket('gyre_trust');
  for (const document of documents) {
    written += 1;
    const key = `policy.${written}.${written.toString().padStart(64, '0')}`;
    await bucket.put(key, bytesOf(document as OfferedDocument), 0);
  }
}

function standing({ trust }: Open) {
  const { root: newestRoot, policy: newestPolicy } = trust.highest();
  const isRevoked = trust.agent('phi-a')?.revokedAtMs !== undefined;
  return [newestRoot.version, newestPolicy.version, isRevoked];
}

describe('what is kept for late comers', () => {
  it('may be written in any order: what stood before a root is taken before it', async () => {
    await write(newest, silent, revocation, policy);
    const late = open();
    await late.desk.catchUp();
    expect(standing(late)).toEqual([2, 3, true]);
    expect(late.trust.policyOf(documentDigest(world.crypto, policy.body))).toBeDefined();
  });

  it('may be hidden until a root is adopted: what that root names is taken by its word', async () => {
    await write(root);
    const late = open();
    await late.desk.catchUp();
    expect(standing(late)).toEqual([2, 1, false]);
    await write(policy, revocation);
    await late.desk.catchUp();
    expect(standing(late)).toEqual([2, 2, true]);
    await write(newest);
    await late.desk.catchUp();
    expect(standing(late)).toEqual([2, 3, true]);
  });

  it('is adopted by no word of a root that does not name it', async () => {
    await write(silent);
    const late = open();
    await late.desk.catchUp();
    await write(policy, revocation);
    await late.desk.catchUp();
    expect(standing(late)).toEqual([2, 1, false]);
  });

  it('may lack a root: the next one stands nowhere until that is there', async () => {
    await write(third, newest);
    const late = open();
    await late.desk.catchUp();
    expect(standing(late)).toEqual([1, 1, false]);
    await write(root);
    await late.desk.catchUp();
    expect(standing(late)).toEqual([3, 3, false]);
  });

  it('is put back by an orchestrator, whoever writes over it', async () => {
    const honest = open('orchestrator-a');
    expect(await honest.desk.learn([bytesOf(policy)], 'op-1')).toBeUndefined();
    const bucket = busOf('orchestrator-b').bucket('gyre_trust');
    const key = `policy.2.${documentDigest(world.crypto, policy.body)}`;
    await expect.poll(() => bucket.get(key)).not.toBeNull();
    const kept = await bucket.get(key);
    await bucket.put(key, new Uint8Array([1]), kept?.revision ?? 0);
    const late = open();
    await late.desk.catchUp();
    expect(standing(late)).toEqual([1, 1, false]);
    honest.runTimers();
    await expect.poll(async () => (await bucket.get(key))?.value.length).toBeGreaterThan(1);
    await late.desk.catchUp();
    expect(standing(late)).toEqual([1, 2, false]);
  });
});

it('who has no room for another document adopts none, blames nobody and starts again', async () => {
  const disk = new SystemDisk(directory);
  const full = open('identity-a', { disk, documentsMax: 1 });
  expect(await full.desk.learn([bytesOf(revocation)], 'op-1')).toBeUndefined();
  expect(await full.desk.learn([bytesOf(policy)], 'op-1')).toBeUndefined();
  expect(standing(full)).toEqual([1, 1, true]);
  expect(full.desk.lockouts()).toEqual([]);
  const { crypto } = world;
  const trust = world.newTrust();
  expect(TrustStore.open({ disk, crypto, trust, documentsMax: 1 }).documents).toHaveLength(1);
});

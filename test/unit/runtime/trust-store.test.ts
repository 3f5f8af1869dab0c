/** What an agent keeps of trust: written before it counts, and refused where it is not what was written. */

import { mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { OfferedDocument } from '#schemas/trust.ts';
import { SystemDisk } from '#shared/runtime/system-disk.ts';
import { digestOf, TrustStore, type TrustStateError } from '#shared/runtime/trust-store.ts';
import { amended } from '../../support/documents.ts';
import { crypto, makeWorld, type World } from '../../support/world.ts';

let world: World;
let directory: string;
let policy: OfferedDocument;
let registry: OfferedDocument;

beforeAll(async () => {
  world = await makeWorld();
  policy = await amended(world, world.trust.policy);
  registry = await amended(world, world.trust.registry);
});

beforeEach(() => {
  directory = mkdtempSync(path.join(tmpdir(), 'gyre-trust-'));
});

afterEach(() => rmSync(directory, { recursive: true }));

const file = () => path.join(directory, 'trust.json');

function open(trust = world.newTrust()): TrustStore {
  return TrustStore.open({ disk: new SystemDisk(directory), crypto, trust });
}

function keep(...documents: OfferedDocument[]): void {
  const store = open();
  for (const document of documents) store.keepDocument(document, Date.now());
}

/** Rewrites the file as somebody would who can also compute its digest. */
function rewrite(change: (state: { documents: { document: OfferedDocument }[] }) => void): void {
  const content = JSON.parse(readFileSync(file(), 'utf8')) as { state: never };
  change(content.state);
  const digest = digestOf(crypto, content.state);
  writeFileSync(file(), JSON.stringify({ ...content, digest }));
}

function refusal(): Pick<TrustStateError, 'code' | 'file'> | undefined {
  try {
    open();
    return undefined;
  } catch (error) {
    const { code, file: named } = error as TrustStateError;
    return { code, file: named };
  }
}

describe('a stored copy', () => {
  it('is adopted again at the start, with the lockouts', () => {
    const lockout = { sender: 'phi-a', code: 'ORCH-8010', untilMs: 5_000 } as const;
    const store = open();
    store.keepDocument(registry, Date.now());
    store.keepDocument(policy, Date.now());
    store.keepLockouts([lockout]);
    const trust = world.newTrust();
    const again = open(trust);
    expect([trust.registry.version, trust.policy.version]).toEqual([2, 2]);
    expect(again.lockouts).toEqual([lockout]);
    expect(readdirSync(directory)).toEqual(['trust.json']);
  });

  it('that expired since is genuine: the agent starts, and is stale', async () => {
    const nowMs = Date.now();
    const soon = await amended(world, world.trust.policy, (draft) => {
      draft.expires_at = new Date(nowMs + 1_000).toISOString();
    });
    open().keepDocument(soon, nowMs);
    const trust = world.newTrust();
    open(trust);
    expect(trust.policy.version).toBe(2);
    expect(trust.staleness(nowMs + 2_000)).toEqual(['policy']);
  });

  it.each([
    ['cut short', (text: string) => text.slice(0, -20)],
    ['empty', () => ''],
    ['with one character changed', (text: string) => text.replace('2026', '2027')],
    ['of another shape', () => '{"state":{},"digest":"00"}'],
  ])('%s is refused', (_name, change) => {
    keep(policy);
    const before = readFileSync(file(), 'utf8');
    writeFileSync(file(), change(before) === before ? 'x' : change(before));
    expect(refusal()).toEqual({ code: 'ORCH-8010', file: file() });
  });

  it.each([
    ['policy', 'ORCH-8011'],
    ['registry', 'ORCH-8010'],
  ] as const)('with a %s that its role did not sign is refused (%s)', (kind, code) => {
    keep(kind === 'policy' ? policy : registry);
    rewrite(({ documents }) => {
      const [first] = documents;
      if (first === undefined) throw new Error('a document was kept');
      first.document.body.issued_at = new Date(Date.now() - 1).toISOString();
    });
    expect(refusal()).toEqual({ code, file: file() });
  });

  it('may be larger than any one document', () => {
    const copies = Math.ceil((3 * 1024 * 1024) / JSON.stringify(policy).length);
    keep(policy);
    rewrite(({ documents }) => {
      const [first] = documents;
      if (first === undefined) throw new Error('a document was kept');
      documents.push(...Array.from({ length: copies }, () => first));
    });
    const store = open();
    expect(store.documents).toHaveLength(copies + 1);
    store.keepDocument(policy, Date.now());
    expect(readFileSync(file()).length).toBeGreaterThan(3 * 1024 * 1024);
    expect(open().documents).toHaveLength(copies + 2);
  });

  it('of another mesh is refused', () => {
    keep(policy);
    rewrite((state) => Object.assign(state, { rootDigest: '0'.repeat(64) }));
    expect(refusal()).toEqual({ code: 'ORCH-8010', file: file() });
  });
});

/** Offers at one desk: what is adopted, who is locked out, and what is dropped before it costs anything. */

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { OfferedDocument } from '#schemas/trust.ts';
import { subjectsOf } from '#shared/bus/subjects.ts';
import type { CryptoProvider } from '#shared/crypto/provider.ts';
import type { TrustView } from '#shared/crypto/trust.ts';
import type { ReceivedEvent } from '#shared/runtime/exchange.ts';
import { offersAtOnce } from '#shared/runtime/offer-allowance.ts';
import { Receiver } from '#shared/runtime/receiver.ts';
import { TrustDesk } from '#shared/runtime/trust-desk.ts';
import { SystemDisk } from '#shared/runtime/system-disk.ts';
import { TrustStore } from '#shared/runtime/trust-store.ts';
import { amended, bytesOf } from '../../support/documents.ts';
import { crypto, makeWorld, quiet, type World } from '../../support/world.ts';

let world: World;
let directory: string;
let policy: OfferedDocument;
let registry: OfferedDocument;
let unsigned: OfferedDocument;

beforeAll(async () => {
  world = await makeWorld();
  policy = await amended(world, world.trust.policy);
  registry = await amended(world, world.trust.registry);
  unsigned = await amended(world, world.trust.policy, () => undefined, ['op-1']);
});

beforeEach(() => {
  directory = mkdtempSync(path.join(tmpdir(), 'gyre-desk-'));
});

afterEach(() => rmSync(directory, { recursive: true }));

interface Open {
  readonly desk: TrustDesk;
  readonly trust: TrustView;
}

function open(agentId = 'layer-agent', at = directory): Open {
  const trust = world.newTrust();
  const store = TrustStore.open({ disk: new SystemDisk(at), crypto, trust });
  const kind = trust.agent(agentId)?.kind ?? 'layer';
  const bus = world.bus(kind === 'layer' ? 'identity-a' : agentId);
  const ports = { agentId, kind, trust, store, crypto, bus, clock: world.clock, log: quiet };
  return { desk: new TrustDesk(ports), trust };
}

function offered(document: Uint8Array<ArrayBuffer>, from: string) {
  const sealed = world.principal(from).seal({
    type: 'document-offered',
    subject: subjectsOf(world.mesh).trust(from),
    channel: 'notices',
    body: { document },
  });
  const { subject, frame: data } = sealed;
  const meta = { messageId: '', sequence: 1, deliveryCount: 1, timeMs: 0 };
  const opening = world.principal('signer').open({ subject, data, ...meta });
  if (opening.status !== 'opened') throw new Error('the offer opens');
  return opening.event as ReceivedEvent<'document-offered'>;
}

const later = () => world.clock.nowMs() + 1_000;

describe('an offer', () => {
  it('that holds is adopted and on the disk, and nobody is locked out', () => {
    const { desk, trust } = open();
    desk.offered(offered(bytesOf(policy), 'phi-a'), later());
    expect(trust.policy.version).toBe(2);
    expect(open().trust.policy.version).toBe(2);
    desk.offered(offered(bytesOf(policy), 'phi-a'), later());
    expect(desk.lockouts()).toEqual([]);
  });

  it('that does not hold locks its sender out, and the next desk on this state too', () => {
    const { desk, trust } = open();
    desk.offered(offered(bytesOf(unsigned), 'phi-a'), later());
    expect(trust.policy.version).toBe(1);
    expect(desk.isLockedOut('phi-a')).toBe(true);
    expect(desk.isLockedOut('op-1')).toBe(false);
    expect(open().desk.isLockedOut('phi-a')).toBe(true);
    desk.offered(offered(bytesOf(policy), 'phi-a'), later());
    expect(trust.policy.version).toBe(1);
  });

  it('that was overtaken is late and no more; repeated bad ones are not', async () => {
    const newer = await amended(world, policy.body as never);
    const { desk } = open();
    desk.offered(offered(bytesOf(policy), 'op-1'), later());
    const beforeNewest = world.clock.nowMs() - 1;
    desk.offered(offered(bytesOf(newer), 'op-2'), later());
    desk.offered(offered(bytesOf(policy), 'op-1'), beforeNewest);
    expect(desk.lockouts()).toEqual([]);
    desk.offered(offered(bytesOf(policy), 'op-1'), later());
    expect(desk.isLockedOut('op-1')).toBe(true);
    for (let count = 0; count < 8; count += 1) {
      expect(desk.isLockedOut('phi-a')).toBe(false);
      desk.offered(offered(new Uint8Array([count]), 'phi-a'), beforeNewest);
    }
    expect(desk.isLockedOut('phi-a')).toBe(true);
  });
});

describe('an offer that the bus hands over when it likes', () => {
  it('locks nobody out who said it while it was good', async () => {
    const newer = await amended(world, policy.body as never);
    const inTime = offered(bytesOf(policy), 'op-1');
    const first = open();
    first.desk.offered(inTime, later());
    await new Promise((resolve) => setTimeout(resolve, 5));
    first.desk.offered(offered(bytesOf(newer), 'op-2'), later());
    // A start later nobody remembers that it was heard before: the bus stores it once more.
    const second = open();
    second.desk.offered(inTime, later());
    expect(second.desk.lockouts()).toEqual([]);
    second.desk.offered(offered(bytesOf(policy), 'op-1'), later());
    expect(second.desk.isLockedOut('op-1')).toBe(true);
  });

  it('is judged as when it was said where it has expired since, and only auditors offer it then', async () => {
    const shortLived = await amended(world, world.trust.policy, (draft) => {
      draft.expires_at = new Date(world.clock.nowMs() + 600_000).toISOString();
    });
    const inTime = offered(bytesOf(shortLived), 'op-1');
    world.clock.offsetMs = 3_600_000;
    const outcomes = [inTime, offered(bytesOf(shortLived), 'op-1')].map((event) => {
      const { desk, trust } = open('layer-agent', mkdtempSync(path.join(directory, 'other-')));
      desk.offered(event, later());
      return [trust.policy.version, desk.isLockedOut('op-1')];
    });
    const { desk, trust } = open();
    desk.offered(offered(bytesOf(shortLived), 'auditor'), later());
    world.clock.offsetMs = 0;
    expect(outcomes).toEqual([
      [2, false],
      [1, true],
    ]);
    expect([trust.policy.version, desk.isLockedOut('auditor')]).toEqual([2, false]);
  });

  it('is taken from an auditor though somebody offered the same too late', async () => {
    const shortLived = await amended(world, world.trust.policy, (draft) => {
      draft.expires_at = new Date(world.clock.nowMs() + 600_000).toISOString();
    });
    world.clock.offsetMs = 3_600_000;
    const late = offered(bytesOf(shortLived), 'op-1');
    const again = offered(bytesOf(shortLived), 'auditor');
    const { desk, trust } = open();
    // The bus stored both before this agent began.
    desk.offered(late, 0);
    const before = trust.policy.version;
    desk.offered(again, 0);
    world.clock.offsetMs = 0;
    expect([before, trust.policy.version]).toEqual([1, 2]);
  });

  it('may be of a fork where an auditor goes by its log, and of nothing that is not signed', async () => {
    const other = await amended(world, world.trust.policy, (draft) => {
      draft.policies.rotation.soak_ms += 1;
    });
    const { desk, trust } = open();
    desk.offered(offered(bytesOf(policy), 'op-1'), later());
    desk.offered(offered(bytesOf(other), 'auditor'), later());
    expect([trust.policy.version, desk.lockouts()]).toEqual([2, []]);
    desk.offered(offered(bytesOf(other), 'op-1'), later());
    const unsignedNext = await amended(world, policy.body as never, () => undefined, ['op-1']);
    desk.offered(offered(bytesOf(unsignedNext), 'auditor'), later());
    expect(desk.lockouts().map(({ sender }) => sender)).toEqual(['auditor', 'op-1']);
  });

  it('is not adopted where it claims to be older than the document', async () => {
    const { desk, trust } = open();
    world.clock.offsetMs = 3_600_000;
    const issued = await amended(world, world.trust.policy);
    world.clock.offsetMs = 0;
    const backdated = offered(bytesOf(issued), 'op-1');
    world.clock.offsetMs = 3_600_000;
    // Who judges the log goes by the event's own time, and would not adopt it there.
    desk.offered(backdated, later());
    world.clock.offsetMs = 0;
    expect(trust.policy.version).toBe(1);
    expect(desk.isLockedOut('op-1')).toBe(true);
  });
});

describe('a flood', () => {
  it('of what is known is listened to in measure', () => {
    const { desk } = open();
    let admitted = 0;
    for (let count = 0; count < 10 * offersAtOnce; count += 1) {
      if (desk.admits('phi-a', later())) admitted += 1;
    }
    expect(admitted).toBeGreaterThanOrEqual(offersAtOnce);
    expect(admitted).toBeLessThan(2 * offersAtOnce);
    expect(desk.admits('network-a', later())).toBe(true);
  });

  it('of a locked-out sender costs no signature check', () => {
    let checks = 0;
    const counting: CryptoProvider = {
      ...crypto,
      verify: (key, input) => {
        checks += 1;
        return crypto.verify(key, input);
      },
    };
    const { desk, trust } = open();
    const receiver = new Receiver({
      agentId: 'signer',
      crypto: counting,
      trust,
      keyring: world.keyring('signer'),
      clock: world.clock,
      isLockedOut: (id) => desk.isLockedOut(id),
    });
    const deliver = (sequence: number) => {
      const subject = subjectsOf(world.mesh).trust('phi-a');
      const body = { document: bytesOf(policy) };
      const event = { type: 'document-offered', subject, channel: 'notices', body } as const;
      return receiver.open({ subject, data: world.principal('phi-a').seal(event).frame, sequence });
    };
    expect(deliver(1).status).toBe('opened');
    expect(checks).toBe(1);
    desk.offered(offered(bytesOf(unsigned), 'phi-a'), later());
    expect(deliver(2)).toEqual({ status: 'refused', code: 'SENDER_LOCKED_OUT' });
    expect(checks).toBe(1);
    expect(desk.admits('phi-a', later())).toBe(false);
  });
});

describe('what is kept on the bus', () => {
  it('is put there by orchestrators, and learned by who comes late, in the order in which it held', async () => {
    const { desk } = open('orchestrator-a');
    desk.offered(offered(bytesOf(registry), 'op-1'), later());
    desk.offered(offered(bytesOf(policy), 'op-1'), later());
    const bucket = world.bus('signer').bucket('gyre_trust');
    await expect.poll(async () => (await bucket.keys()).length).toBe(2);
    const elsewhere = mkdtempSync(path.join(tmpdir(), 'gyre-desk-'));
    const late = open('late', elsewhere);
    await late.desk.catchUp();
    expect([late.trust.registry.version, late.trust.policy.version]).toEqual([2, 2]);
    rmSync(elsewhere, { recursive: true });
  });

  it('may be written in another way, with a byte order mark before it', async () => {
    const bucket = world.bus('orchestrator-b').bucket('gyre_trust');
    const marked = new Uint8Array([0xef, 0xbb, 0xbf, ...bytesOf(policy)]);
    await bucket.put(`policy.2.${'c'.repeat(64)}`, marked, 0);
    const { desk, trust } = open('late');
    await desk.catchUp();
    expect(trust.policy.version).toBe(2);
    expect(open('late').trust.policy.version).toBe(2);
  });

  it('is verified like any other: rubbish in its place changes nothing', async () => {
    const bucket = world.bus('orchestrator-b').bucket('gyre_trust');
    const rubbish = [`policy.9.${'a'.repeat(64)}`, `root.2.${'b'.repeat(64)}`, 'rubbish'];
    for (const key of rubbish) await bucket.put(key, bytesOf(unsigned), 0);
    const { desk, trust } = open('late');
    await desk.catchUp();
    const { root } = trust.highest();
    expect(root.version).toBe(1);
    expect(desk.lockouts()).toEqual([]);
  });
});

/** What a live receiver makes of events under an older, a newer, an unknown version of the documents. */

import { beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { OfferedDocument } from '#schemas/trust.ts';
import type { BusMessage } from '#shared/bus/bus.ts';
import { subjectsOf } from '#shared/bus/subjects.ts';
import type { TrustView } from '#shared/crypto/trust.ts';
import type { Principal } from '#shared/runtime/principal.ts';
import { amended, bytesOf, revocationOf } from '../../support/documents.ts';
import { makeWorld, type World } from '../../support/world.ts';

let world: World;
let policy: OfferedDocument;
let registry: OfferedDocument;
let receiverTrust: TrustView;
let senderTrust: TrustView;

const subjects = subjectsOf('test');

beforeAll(async () => {
  world = await makeWorld();
  policy = await amended(world, world.trust.policy);
  registry = await amended(world, world.trust.registry);
});

beforeEach(() => {
  world.clock.offsetMs = 0;
  receiverTrust = world.newTrust();
  senderTrust = world.newTrust();
});

function adopt(trust: TrustView, document: OfferedDocument): void {
  expect(trust.adopt(document, world.clock.nowMs())).toMatchObject({ status: 'adopted' });
}

function message(subject: string, data: Uint8Array): BusMessage {
  return { subject, data, messageId: '', sequence: 1, deliveryCount: 1, timeMs: 0 };
}

/** Belongs to a saga. */
function report(sender: Principal): BusMessage {
  const sealed = sender.seal({
    type: 'step-reported',
    subject: subjects.report(1, 'identity-a'),
    channel: 'layer-1',
    body: {
      commandId: 'rot-1-4-1',
      sagaId: 'rot-1',
      sagaIndex: 4,
      planDigest: '0'.repeat(64),
      operation: 'prepare',
      status: 'done',
      slots: [],
      durationMs: 1,
    },
  });
  return message(sealed.subject, sealed.frame);
}

/** Belongs to none. */
function acceptance(sender: Principal): BusMessage {
  const sealed = sender.seal({
    type: 'epoch-accepted',
    subject: subjects.epochReport('identity-a'),
    channel: 'notices',
    body: { channel: 'mesh', epoch: 1, announcementDigest: '0'.repeat(64) },
  });
  return message(sealed.subject, sealed.frame);
}

const sender = () => world.principal('identity-a', { trust: senderTrust });
const receiver = () => world.principal('orchestrator-a', { trust: receiverTrust });

describe.each(['policy', 'registry'] as const)('an event under another %s', (kind) => {
  const next = () => (kind === 'policy' ? policy : registry);
  const code = kind === 'policy' ? 'POLICY_NOT_IN_FORCE' : 'REGISTRY_NOT_IN_FORCE';

  it('that is older is taken in the grace, and afterwards where it belongs to a saga', () => {
    adopt(receiverTrust, next());
    expect(receiver().open(acceptance(sender())).status).toBe('opened');
    const graceMs = receiverTrust.policy.policies.channels.amendment_grace_ms;
    world.clock.offsetMs = graceMs + 1_000;
    const late = receiver().open(acceptance(sender()));
    expect(late).toEqual({ status: 'refused', code });
    expect(receiver().open(report(sender())).status).toBe('opened');
  });

  it('that is newer is held, not dropped, and opens once it is known', () => {
    adopt(senderTrust, next());
    const at = receiver();
    const held = report(sender());
    expect(at.open(held)).toEqual({ status: 'refused', code: 'TRUST_BEHIND' });
    expect(at.refusals()).toEqual({});
    adopt(receiverTrust, next());
    expect(at.open(held).status).toBe('opened');
  });

  it('that is newer by a forged signature makes nobody look for it', () => {
    adopt(senderTrust, next());
    const signingKey = world.keys.get('network-a');
    if (signingKey === undefined) throw new Error('no key');
    const thief = world.principal('identity-a', { trust: senderTrust, signingKey });
    expect(receiver().open(report(thief))).toEqual({
      status: 'refused',
      code: 'SIGNATURE_INVALID',
    });
  });
});

it('an offer of documents is opened under whatever documents it was sealed', () => {
  adopt(senderTrust, policy);
  const sealed = sender().seal({
    type: 'document-offered',
    subject: subjects.trust('identity-a'),
    channel: 'notices',
    body: { document: bytesOf(policy) },
  });
  expect(receiver().open(message(sealed.subject, sealed.frame)).status).toBe('opened');
});

it('who is revoked is not heard, whatever time his events bear', async () => {
  const before = report(sender());
  adopt(receiverTrust, await revocationOf(world, 'identity-a'));
  expect(receiver().open(before)).toEqual({ status: 'refused', code: 'SENDER_REVOKED' });
  expect(receiver().open(report(sender()))).toEqual({ status: 'refused', code: 'SENDER_REVOKED' });
});

describe('a question', () => {
  const ask = { ask: 'trust-documents', rootVersion: 1, registryVersion: 1, policyVersion: 1 };
  const status = { ask: 'mesh-status' } as const;

  it('under documents that are no longer in force is answered where it asks for newer ones', async () => {
    adopt(receiverTrust, policy);
    world.clock.offsetMs = receiverTrust.policy.policies.channels.amendment_grace_ms + 1_000;
    await receiver().answer(() => Promise.resolve({ ok: true, result: 'documents' }));
    const asker = world.principal('op-1', { trust: senderTrust });
    const to = { agentId: 'orchestrator-a', channel: 'notices' };
    const answer = await asker.ask(to, ask as never, 500);
    expect(answer).toEqual({ ok: true, result: 'documents' });
    const other = asker.ask({ ...to, channel: 'operators' }, status, 200);
    await expect(other).rejects.toMatchObject({ code: 'BUS_TIMEOUT' });
  });

  it('whose answer is under newer documents is opened after they were learned', async () => {
    const newest = world.newTrust();
    adopt(newest, policy);
    const answering = world.principal('orchestrator-b', { trust: newest });
    await answering.answer(() => Promise.resolve({ ok: true, result: 1 }));
    const catchUp = () => Promise.resolve(adopt(senderTrust, policy));
    const asker = world.principal('op-1', { trust: senderTrust, catchUp });
    const to = { agentId: 'orchestrator-b', channel: 'operators' };
    expect(await asker.ask(to, status, 1_000)).toEqual({ ok: true, result: 1 });
  });

  it('on the channel that anyone can read is one of two', async () => {
    const answering = world.principal('signer');
    await answering.answer(() => Promise.resolve({ ok: true, result: 1 }));
    const to = { agentId: 'signer', channel: 'notices' };
    const answer = await world.principal('orchestrator-a').ask(to, status, 1_000);
    expect(answer).toMatchObject({ ok: false, code: 'ORCH-8015' });
  });
});

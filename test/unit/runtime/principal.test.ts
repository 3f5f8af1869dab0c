/**
 * What a principal survives: a spent incarnation, an answer too long, a secret not here yet. The
 * cryptography is the simulator's.
 */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { parseFrame } from '#shared/crypto/envelope.ts';
import type { ChannelKeyring } from '#shared/crypto/keyring.ts';
import { chainsMax } from '#shared/crypto/sender-chain.ts';
import { subjectsOf } from '#shared/bus/subjects.ts';
import type { Bus, PublishOutcome, PublishRequest } from '#shared/bus/bus.ts';
import type { OutgoingEvent } from '#shared/runtime/exchange.ts';
import { makeCheapWorld } from '../../support/cheap-world.ts';
import type { World } from '../../support/world.ts';

let world: World;
const open: Bus[] = [];

beforeAll(async () => {
  world = await makeCheapWorld();
});

afterAll(async () => {
  for (const bus of open) await bus.close();
});

function principal(id: string) {
  const bus = world.bus(id);
  open.push(bus);
  return world.principal(id, { bus });
}

test('an incarnation that is spent gives way to a new one', () => {
  const orchestrator = principal('orchestrator-a');
  const seal = (audience: string) =>
    orchestrator.seal({
      type: 'query-asked',
      subject: subjectsOf(world.mesh).query(audience),
      channel: 'saga',
      audience,
      body: { queryId: 'q', query: new Uint8Array(1) },
    });
  const incarnations = new Set<string>();
  for (let count = 0; count <= chainsMax; count += 1) {
    const parsed = parseFrame(seal(`agent-${count}`).frame);
    if (!parsed.ok) throw new Error(parsed.code);
    incarnations.add(Buffer.from(parsed.frame.header.incarnation).toString('hex'));
  }
  expect(incarnations.size).toBe(2);
});

test('an answer too long for one message is a refusal, and the next question is answered', async () => {
  const signer = principal('signer');
  let length = 500_000;
  await signer.answer(() => Promise.resolve({ ok: true, result: 'x'.repeat(length) }));
  const ask = () =>
    principal('orchestrator-b').ask(
      { agentId: 'signer', channel: 'saga' },
      { ask: 'signer-describe' },
      5_000,
    );
  expect(await ask()).toMatchObject({ ok: false, code: 'ORCH-8013' });
  length = 5;
  expect(await ask()).toEqual({ ok: true, result: 'xxxxx' });
});

test('a question that comes while the new secret is on its way is not answered, the next one is', async () => {
  const bus = world.bus('auditor');
  open.push(bus);
  const held = world.keyring('auditor');
  let isOnItsWay = true;
  const keyring: ChannelKeyring = {
    secretOf: (name) => held.secretOf(name),
    currentEpoch: (channel) => (held.currentEpoch(channel) ?? 0) + (isOnItsWay ? 1 : 0),
  };
  const auditor = world.principal('auditor', { bus, keyring });
  await auditor.answer(() => Promise.resolve({ ok: true, result: 'here' }));
  const ask = (timeoutMs: number) =>
    principal('orchestrator-b').ask(
      { agentId: 'auditor', channel: 'saga' },
      { ask: 'signer-describe' },
      timeoutMs,
    );
  await expect(ask(100)).rejects.toMatchObject({ code: 'BUS_TIMEOUT' });
  isOnItsWay = false;
  expect(await ask(5_000)).toEqual({ ok: true, result: 'here' });
});

test('an event that may have been stored, and lost since, leaves its place in the chain to no other', async () => {
  const bus = world.bus('auditor');
  open.push(bus);
  const conflict = { status: 'conflict', lastSequence: 0 } as const;
  const outcomes: PublishOutcome[] = [conflict, { ...conflict, maybeStored: true }, conflict];
  const headers: { incarnation: string; counter: number }[] = [];
  const answering: Pick<Bus, 'publish'> = {
    publish: ({ data }: PublishRequest) => {
      const parsed = parseFrame(data);
      if (!parsed.ok) throw new Error(parsed.code);
      const { incarnation, counter } = parsed.frame.header;
      headers.push({ incarnation: Buffer.from(incarnation).toString('hex'), counter });
      return Promise.resolve(outcomes[headers.length - 1] ?? conflict);
    },
  };
  const auditor = world.principal('auditor', { bus: Object.assign(Object.create(bus), answering) });
  const event: OutgoingEvent<'receipts-issued'> = {
    type: 'receipts-issued',
    subject: subjectsOf(world.mesh).auditReceipt(),
    channel: 'mesh',
    body: {
      treeSize: 1,
      rootHash: '0'.repeat(64),
      entries: [{ statementHash: '1'.repeat(64), leafIndex: 0, verdict: 'accepted' }],
    },
  };
  for (let tries = 0; tries < 3; tries += 1) {
    expect(await auditor.append(event, 0)).toEqual(conflict);
  }
  const [first, second, third] = headers;
  expect(second).toEqual({ incarnation: first?.incarnation, counter: 2 });
  expect(third?.incarnation).not.toBe(first?.incarnation);
});

/** The machine of a negotiation, and what somebody might try with it. */
import { expect, test } from 'vitest';
import { beginNegotiation, stepNegotiation } from '#shared/core/negotiation.ts';
import { NegotiationLog } from '#shared/core/negotiation-log.ts';
import type { NegotiationEvent } from '#shared/core/negotiation-state.ts';
import {
  advertised,
  altered,
  capabilities,
  confirmed,
  digest,
  offer,
  opened,
  rules,
} from './negotiation-stage.ts';

const [client, server] = [advertised('client'), advertised('server')];

/** Hears events in order. */
function heard(events: readonly NegotiationEvent[], world = rules()) {
  const log = new NegotiationLog('n-1', world);
  const commands = events.flatMap((event, place) => log.add(event, place + 1));
  return { log, commands, state: log.state };
}

/** What both have to confirm. */
function agreement() {
  const { state } = heard([opened, client, server]);
  if (state?.agreement === null || state?.agreement === undefined) throw new Error('no agreement');
  return state.agreement;
}

test('opened, advertised by both, confirmed by both: agreed', () => {
  const body = agreement();
  const [first, second] = [confirmed('encryption-a', body), confirmed('database-a', body)];
  const { log, commands, state } = heard([opened, client, server, first, second]);
  expect(state?.phase).toBe('agreed');
  expect(log.misfits).toEqual([]);
  expect(commands.map(({ type }) => type)).toEqual([
    'advertise',
    'advertise',
    'await-end',
    'confirm',
    'confirm',
  ]);
});

test('the order of the advertisements does not change what is agreed', () => {
  expect(heard([opened, server, client]).state?.agreement).toEqual(agreement());
});

test('an earlier event that is delivered later takes its place', () => {
  const log = new NegotiationLog('n-1', rules());
  const body = agreement();
  const events = [opened, client, server, confirmed('encryption-a', body)];
  for (const place of [3, 1, 0, 2]) {
    const event = events[place];
    if (event !== undefined) log.add(event, place + 1);
  }
  log.add(confirmed('database-a', body), 5);
  expect(log.state?.phase).toBe('agreed');
});

test('a shorter advertisement in place of the first changes nothing', () => {
  const shorter = advertised('client', {
    capabilities: capabilities({ kem: [offer('ML-KEM-768')] }),
  });
  const later = altered(shorter, { hash: digest('x') });
  const { log, state } = heard([opened, client, later, server]);
  expect(state?.agreement).toEqual(agreement());
  expect(log.misfits).toMatchObject([{ code: 'ORCH-8012', hash: digest('x') }]);
});

test('an advertisement of another negotiation is without effect', () => {
  const replayed = advertised('client', { negotiationId: 'n-0' });
  const { state, log } = heard([opened, replayed, server]);
  expect(state?.advertisements.client).toBeUndefined();
  expect(log.misfits).toHaveLength(1);
});

test('a nonce that was used before ends it, also in another negotiation of the same memory', () => {
  const world = rules();
  world.isNonceReused(client.body.nonce, digest('z'));
  expect(heard([opened, client, server], world).state).toMatchObject({
    phase: 'failed',
    failure: { code: 'ORCH-8012', by: 'encryption-a' },
  });
  const copied = advertised('server', { nonce: client.body.nonce });
  expect(heard([opened, client, copied]).state?.failure?.code).toBe('ORCH-8012');
});

test('the role of the other ends it', () => {
  const wrong = { ...client, body: { ...client.body, role: 'server' as const } };
  expect(heard([opened, wrong]).state?.failure?.code).toBe('ORCH-8012');
});

test('a stranger neither advertises, confirms nor ends anything', () => {
  const strange = altered(client, { senderId: 'phi-a', hash: digest('x') });
  const failed: NegotiationEvent = {
    ...strange,
    type: 'negotiation-failed',
    hash: digest('y'),
    body: { negotiationId: 'n-1', code: 'ORCH-8001', reason: 'so there' },
  };
  const log = new NegotiationLog('n-1', rules());
  // Before the opening nobody knows who takes part; what was held is let go.
  log.add(strange, 1);
  log.add(opened, 2);
  log.add(failed, 3);
  expect(log.state?.phase).toBe('opened');
  expect(log.events).toEqual([opened]);
});

test('a flood of a stranger, before the opening or behind it, keeps nobody out', () => {
  const log = new NegotiationLog('n-1', rules());
  for (let count = 0; count < 100; count += 1) {
    log.add(altered(client, { senderId: 'phi-a', hash: digest(`a${count}`) }), count);
  }
  for (const [place, event] of [opened, client, server].entries()) log.add(event, 100 + place);
  expect(log.state?.agreement).toEqual(agreement());
});

test('a confirmation before both advertisements is without effect', () => {
  const early = confirmed('database-a', agreement());
  const { state, log } = heard([opened, client, early]);
  expect(state?.confirmations).toEqual({});
  expect(log.misfits).toMatchObject([{ code: 'ORCH-8012' }]);
});

test('whatever is altered in a confirmation ends it with ORCH-8012', () => {
  const body = agreement();
  const hash = Uint8Array.from(
    body.transcript.negotiationHash,
    (byte, at) => byte ^ (at === 9 ? 1 : 0),
  );
  for (const changed of [
    { ...body, selected: { ...body.selected, kem: 'ML-KEM-768' } },
    { ...body, transcript: { ...body.transcript, negotiationHash: hash } },
    { ...body, opened: digest('x') },
    { ...body, clientAdvertisement: body.serverAdvertisement },
  ]) {
    const { state, commands } = heard([opened, client, server, confirmed('encryption-a', changed)]);
    expect(state).toMatchObject({ phase: 'failed', failure: { code: 'ORCH-8012' } });
    expect(commands.filter(({ type }) => type === 'announce-failure')).toHaveLength(2);
  }
});

test('what cannot be selected fails with the code of the selection', () => {
  const none = advertised('server', { capabilities: capabilities({ kem: [] }) });
  expect(heard([opened, client, none]).state?.failure?.code).toBe('ORCH-8001');
});

test('an orchestrator ends it, and after the agreement nobody does', () => {
  const failed: NegotiationEvent = {
    ...opened,
    type: 'negotiation-failed',
    hash: digest('f'),
    body: { negotiationId: 'n-1', code: 'ORCH-8013', reason: 'too late' },
  };
  expect(heard([opened, client, failed, server]).state?.failure?.code).toBe('ORCH-8013');
  const body = agreement();
  const both = [confirmed('encryption-a', body), confirmed('database-a', body)];
  expect(heard([opened, client, server, ...both, failed]).state?.phase).toBe('agreed');
});

test('an opening that no operator asked for opens nothing', () => {
  const other = { ...opened, body: { ...opened.body, constraints: { maxHandshakeMs: 1 } } };
  expect(beginNegotiation('n-1', other, rules())).toMatchObject({ rejected: 'ORCH-8012' });
  const unasked = { ...rules(), requestOf: () => undefined };
  expect(beginNegotiation('n-1', opened, unasked)).toMatchObject({ rejected: 'ORCH-8012' });
  const byLayer = altered(opened, { senderKind: 'layer' });
  expect(beginNegotiation('n-1', byLayer, rules())).toMatchObject({ rejected: 'ORCH-8012' });
  expect(beginNegotiation('n-2', opened, rules())).toMatchObject({ rejected: 'ORCH-8012' });
});

test('an opening under unknown documents or between strangers opens nothing', () => {
  const unknown = { ...opened, policyDigest: digest('q') };
  expect(beginNegotiation('n-1', unknown, rules())).toMatchObject({ rejected: 'ORCH-8012' });
  const strangers = { ...rules(), layerOf: () => undefined };
  expect(beginNegotiation('n-1', opened, strangers)).toMatchObject({ rejected: 'ORCH-8012' });
});

test('a second opening changes nothing', () => {
  const { state } = heard([opened]);
  if (state === null) throw new Error('not open');
  expect(stepNegotiation(state, opened, rules())).toMatchObject({ rejected: 'ORCH-8012' });
});

/** Invariants 11 and 12, each with what it must find: what must not get out, and what must not get in. */

import { expect, it } from 'vitest';
import { Needles } from '../../../sim/checks/needles.ts';
import type { Invariant } from '../../../sim/checks/check.ts';
import { digest, hashOf, owner } from './stage-parts.ts';
import { Stage } from './stage.ts';
import { Story, wholeStory } from './story.ts';

const secret = new Uint8Array(Buffer.from(digest(Buffer.from('secret')), 'hex'));

function found({ stage }: { readonly stage: Stage }, invariant: Invariant): string[] {
  stage.checks.atRest();
  expect(stage.looked(invariant)).toBeGreaterThan(0);
  return stage.found(invariant).map(({ what }) => what);
}

it('11: finds nothing where nothing is', () => {
  const story = wholeStory();
  story.stage.observer.secret('the secret of mesh, epoch 1', secret);
  story.stage.observer.line(owner, 'step done');
  expect(found(story, 11)).toEqual([]);
});

it('11: sees a secret in a line, in what was said, and in an audit log', () => {
  const stage = new Stage();
  const name = 'the secret of mesh, epoch 1';
  stage.observer.secret(name, secret);
  stage.observer.line(owner, `failed: ${Buffer.from(secret).toString('base64url')}`);
  stage.say('op-1', 'plan-approved', {}, { plaintext: Buffer.concat([Buffer.alloc(41), secret]) });
  stage.observer.auditLog('auditor', Buffer.concat([Buffer.alloc(777), secret]));
  expect(found({ stage }, 11)).toEqual([
    `${name} (base64url) stands in a log line`,
    `${name} stands in a plan-approved on the bus, opened`,
    `${name} stands in the audit log`,
  ]);
});

it('11: sees the secret of a closed epoch that is kept', () => {
  const stage = new Stage();
  stage.sql('signer', 'signer.db', [['INSERT INTO epoch_closed VALUES (?, ?)', 'mesh', 1]]);
  stage.observer.vault('signer', ['mesh 1', 'mesh 2']);
  expect(found({ stage }, 11)).toEqual(['keeps the secret of a closed epoch: mesh 1']);
});

it('finds each of many needles at every offset, and no other', () => {
  const needles = new Needles();
  const bytes = new Uint8Array(100_000);
  const secrets = Array.from({ length: 300 }, (_, at) =>
    Buffer.from(hashOf(`needle ${at}`), 'hex'),
  );
  for (const [at, each] of secrets.entries()) needles.add(`needle ${at}`, each);
  expect(needles.findIn(bytes)).toEqual([]);
  for (const [at, each] of secrets.entries()) {
    bytes.fill(0);
    bytes.set(each, at * 331);
    expect(needles.findIn(bytes)).toEqual([`needle ${at}`]);
  }
  bytes.fill(0);
  bytes.set(secrets[7] ?? [], bytes.length - 32);
  expect(needles.findIn(bytes)).toEqual(['needle 7']);
});

it('finds a needle in every form among text of the same letters', () => {
  const needles = new Needles();
  const secrets = Array.from({ length: 200 }, (_, at) => hashOf(`needle ${at}`));
  for (const [at, each] of secrets.entries()) needles.add(`${at}`, Buffer.from(each, 'hex'));
  const letters = Array.from({ length: 400 }, (_, at) => hashOf(`other ${at}`)).join('');
  expect(needles.findIn(Buffer.from(letters))).toEqual([]);
  for (const [at, each] of secrets.entries()) {
    const cut = 7 + at * 63;
    const among = (text: string) => Buffer.from(letters.slice(0, cut) + text + letters.slice(cut));
    expect(needles.findIn(among(each))).toEqual([`${at} (hexadecimal)`]);
    const short = Buffer.from(each, 'hex').toString('base64url');
    expect(needles.findIn(among(short))).toEqual([`${at} (base64url)`]);
  }
});

it('12: sees wrong events that were accepted', () => {
  const stage = new Stage();
  const [unsigned, tampered] = [hashOf('unsigned'), hashOf('tampered')];
  stage.observer.injected('tampered', tampered);
  stage.tell('op-1', 'plan-approved', {}, { hash: unsigned, authentic: false });
  stage.tell('op-1', 'plan-approved', {}, { hash: tampered });
  expect(found({ stage }, 12)).toEqual([
    'leaf 0 (accepted) was not sealed by op-1',
    'a plan-approved that is tampered was accepted',
  ]);
});

it('12: sees an event of a revoked agent that counts, and an entry that rests on a wrong one', () => {
  const story = new Story().executed();
  const { stage } = story;
  const document = Buffer.from(JSON.stringify({ body: { kind: 'revocation', agent_id: 'op-2' } }));
  stage.tell('op-1', 'document-offered', { document: new Uint8Array(document) });
  stage.tell('op-2', 'plan-approved', {});
  stage.observer.injected('stale', hashOf('stale'));
  const timer = { type: 'timer-fired', timer: '1', atMs: 1 } as const;
  stage.entry(timer, 'preparing', { consumed: [hashOf('stale')] });
  expect(found(story, 12)).toEqual([
    expect.stringMatching(/by op-2, revoked at leaf \d+, was accepted/),
    'an accepted entry rests on an event that is stale',
  ]);
});

it('12: sees the names of wrong events in a store', () => {
  const story = new Story().executed();
  const { stage } = story;
  stage.observer.injected('revoked', hashOf('command'), ['wrong-command']);
  stage.intent(owner, 'prepare', { commandId: 'wrong-command' });
  expect(found(story, 12)).toEqual([
    'a store holds wrong-command, which only an event bears that is revoked',
  ]);
});

/** Allow lists: who may do what, and what nobody may. */
import { describe, expect, it } from 'vitest';
import { allows, allowsSubscription, permissionsOf, readScopeOf } from '#shared/bus/permissions.ts';
import type { BusPrincipal } from '#shared/bus/streams.ts';
import {
  durableName,
  followConsumerName,
  inboxPrefix,
  jetstreamSubjects as js,
  subjectsOf,
} from '#shared/bus/subjects.ts';

const subjects = subjectsOf('dev');
const orchestrator: BusPrincipal = { id: 'orchestrator-1', kind: 'orchestrator' };
const auditor: BusPrincipal = { id: 'auditor', kind: 'auditor' };
const signer: BusPrincipal = { id: 'signer', kind: 'signer' };
const layer: BusPrincipal = { id: 'layer-4', kind: 'layer', layer: 4 };
const operator: BusPrincipal = { id: 'op-1', kind: 'operator' };
const healer: BusPrincipal = { id: 'healer', kind: 'layer', layer: 7 };
const everyone = [orchestrator, auditor, signer, layer, operator];

const may = (principal: BusPrincipal, subject: string): boolean =>
  allows(permissionsOf('dev', principal).publish, subject);

/** Who of everyone may publish on a subject. */
const whoMay = (subject: string): string[] =>
  everyone.filter((principal) => may(principal, subject)).map(({ id }) => id);

describe('who may publish', () => {
  it.each([
    [subjects.sagaRotation('r1'), ['orchestrator-1', 'auditor']],
    [subjects.sagaSlots(), ['orchestrator-1', 'auditor']],
    [subjects.step(4, 'layer-4'), ['orchestrator-1']],
    [subjects.report(4, 'layer-4'), ['auditor', 'layer-4']],
    [subjects.report(4, 'layer-4-b'), ['auditor']],
    [subjects.capability(4, 'layer-4'), ['layer-4']],
    [subjects.healing('layer-4'), ['auditor']],
    [subjects.healing('healer'), ['auditor']],
    [subjects.request('op-1'), ['auditor', 'op-1']],
    [subjects.request('op-2'), ['auditor']],
    [subjects.signerLog(), ['signer']],
    [subjects.auditReceipt(), ['auditor']],
    [subjects.auditVerdict(), ['auditor']],
    [subjects.auditCheckpoint(), ['auditor']],
    [subjects.query('signer'), ['orchestrator-1', 'auditor', 'signer', 'layer-4', 'op-1']],
    [subjects.dead('layer-4'), ['layer-4']],
    [subjectsOf('other').sagaSlots(), []],
    [js.messageGet('GYRE_CONTROL'), ['orchestrator-1', 'auditor']],
    [js.messageGet('GYRE_DEAD'), ['auditor']],
    [js.streamInfo('GYRE_CONTROL'), ['orchestrator-1', 'auditor', 'signer']],
    [js.directGetLast('GYRE_CONTROL', subjects.report(4, 'layer-4')), ['layer-4']],
    [js.directGetLast('GYRE_CONTROL', subjects.sagaSlots()), ['signer']],
    [js.consumerNext('GYRE_CONTROL', durableName('layer-4', 'steps')), ['layer-4']],
    [js.consumerNext('GYRE_AUDIT', durableName('layer-4', 'receipts')), ['layer-4']],
    [js.consumerCreate('GYRE_CONTROL', followConsumerName('auditor', 0)), ['auditor']],
    [js.consumerCreate('GYRE_CONTROL', followConsumerName('signer', 0)), []],
    [
      js.consumerCreate('GYRE_CONTROL', followConsumerName('signer', 0), subjects.patterns.saga),
      ['signer'],
    ],
    [
      js.consumerCreate('GYRE_CONTROL', followConsumerName('signer', 0), subjects.patterns.step),
      [],
    ],
  ])('%s: %j', (subject, who) => {
    expect(whoMay(subject)).toEqual(who);
  });

  it('is layer 7 for the actions that it asks for, each agent for its own', () => {
    expect(may(healer, subjects.healing('healer'))).toBe(true);
    expect(may(healer, subjects.healing('layer-4'))).toBe(false);
  });

  it('is each layer agent for its own telemetry, and the readers for all of it', () => {
    const readers = [...everyone, healer];
    const whoOf = (subject: string) =>
      readers.filter((principal) => may(principal, subject)).map(({ id }) => id);
    expect(whoOf(subjects.telemetry(4, 'layer-4'))).toEqual(['layer-4']);
    expect(whoOf(subjects.telemetry(4, 'layer-4-b'))).toEqual([]);
    expect(whoOf(js.directGetLast('GYRE_BULK', subjects.telemetry(4, 'layer-4')))).toEqual([
      'layer-4',
    ]);
    expect(whoOf(js.streamInfo('GYRE_BULK'))).toEqual(['orchestrator-1', 'auditor', 'healer']);
    const { telemetry, saga } = subjects.patterns;
    for (const { id } of [orchestrator, auditor, layer, healer]) {
      const name = followConsumerName(id, 0);
      const expected = id === 'layer-4' ? [] : [id];
      expect(whoOf(js.consumerNext('GYRE_BULK', name))).toEqual(expected);
      expect(whoOf(js.consumerCreate('GYRE_BULK', name, telemetry))).toEqual(expected);
      expect(whoOf(js.consumerCreate('GYRE_BULK', name))).toEqual(id === 'healer' ? [] : expected);
      const isWhole = id === 'orchestrator-1' || id === 'auditor';
      expect(whoOf(js.consumerCreate('GYRE_CONTROL', name, saga))).toEqual(isWhole ? [id] : []);
    }
  });

  it('is nobody where a stream would change', () => {
    for (const stream of ['GYRE_CONTROL', 'GYRE_AUDIT', 'GYRE_BULK', 'GYRE_DEAD', 'OTHER']) {
      for (const build of [
        js.streamCreate,
        js.streamUpdate,
        js.streamPurge,
        js.streamDelete,
        js.streamRestore,
        js.messageDelete,
      ]) {
        expect([build(stream), whoMay(build(stream))]).toEqual([build(stream), []]);
      }
    }
  });

  it('is each for its own acknowledgements only', () => {
    for (const prefix of ['$JS.ACK', '$JS.ACK._.hash']) {
      const own = `${prefix}.GYRE_CONTROL.layer-4_steps.1.2.3.4.5`;
      expect(whoMay(own)).toEqual(['layer-4']);
      expect(whoMay(own.replace('layer-4_steps', 'layer-5_steps'))).toEqual([]);
    }
  });
});

describe('who may listen', () => {
  it('is each to its own inbox and its own questions', () => {
    for (const principal of everyone) {
      const { subscribe, answers } = permissionsOf('dev', principal);
      expect(allowsSubscription(subscribe, `${inboxPrefix(principal.id)}.x.*`)).toBe(true);
      const questions = allowsSubscription(subscribe, subjects.query(principal.id));
      expect([questions, answers]).toEqual(Array(2).fill(principal.kind !== 'operator'));
      for (const other of everyone.filter((one) => one !== principal)) {
        expect(allowsSubscription(subscribe, `${inboxPrefix(other.id)}.>`)).toBe(false);
        expect(allowsSubscription(subscribe, subjects.query(other.id))).toBe(false);
      }
      for (const all of ['>', '*', '*.>', '_INBOX.>', '$JS.>', subjects.patterns.saga]) {
        expect(allowsSubscription(subscribe, all)).toBe(false);
      }
    }
  });

  it('does not take a pattern for the subjects it covers', () => {
    expect(allowsSubscription(['a.*'], 'a.>')).toBe(false);
    expect(allowsSubscription(['a.b'], 'a.*')).toBe(false);
    expect(allowsSubscription(['a.*'], 'a.*')).toBe(true);
    expect(allowsSubscription(['a.>'], 'a.>')).toBe(true);
    expect(allowsSubscription(['a.>'], 'a')).toBe(false);
  });
});

it('reads are as wide as the office', () => {
  expect(everyone.map(readScopeOf)).toEqual([
    'streams',
    'streams',
    'own-subjects',
    'own-subjects',
    'none',
  ]);
});

it('a layer agent without a layer is a broken invariant', () => {
  expect(() => permissionsOf('dev', { id: 'layer-1', kind: 'layer' })).toThrow('has a layer');
});

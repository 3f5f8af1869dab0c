/** Subjects: built and parsed alike, covered by their streams, never widened by a name from outside. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  durableName,
  followConsumerName,
  inboxPrefix,
  streamOf,
  streamSubjects,
  subjectMatches,
  subjectsOf,
} from '#shared/bus/subjects.ts';

const subjects = subjectsOf('dev');

const addresses = [
  [subjects.sagaRotation('Rot_1-a'), { kind: 'saga-rotation', sagaId: 'Rot_1-a' }, 'GYRE_CONTROL'],
  [subjects.sagaSlots(), { kind: 'saga-slots' }, 'GYRE_CONTROL'],
  [subjects.step(3, 'layer-3'), { kind: 'step', layer: 3, agentId: 'layer-3' }, 'GYRE_CONTROL'],
  [subjects.report(7, 'heal'), { kind: 'report', layer: 7, agentId: 'heal' }, 'GYRE_CONTROL'],
  [subjects.capability(1, 'a'), { kind: 'capability', layer: 1, agentId: 'a' }, 'GYRE_CONTROL'],
  [subjects.request('op-1'), { kind: 'request', operatorId: 'op-1' }, 'GYRE_CONTROL'],
  [subjects.signerLog(), { kind: 'signer-log' }, 'GYRE_CONTROL'],
  [subjects.auditReceipt(), { kind: 'audit-receipt' }, 'GYRE_AUDIT'],
  [subjects.auditVerdict(), { kind: 'audit-verdict' }, 'GYRE_AUDIT'],
  [subjects.auditCheckpoint(), { kind: 'audit-checkpoint' }, 'GYRE_AUDIT'],
  [subjects.dead('layer-1'), { kind: 'dead', agentId: 'layer-1' }, 'GYRE_DEAD'],
  [subjects.query('signer'), { kind: 'query', agentId: 'signer' }, null],
] as const;

describe('subjects', () => {
  it.each(addresses)('%s is parsed as it was built', (subject, address, stream) => {
    expect(subjects.parse(subject)).toEqual(address);
    expect(streamOf(subjects, subject)).toBe(stream);
    const covering = Object.entries(streamSubjects(subjects))
      .filter(([, filters]) => filters.some((filter) => subjectMatches(filter, subject)))
      .map(([name]) => name);
    expect(covering).toEqual(stream === null ? [] : [stream]);
  });

  it.each([
    'gyre.v1.other.saga.slots',
    'gyre.v1.dev.saga',
    'gyre.v1.dev.saga.rotation',
    'gyre.v1.dev.saga.rotation.a.b',
    'gyre.v1.dev.step.8.layer-8',
    'gyre.v1.dev.step.01.layer-1',
    'gyre.v1.dev.report.1.Layer',
    'gyre.v1.dev.query.*',
    'gyre.v1.dev.',
    'gyre.v1.dev.toString.x',
    '',
  ])('%j is nobody’s subject', (subject) => {
    expect(subjects.parse(subject)).toBeNull();
    expect(streamOf(subjects, subject)).toBeNull();
  });

  it('takes no name that would widen a subject', () => {
    fc.assert(
      fc.property(
        fc.string({ maxLength: 12 }),
        fc.constantFrom('.', '*', '>', ' '),
        (name, bad) => {
          for (const build of [
            subjects.sagaRotation,
            subjects.request,
            subjects.query,
            inboxPrefix,
          ]) {
            expect(() => build(name + bad)).toThrow('not a subject token');
            expect(() => build(`a${bad}${name}`)).toThrow('not a subject token');
          }
        },
      ),
    );
    expect(() => subjectsOf('a.b')).toThrow('not a subject token');
    expect(() => subjects.step(0, 'layer-1')).toThrow('not 1 to 7');
    expect(() => followConsumerName('auditor', 6)).toThrow('no such follow slot');
    expect(durableName('layer-1', 'steps')).toBe('layer-1_steps');
  });
});

describe('patterns', () => {
  it.each([
    ['a.b', 'a.b', true],
    ['a.b', 'a.b.c', false],
    ['a.*', 'a.b', true],
    ['a.*', 'a', false],
    ['a.*', 'a.b.c', false],
    ['*.b', 'a.b', true],
    ['a.>', 'a.b.c', true],
    ['a.>', 'a', false],
    ['>', 'a', true],
    ['a.b*', 'a.bc', false],
  ])('%s against %s: %s', (pattern, subject, matches) => {
    expect(subjectMatches(pattern, subject)).toBe(matches);
  });
});

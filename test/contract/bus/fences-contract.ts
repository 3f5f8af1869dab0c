/** What the bus denies: subjects, consumers, streams and inboxes of others. */
import { describe, expect, it } from 'vitest';
import {
  durableName,
  followConsumerName,
  inboxPrefix,
  jetstreamSubjects,
} from '#shared/bus/subjects.ts';
import { bytes, message, quick, report, saga, step } from './bus-messages.ts';
import type { Given } from './bus-messages.ts';
import { subjects } from './bus-world.ts';

export function describePermissions(given: Given): void {
  describe('permissions', () => {
    it('keep a layer agent to its own subjects', async () => {
      const layer = await given.get().connect('layer-1', quick);
      for (const subject of [
        subjects.report(2, 'layer-2'),
        subjects.report(1, 'layer-2'),
        subjects.capability(2, 'layer-2'),
        subjects.dead('layer-2'),
        subjects.request('op-1'),
        subjects.auditReceipt(),
        subjects.signerLog(),
        saga,
        step,
      ]) {
        await expect(layer.publish(message(subject))).rejects.toMatchObject({ code: 'BUS_DENIED' });
      }
      const asking = layer.request(subjects.request('op-1'), bytes('in another name'), 1_000);
      await expect(asking).rejects.toMatchObject({ code: 'BUS_DENIED' });
      const foreign = {
        stream: 'GYRE_CONTROL',
        consumer: durableName('layer-2', 'steps'),
      } as const;
      const consuming = layer.consume({ ...foreign, inFlightMax: 1 }, () => Promise.resolve('ack'));
      await expect(consuming).rejects.toMatchObject({ code: 'BUS_DENIED' });
      await expect(layer.getMessage('GYRE_CONTROL', 1)).rejects.toMatchObject({
        code: 'BUS_DENIED',
      });
      await expect(layer.streamState('GYRE_CONTROL')).rejects.toMatchObject({ code: 'BUS_DENIED' });
      const reading = layer.lastMessage('GYRE_CONTROL', saga);
      await expect(reading).rejects.toMatchObject({ code: 'BUS_DENIED' });
    });

    it('keep an operator to requests and questions', async () => {
      const operator = await given.get().connect('op-1', quick);
      expect(await operator.publish(message(subjects.request('op-1')))).toMatchObject({
        status: 'stored',
      });
      for (const subject of [subjects.request('op-2'), saga, step, report]) {
        await expect(operator.publish(message(subject))).rejects.toMatchObject({
          code: 'BUS_DENIED',
        });
      }
      const reading = operator.lastMessage('GYRE_CONTROL', subjects.request('op-1'));
      await expect(reading).rejects.toMatchObject({ code: 'BUS_DENIED' });
    });

    it('let nobody change a stream, and no layer agent make a consumer', async () => {
      const world = given.get();
      const js = jetstreamSubjects;
      const own = durableName('layer-1', 'steps');
      for (const id of ['layer-1', 'orchestrator-1', 'auditor', 'signer', 'op-1']) {
        for (const subject of [
          js.streamUpdate('GYRE_CONTROL'),
          js.streamPurge('GYRE_CONTROL'),
          js.streamDelete('GYRE_CONTROL'),
          js.streamRestore('GYRE_CONTROL'),
          js.streamCreate('GYRE_OTHER'),
          js.messageDelete('GYRE_CONTROL'),
          js.consumerDelete('GYRE_CONTROL', own),
          js.consumerCreate('GYRE_CONTROL', own),
        ]) {
          expect([id, subject, await world.mayPublish(id, subject)]).toEqual([id, subject, false]);
        }
      }
      for (const subject of [
        js.consumerCreate('GYRE_CONTROL', followConsumerName('layer-1', 0)),
        js.consumerCreate('GYRE_CONTROL', own, step),
        js.consumerNext('GYRE_CONTROL', durableName('layer-2', 'steps')),
        js.consumerInfo('GYRE_CONTROL', durableName('layer-2', 'steps')),
        js.messageGet('GYRE_CONTROL'),
        js.streamInfo('GYRE_CONTROL'),
        js.directGetLast('GYRE_CONTROL', subjects.report(2, 'layer-2')),
      ]) {
        expect([subject, await world.mayPublish('layer-1', subject)]).toEqual([subject, false]);
      }
      expect(await world.mayPublish('layer-1', js.consumerInfo('GYRE_CONTROL', own))).toBe(true);
    });

    it('let nobody listen to the inboxes and streams of others', async () => {
      const world = given.get();
      for (const subject of [
        `${inboxPrefix('layer-2')}.>`,
        `${inboxPrefix('orchestrator-1')}.>`,
        '_INBOX.>',
        '*.>',
        '>',
        step,
        subjects.patterns.saga,
        subjects.patterns.query,
      ]) {
        expect([subject, await world.maySubscribe('layer-1', subject)]).toEqual([subject, false]);
      }
      expect(await world.maySubscribe('layer-1', `${inboxPrefix('layer-1')}.>`)).toBe(true);
      expect(await world.maySubscribe('op-1', subjects.query('op-1'))).toBe(false);
    });
  });
}

/**
 * The stores of the agents over the simulated disk: each of their writes is cut short before it and after
 * it, and what the next life finds is what was acknowledged, or that and the one thing that was on its
 * way. On a full disk they say so, and lose nothing.
 */

import { describe, expect, test } from 'vitest';
import { AuditLogError } from '#agents/auditor/log-error.ts';
import { AuditLog, type LogRecord } from '#agents/auditor/log.ts';
import { AdapterError } from '#agents/layers/adapter.ts';
import { EmbeddedAdapter } from '#agents/layers/embedded/embedded-adapter.ts';
import { openDatabase } from '#agents/layers/sqlite.ts';
import { StepStore } from '#agents/layers/step-store.ts';
import { EpochRecord } from '#agents/signer/epoch-record.ts';
import { EpochVault, VaultError } from '#agents/signer/epoch-vault.ts';
import type { Disk } from '#shared/runtime/disk.ts';
import { OutboxError, OutboxStore } from '#shared/runtime/outbox-store.ts';
import { simulatedCrypto } from '../../sim/cheap-crypto.ts';
import { drawsFrom } from '../../sim/seed.ts';
import { quiet } from '../../support/world.ts';
import { AgentDisk } from './agent-disk.ts';

const crypto = simulatedCrypto(drawsFrom(1));
const slot = '5/column-key';
const pointsMax = 400;

/** Runs `work` again and again, each time with its life ended one point later, until it comes through. */
async function atEveryPoint(
  work: (agent: AgentDisk, begin: () => Disk) => Promise<void>,
): Promise<number> {
  for (let point = 0; point < pointsMax; point += 1) {
    const agent = new AgentDisk(point);
    await work(agent, () => agent.begin((_, index) => index === point));
    const { isAlive } = agent.life;
    agent.disk.release();
    if (isAlive) return point;
  }
  throw new Error('the work has an end');
}

/** False where its process died of it: whatever error that became on its way. */
async function survives(agent: AgentDisk, work: () => void | Promise<void>): Promise<boolean> {
  try {
    await work();
  } catch (error) {
    if (agent.life.isAlive) throw error;
  }
  return agent.life.isAlive;
}

function adapterOf(agent: AgentDisk, disk: Disk): EmbeddedAdapter {
  const clock = { nowMs: () => 1, monotonicMs: () => agent.time.monotonicMs() };
  const after = () => ({ cancel: () => undefined });
  return EmbeddedAdapter.open({
    layer: 5,
    disk,
    crypto,
    clock: { ...clock, after },
    usageWindowMs: 0,
  });
}

describe('the key store', () => {
  test('begins, prepares and activates whatever point it dies at', async () => {
    const points = await atEveryPoint(async (agent, begin) => {
      let acknowledged = 'nothing';
      const turn = async (disk: Disk): Promise<void> => {
        const adapter = adapterOf(agent, disk);
        acknowledged = 'begun';
        await adapter.prepare(slot, 2);
        acknowledged = 'prepared';
        await adapter.activate(slot, 2, new Uint8Array(32));
        acknowledged = 'activated';
      };
      if (await survives(agent, () => turn(begin()))) return;
      const adapter = adapterOf(agent, agent.begin());
      const states = adapter.store.versions(slot).map(({ state }) => state);
      const found = { nothing: [1], begun: [1, 2], prepared: [2], activated: [2] }[acknowledged];
      expect(found).toContain(states.length);
      expect(states.filter((state) => state === 'primary')).toHaveLength(1);
      if (acknowledged === 'activated') expect(states[0]).toBe('primary');
      // The step is repeated, and comes to its end.
      await turn(agent.crash());
      expect(adapterOf(agent, agent.crash()).store.primary(slot)?.version).toBe(2);
      // To be told from the life that comes through.
      agent.life.crash();
    });
    expect(points).toBeGreaterThan(10);
  });

  test('on a full disk says so and changes nothing', async () => {
    const agent = new AgentDisk();
    const full = expect.objectContaining({ code: 'DISK_FULL' }) as unknown;
    agent.disk.isFull = true;
    expect(() => adapterOf(agent, agent.begin())).toThrow(full);
    agent.disk.isFull = false;
    const adapter = adapterOf(agent, agent.crash());
    agent.disk.isFull = true;
    for (let attempt = 0; attempt < 10; attempt += 1) {
      const refused = adapter.prepare(slot, 2);
      await expect(refused).rejects.toThrow(AdapterError);
      await expect(refused).rejects.toEqual(full);
    }
    agent.disk.isFull = false;
    await adapter.prepare(slot, 2);
    expect(adapter.store.versions(slot)).toHaveLength(2);
    agent.disk.release();
  });
});

describe('the outbox and the steps', () => {
  const message = (messageId: string) => ({
    messageId,
    subject: 'report.5.phi-a',
    data: Uint8Array.of(1),
    expectLastSubjectSequence: null,
  });
  const open = (disk: Disk) => {
    const database = openDatabase(disk, 'store.db');
    return { outbox: new OutboxStore(database), steps: new StepStore(database) };
  };

  test('a report is there or not, and never twice', async () => {
    await atEveryPoint(async (agent, begin) => {
      let acknowledged = 0;
      const send = (disk: Disk): Promise<boolean> =>
        survives(agent, () => {
          const { outbox, steps } = open(disk);
          for (const messageId of ['a', 'b']) {
            steps.recordReport(() => outbox.insert(message(messageId)));
            acknowledged += 1;
          }
          outbox.removeIds(['a']);
        });
      if (await send(begin())) return;
      const { outbox } = open(agent.begin());
      expect(outbox.totals().rows).toBe(outbox.due(0, 10).length);
      expect(outbox.totals().rows).toBeGreaterThanOrEqual(Math.min(acknowledged, 1));
      expect(await send(agent.crash())).toBe(true);
      expect(
        open(agent.crash())
          .outbox.due(0, 10)
          .map(({ messageId }) => messageId),
      ).toEqual(['b']);
      agent.life.crash();
    });
  });

  test('on a full disk nothing is enqueued, by its code', () => {
    const agent = new AgentDisk();
    const { outbox } = open(agent.begin());
    outbox.insert(message('held'));
    agent.disk.isFull = true;
    const full = expect.objectContaining({ code: 'OUTBOX_DISK_FULL' }) as unknown;
    for (let attempt = 0; attempt < 10; attempt += 1) {
      expect(() => outbox.insert(message('a'))).toThrow(full);
      expect(() => outbox.removeIds(['held'])).toThrow(OutboxError);
    }
    expect(outbox.totals().rows).toBe(1);
    agent.disk.release();
  });

  test('receipts of events of others write nothing where nothing waits', () => {
    const agent = new AgentDisk();
    const { outbox } = open(agent.begin());
    const before = agent.disk.changesOf('store.db');
    expect(outbox.removeIds(['a', 'b'])).toBe(0);
    expect(agent.disk.changesOf('store.db')).toBe(before);
    agent.disk.release();
  });
});

describe('the vault', () => {
  const token = {
    wrap: (bytes: Uint8Array) => Promise.resolve(Uint8Array.from([9, ...bytes])),
    unwrap: (bytes: Uint8Array) => Promise.resolve(bytes.slice(1)),
  };
  const secret = new Uint8Array(32).fill(5);
  const saga = (epoch: number) => ({ channel: 'saga', epoch });
  const open = async (disk: Disk) => {
    const record = new EpochRecord(disk.database('signer.db'));
    const vault = await EpochVault.open({ disk, mesh: 'test', token, record, log: quiet });
    return { record, vault };
  };

  test('keeps what it acknowledged and has nothing of what it dropped', async () => {
    const points = await atEveryPoint(async (agent, begin) => {
      const acknowledged: string[] = [];
      const turn = async (disk: Disk): Promise<void> => {
        const { vault } = await open(disk);
        await vault.keep({ ...saga(1), secret, standing: 'active' });
        acknowledged.push('kept 1');
        await vault.keep({ ...saga(2), secret, standing: 'active' });
        acknowledged.push('kept 2');
        await vault.drop(saga(1));
        acknowledged.push('dropped 1');
      };
      await agent.outcome(survives(agent, () => turn(begin())));
      if (agent.life.isAlive) return;
      const next = await agent.outcome(open(agent.begin()));
      if (next === 'never') throw new Error('the vault opens again');
      const held = (await next.vault.load()).map(({ epoch }) => epoch);
      if (acknowledged.includes('kept 2')) expect(held).toContain(2);
      else if (acknowledged.includes('kept 1')) expect(held).toContain(1);
      if (acknowledged.includes('dropped 1')) expect(held).not.toContain(1);
      for (const each of await next.vault.load()) expect(each.secret).toEqual(secret);
      for (const epoch of held) expect(next.record.isClosed(saga(epoch))).toBe(false);
      agent.life.crash();
    });
    expect(points).toBeGreaterThan(10);
  });

  test('on a full disk says so, to the record too', async () => {
    const agent = new AgentDisk();
    const opened = await agent.outcome(open(agent.begin()));
    if (opened === 'never') throw new Error('the vault opens');
    agent.disk.isFull = true;
    const kept = opened.vault.keep({ ...saga(1), secret, standing: 'active' });
    await expect(agent.outcome(kept)).rejects.toThrow(VaultError);
    const full = expect.objectContaining({ code: 'OUTBOX_DISK_FULL' }) as unknown;
    for (let attempt = 0; attempt < 10; attempt += 1) {
      expect(() => opened.record.close(saga(1))).toThrow(full);
    }
    expect(opened.record.isClosed(saga(1))).toBe(false);
    agent.disk.release();
  });
});

describe('the audit log', () => {
  const record = (leafIndex: number): LogRecord => ({
    leafIndex,
    sequence: leafIndex + 1,
    receivedAtMs: 1,
    verdict: 'accepted',
    frame: new Uint8Array(200).fill(leafIndex),
  });
  const open = async (disk: Disk) => {
    const records: LogRecord[] = [];
    const log = await AuditLog.open(await disk.logFile('audit.log'), (each) => records.push(each));
    return { log, records };
  };

  test('has every record that it acknowledged, in order, and no half of one', async () => {
    let cuts = 0;
    for (let seed = 0; seed < 40; seed += 1) {
      const points = await atEveryPoint(async (agent, begin) => {
        let acknowledged = 0;
        const turn = async (disk: Disk): Promise<void> => {
          const { log } = await open(disk);
          for (let leaf = log.size; leaf < 6; leaf += 2) {
            await log.append([record(leaf), record(leaf + 1)]);
            acknowledged = leaf + 2;
          }
        };
        await agent.outcome(turn(begin()));
        if (agent.life.isAlive) return;
        const next = await agent.outcome(open(agent.begin()));
        if (next === 'never') throw new Error('the log opens again');
        expect(next.records.length).toBeGreaterThanOrEqual(acknowledged);
        expect(next.records).toEqual(next.records.map((_, leaf) => record(leaf)));
        cuts += Math.sign(next.log.cutBytes);
        agent.life.crash();
      });
      expect(points).toBe(10);
    }
    expect(cuts).toBeGreaterThan(0);
  });

  test('on a full disk is as it was', async () => {
    const agent = new AgentDisk();
    const opened = await agent.outcome(open(agent.begin()));
    if (opened === 'never') throw new Error('the log opens');
    await agent.outcome(opened.log.append([record(0)]));
    const before = agent.disk.peekLog('audit.log')?.slice();
    agent.disk.isFull = true;
    for (let attempt = 0; attempt < 10; attempt += 1) {
      const appended = agent.outcome(opened.log.append([record(1)]));
      await expect(appended).rejects.toThrow(AuditLogError);
      expect(agent.disk.peekLog('audit.log')).toEqual(before);
    }
    agent.disk.isFull = false;
    await agent.outcome(opened.log.append([record(1)]));
    const again = await agent.outcome(open(agent.crash()));
    expect(again === 'never' ? [] : again.records).toHaveLength(2);
  });
});

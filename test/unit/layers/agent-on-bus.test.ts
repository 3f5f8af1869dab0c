/** A layer agent on the bus: consumers, outbox and receipts, advertisements, inspection, and its end. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { EmbeddedAdapter } from '#agents/layers/embedded/embedded-adapter.ts';
import { LayerAgent } from '#agents/layers/layer-agent.ts';
import { ReportOutbox } from '#agents/layers/report-outbox.ts';
import { openDatabase } from '#agents/layers/sqlite.ts';
import { StepStore } from '#agents/layers/step-store.ts';
import { nothingAdvertised } from '#schemas/negotiation.ts';
import { LayerInspection } from '#schemas/queries.ts';
import { compile } from '#schemas/primitives.ts';
import type { Bus } from '#shared/bus/bus.ts';
import { subjectsOf } from '#shared/bus/subjects.ts';
import type { AnyReceivedEvent } from '#shared/runtime/exchange.ts';
import { Outbox } from '#shared/runtime/outbox.ts';
import type { Principal } from '#shared/runtime/principal.ts';
import { SystemDisk } from '#shared/runtime/system-disk.ts';
import { crypto, quiet, type World } from '../../support/world.ts';
import { Director, stageWorld } from './director.ts';

const layer = 6;
const agentId = 'phi-a';
const slots = ['6/consent-signature', '6/patient-mac'];

let world: World;
let folder: string;
let orchestrator: { bus: Bus; exchange: Principal };
let heard: AnyReceivedEvent[];

beforeEach(async () => {
  world = await stageWorld();
  folder = mkdtempSync(join(tmpdir(), 'gyre-on-bus-'));
  heard = [];
  const bus = world.bus('orchestrator-a');
  const exchange = world.principal('orchestrator-a', { bus });
  orchestrator = { bus, exchange };
  const { report, capability } = subjectsOf(world.mesh).patterns;
  await bus.follow(
    { stream: 'GYRE_CONTROL', subjects: [report, capability], fromSequence: 1 },
    (message) => {
      const opening = exchange.open(message);
      if (opening.status === 'opened') heard.push(opening.event);
    },
  );
});

afterEach(async () => {
  await orchestrator.bus.close();
  rmSync(folder, { recursive: true });
});

test('commands come in, reports go out, and leave the outbox with their receipts', async () => {
  const running = await start();
  await until(() => heard.some(({ type }) => type === 'capability-advertised'));
  const advertised = heard.find((event) => event.type === 'capability-advertised');
  expect(advertised?.body).toMatchObject({ adapter: 'embedded', ready: true });

  const message = await command('bus-1', await running.inspect());
  await orchestrator.bus.publish(message);
  await until(() => reported().length === 1);
  const [report] = reported();
  expect(report?.body).toMatchObject({ status: 'done', commandId: message.commandId });
  expect(waiting()).toContain(report?.hash);

  const auditor = world.principal('auditor');
  await auditor.publish({
    type: 'receipts-issued',
    subject: subjectsOf(world.mesh).auditReceipt(),
    channel: 'mesh',
    body: {
      treeSize: 1,
      rootHash: '4'.repeat(64),
      entries: heard.map(({ hash }, leafIndex) => ({
        statementHash: hash,
        leafIndex,
        verdict: 'accepted' as const,
      })),
    },
  });
  await until(() => !waiting().includes(report?.hash));
  await running.stop();
});

test('it is inspected by those who may, and by nobody else', async () => {
  const running = await start();
  const to = { agentId, channel: `layer-${layer}` };
  const answer = await orchestrator.exchange.ask(to, { ask: 'layer-inspect' }, 2_000);
  if (!answer.ok) throw new Error(answer.reason);
  const inspection = answer.result;
  expect(compile(LayerInspection).check(inspection)).toBe(true);
  expect(inspection).toMatchObject({ agentId, ready: true, fingerprint: running.fingerprint });
  expect(Reflect.get(inspection as object, 'slots')).toMatchObject([
    { slot: slots[0], version: 1, frozen: false, accepted: [1] },
    { slot: slots[1], version: 1, frozen: false, accepted: [1] },
  ]);
  const other = await orchestrator.exchange.ask(to, { ask: 'mesh-status' }, 2_000);
  expect(other).toMatchObject({ ok: false, code: 'ORCH-8012' });
  await running.stop();
});

test('a command that waits while the agent is away is done when it is back, once', async () => {
  const first = await start();
  const message = await command('bus-2', await first.inspect());
  await first.stop();
  await orchestrator.bus.publish(message);
  const second = await start();
  await until(() => reported().length === 1);
  await second.stop();
  const third = await start();
  await third.stop();
  const ids = reported().map(({ body }) => body.commandId);
  expect(new Set(ids)).toEqual(new Set([message.commandId]));
});

async function start() {
  const { trust, clock } = world;
  const adapter = EmbeddedAdapter.open({
    layer,
    disk: new SystemDisk(folder),
    crypto,
    clock,
    usageWindowMs: 0,
  });
  const bus = world.bus(agentId);
  const exchange = world.principal(agentId, { bus });
  const database = openDatabase(new SystemDisk(folder), 'store.db');
  const store = new StepStore(database);
  const queue = new Outbox({ database, clock, onConflict: () => {}, onTrouble: () => {} });
  const outbox = new ReportOutbox({ outbox: queue, bus, exchange, log: quiet });
  const ports = { layer, exchange, bus, outbox, store, adapter, trust, crypto, clock } as const;
  const agent = new LayerAgent({ ...ports, claims: () => nothingAdvertised, log: quiet });
  await outbox.start();
  await agent.start();
  return {
    fingerprint: adapter.fingerprint(),
    inspect: async () => await agent.inspect(),
    stop: async () => {
      await agent.stop();
      await outbox.stop();
      await bus.close();
      adapter.close();
      database.close();
    },
  };
}

/** A preparation as an orchestrator would publish it. */
async function command(planId: string, inspection: LayerInspection) {
  const addressee = { agentId, layer } as const;
  const member = { ...addressee, inspect: async () => inspection };
  const director = await Director.plan(world, [member], { planId, layers: [layer] });
  const body = await director.body(addressee, 'prepare');
  const { subject, data } = director.message(addressee, body, orchestrator.exchange);
  return { subject, data, messageId: `test-${planId}`, commandId: body.commandId };
}

function reported() {
  return heard.filter((event) => event.type === 'step-reported');
}

/** Ids of the messages that still wait in the outbox. */
function waiting(): unknown[] {
  const database = new DatabaseSync(join(folder, 'store.db'), { readOnly: true });
  const rows = database.prepare('SELECT message_id FROM outbox').all();
  database.close();
  return rows.map((row) => row['message_id']);
}

async function until(condition: () => boolean): Promise<void> {
  for (let attempt = 0; attempt < 200; attempt += 1) {
    if (condition()) return;
    await new Promise((resolve) => {
      setTimeout(resolve, 20);
    });
  }
  throw new Error('the condition was never met');
}

/**
 * How fast events become durable: plain JetStream publishes of one event each, beside sealed batches
 * of the same events, post-quantum and classical, on one server per sync mode. In turn within one run,
 * the same payloads; a sample ends when the server has acknowledged everything. Sealing is in the
 * sample; the plain publish has nothing to seal.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { jetstream, jetstreamManager, type JetStreamClient } from '@nats-io/jetstream';
import { connect, type NatsConnection } from '@nats-io/transport-node';
import { createNativeProvider } from '#shared/crypto/native-provider.ts';
import { findNatsServer, freePort } from '../test/support/nats-server.ts';
import { classicalSuite, postQuantumSuite } from './classical-suite.ts';
import { bulkLane, payloadSizes } from './lanes.ts';
import { summarise, type Summary } from './measure.ts';
import type { Row } from './report.ts';

const syncModes = { 'sync default': '', 'sync always': 'sync_interval: always' } as const;
/** Plain publishes that may wait for their acknowledgement at once. */
const inFlightMax = 512;
const plainEvents = 2048;
const budgetMs = 25_000;
const streamBytesMax = 512 * 1024 * 1024;
const connectMsMax = 10_000;

interface Contender {
  readonly name: string;
  readonly events: number;
  publish(js: JetStreamClient): Promise<void>;
}

export async function publishingRows(runs: number): Promise<Row[]> {
  const rows: Row[] = [];
  for (const [mode, line] of Object.entries(syncModes)) {
    const server = await Server.start(line);
    try {
      for (const bytes of payloadSizes)
        rows.push(...(await sizeRows(server, { mode, bytes, runs })));
    } finally {
      await server.stop();
    }
  }
  return rows;
}

async function sizeRows(
  server: Server,
  { mode, bytes, runs }: { readonly mode: string; readonly bytes: number; readonly runs: number },
): Promise<Row[]> {
  const native = createNativeProvider();
  const payload = native.randomBytes(bytes);
  const contenders = [
    plain(payload),
    sealed(bulkLane(classicalSuite(native), bytes)),
    sealed(bulkLane(postQuantumSuite(native), bytes)),
  ];
  const samples = contenders.map((): number[] => []);
  const deadlineMs = performance.now() + budgetMs;
  for (let round = -1; round < runs; round += 1) {
    if (round > 0 && performance.now() > deadlineMs) break;
    for (const [index, contender] of contenders.entries()) {
      const startMs = performance.now();
      await contender.publish(server.js);
      if (round >= 0) samples[index]?.push((performance.now() - startMs) / contender.events);
    }
    await server.empty();
  }
  const [raw, classical, postQuantum] = samples.map((each) => summarise(each));
  if (!raw || !classical || !postQuantum) throw new Error('assertion: three summaries');
  const group = `made durable, ${mode}, events of ${bytes} B`;
  const rate = ({ medianMs }: Summary): string => `${Math.round(1000 / medianMs)} per second`;
  const times = (raw.medianMs / postQuantum.medianMs).toFixed(2);
  const overhead = ((postQuantum.medianMs / classical.medianMs - 1) * 100).toFixed(1);
  const aim = mode === 'sync always' ? 5 : 1;
  return [
    { group, name: contenders[0]?.name ?? '', summary: raw, note: rate(raw) },
    { group, name: contenders[1]?.name ?? '', summary: classical, note: rate(classical) },
    {
      group,
      name: contenders[2]?.name ?? '',
      summary: postQuantum,
      note: `${rate(postQuantum)}; ${times} × plain (aim ${aim}); ${overhead} % over classical (aim 10)`,
    },
  ];
}

function plain(payload: Uint8Array): Contender {
  return {
    name: 'plain publishes, one event each',
    events: plainEvents,
    publish: async (js) => {
      let begun = 0;
      const lane = async (): Promise<void> => {
        while (begun < plainEvents) {
          begun += 1;
          await js.publish('bench.plain', payload);
        }
      };
      await Promise.all(Array.from({ length: inFlightMax }, lane));
    },
  };
}

function sealed(lane: ReturnType<typeof bulkLane>): Contender {
  return {
    name: lane.name,
    events: lane.events,
    publish: async (js) => {
      const frames = await lane.produce();
      await Promise.all(frames.map((frame) => js.publish('bench.bulk', frame)));
    },
  };
}

/** A server of its own on the loopback address, with a store that goes with it. */
class Server {
  readonly js: JetStreamClient;
  readonly #process: ChildProcess;
  readonly #connection: NatsConnection;
  readonly #folder: string;

  private constructor(process: ChildProcess, connection: NatsConnection, folder: string) {
    this.#process = process;
    this.#connection = connection;
    this.#folder = folder;
    this.js = jetstream(connection);
  }

  static async start(syncLine: string): Promise<Server> {
    const folder = await mkdtemp(join(tmpdir(), 'gyre-bench-'));
    const port = await freePort();
    const config = join(folder, 'server.conf');
    const text = `listen: 127.0.0.1:${port}\njetstream { store_dir: ${JSON.stringify(folder)}\n${syncLine} }\n`;
    await writeFile(config, text);
    const child = spawn(findNatsServer(), ['-c', config], { stdio: 'ignore' });
    try {
      const connection = await reach(port);
      const server = new Server(child, connection, folder);
      const manager = await jetstreamManager(connection);
      const subjects = ['bench.>'];
      await manager.streams.add({ name: 'BENCH', subjects, max_bytes: streamBytesMax });
      return server;
    } catch (error) {
      child.kill('SIGKILL');
      await rm(folder, { recursive: true, force: true });
      throw error;
    }
  }

  /** Between rounds, so that the store does not grow with the number of runs. */
  async empty(): Promise<void> {
    const manager = await jetstreamManager(this.#connection);
    await manager.streams.purge('BENCH');
  }

  async stop(): Promise<void> {
    await this.#connection.close();
    const ended = new Promise((resolve) => this.#process.once('exit', resolve));
    this.#process.kill('SIGKILL');
    await ended;
    await rm(this.#folder, { recursive: true, force: true });
  }
}

async function reach(port: number): Promise<NatsConnection> {
  const deadlineMs = performance.now() + connectMsMax;
  for (;;) {
    try {
      return await connect({ servers: `127.0.0.1:${port}`, reconnect: false });
    } catch (error) {
      if (performance.now() > deadlineMs) throw error;
      await new Promise((resolve) => {
        setTimeout(resolve, 50);
      });
    }
  }
}

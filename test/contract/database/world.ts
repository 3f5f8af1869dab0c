/**
 * Layers 2, 4 and 5 in one folder over real sockets, layer 5 on the database that the suite is run for,
 * with faults where a test asks for them.
 */
import { openService as openEncryption } from '#agents/layers/4-encryption/service.ts';
import type {
  Actor,
  Database,
  Row,
  Statements,
  Value,
} from '#agents/layers/5-database/database.ts';
import { serviceOn } from '#agents/layers/5-database/service.ts';
import type { RemoteAdapter } from '#agents/layers/service/remote-adapter.ts';
import { toBase64Url, utf8 } from '#shared/crypto/bytes.ts';
import { capabilityOf, openCapabilityDesk } from '../../support/capability-desk.ts';
import { logTo } from '../../support/log-lines.ts';
import { RunningService, serviceFolder } from '../../support/layer-service.ts';
import { ManualClock } from '../../unit/runtime/manual-clock.ts';

export interface TestedDatabase {
  readonly database: Database;
  /** As somebody whom nothing holds back. */
  thief(text: string, values?: readonly Value[]): Promise<readonly Row[]>;
  close(): Promise<void>;
}

/** A database that loses power at one of the statements of its upkeep. */
export class FaultyDatabase implements Database {
  readonly kind;
  readonly #database: Database;
  /** Statements until the next fault; none while undefined. */
  failsAfter: number | undefined;
  faults = 0;

  constructor(database: Database) {
    this.#database = database;
    this.kind = database.kind;
  }

  transact<Result>(actor: Actor, work: (on: Statements) => Promise<Result>): Promise<Result> {
    return this.#database.transact(actor, (on) =>
      actor.role === 'gyre_keeper' ? work(this.#faulty(on)) : work(on),
    );
  }

  transactAsOwner: Database['transactAsOwner'] = (work) => this.#database.transactAsOwner(work);

  /** It stays for the next start. */
  async close(): Promise<void> {}

  #faulty(on: Statements): Statements {
    return {
      rows: async (text, values) => {
        const isChange = text.includes('UPDATE');
        if (isChange && this.failsAfter !== undefined) {
          this.failsAfter -= 1;
          if (this.failsAfter < 0) {
            this.faults += 1;
            this.failsAfter = undefined;
            throw new Error('the power is gone');
          }
        }
        return await on.rows(text, values);
      },
    };
  }
}

export class DatabaseWorld {
  readonly clock = new ManualClock();
  /** Every line of layer 5's log. */
  readonly lines: string[];
  readonly faulty: FaultyDatabase;
  readonly encryption: RunningService;
  readonly service: RunningService;
  readonly adapter: RemoteAdapter;
  readonly encryptionAdapter: RemoteAdapter;
  readonly #desk: RunningService;

  private constructor(parts: {
    faulty: FaultyDatabase;
    running: readonly [RunningService, RunningService, RunningService];
    adapters: readonly [RemoteAdapter, RemoteAdapter];
    clock: ManualClock;
    lines: string[];
  }) {
    this.faulty = parts.faulty;
    [this.#desk, this.encryption, this.service] = parts.running;
    [this.encryptionAdapter, this.adapter] = parts.adapters;
    this.clock = parts.clock;
    this.lines = parts.lines;
  }

  static async start({ database }: TestedDatabase): Promise<DatabaseWorld> {
    const folder = serviceFolder();
    const clock = new ManualClock();
    const faulty = new FaultyDatabase(database);
    const lines: string[] = [];
    const config = { recentUseMs: 0 };
    const common = { folder, clock, config };
    const running = [
      await RunningService.start({ layer: 2, open: openCapabilityDesk, ...common }),
      await RunningService.start({ layer: 4, open: openEncryption, ...common }),
      await RunningService.start({
        layer: 5,
        open: (ports) => serviceOn(ports, faulty),
        log: logTo(lines),
        ...common,
      }),
    ] as const;
    const adapters = [await running[1].adapter(), await running[2].adapter()] as const;
    return new DatabaseWorld({ faulty, running, adapters, clock, lines });
  }

  async end(): Promise<void> {
    this.adapter.close();
    this.encryptionAdapter.close();
    for (const each of [this.service, this.encryption, this.#desk]) await each.end();
  }

  async put(id: string, columns: Record<string, string>, more: Record<string, unknown> = {}) {
    const written = Object.entries(columns).map(([name, text]) => [name, toBase64Url(utf8(text))]);
    const body = { owner: 'ann', kind: 'note', columns: Object.fromEntries(written), ...more };
    const path = `/internal/v1/records/${id}`;
    return await this.service.asPeer(6).ask({ method: 'PUT', path, body });
  }

  async get(id: string, owner = 'ann') {
    const path = `/internal/v1/records/${id}?owner=${owner}`;
    return await this.service.asPeer(6).ask({ method: 'GET', path });
  }

  /** With a capability, as whoever has one. */
  async write(subject: string, id: string, text: string) {
    return await this.service.client.ask({
      method: 'PUT',
      path: `/v1/records/${id}`,
      headers: capabilityOf(subject, 'record:write'),
      body: { kind: 'note', columns: { text } },
    });
  }

  async read(subject: string, id: string) {
    const headers = capabilityOf(subject, 'record:read');
    return await this.service.client.ask({ method: 'GET', path: `/v1/records/${id}`, headers });
  }

  async remove(subject: string, id: string) {
    const headers = capabilityOf(subject, 'record:write');
    return await this.service.client.ask({ method: 'DELETE', path: `/v1/records/${id}`, headers });
  }

  /** The text of a record's column `text`. @throws unless it is read */
  async text(id: string, owner = 'ann'): Promise<string> {
    const answer = await this.get(id, owner);
    if (answer.status !== 'done') throw new Error(`${id}: ${answer.code}`);
    const { columns } = answer.body as { columns: Record<string, string> };
    return Buffer.from(columns['text'] ?? '', 'base64url').toString();
  }

  /** The faults of the whole chain, page by page. */
  async faults(limit = 64): Promise<{ code: string; sequence: number }[]> {
    const faults: { code: string; sequence: number }[] = [];
    for (let after: unknown; ;) {
      const body = after === undefined ? { limit } : { limit, after };
      const path = '/v1/admin/chain/verifications';
      const answer = await this.service.control.ask({ method: 'POST', path, body });
      if (answer.status !== 'done') throw new Error(answer.code);
      const page = answer.body as { faults: typeof faults; last: unknown; isDone: boolean };
      faults.push(...page.faults);
      if (page.isDone) return faults;
      after = page.last;
    }
  }

  async turn(slot: string, version: number): Promise<void> {
    await this.adapter.prepare(slot, version);
    await this.adapter.activate(slot, version, new Uint8Array([1]));
    const { ok, reason } = await this.adapter.verify(slot, version);
    if (!ok) throw new Error(reason);
  }

  /** Lets the work in the background go on until `isOver`. */
  async until(isOver: () => Promise<boolean> | boolean, stepMs = 5): Promise<void> {
    for (let tries = 0; !(await isOver()); tries += 1) {
      if (tries > 4_000) throw new Error('the work in the background does not come to an end');
      await this.clock.advance(stepMs);
      await new Promise((resolve) => setTimeout(resolve, 2));
    }
  }
}

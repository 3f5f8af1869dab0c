/** What layer 5 may be asked: with a capability, by layer 6 on its own socket, and by administrators. */

import type { Context, Hono } from 'hono';
import type { LayerNumber } from '#schemas/layers.ts';
import {
  IntegerRange,
  List,
  MapOf,
  StrictObject,
  Text,
  Type,
  Uint,
  compile,
} from '#schemas/primitives.ts';
import { fromBase64Url, fromHex, toBase64Url, toHex } from '#shared/crypto/bytes.ts';
import type { Log } from '#shared/runtime/ports.ts';
import { AdapterError } from '../adapter.ts';
import {
  capabilityStatus,
  requireCapability,
  type CapabilityCode,
  type CapabilityDesk,
} from '../service/capability-check.ts';
import {
  bodyOf,
  misfit,
  Refused,
  serviceApp,
  type RefusalCounts,
  type ServiceApps,
} from '../service/http-app.ts';
import type { ChainCheck } from './chain-check.ts';
import { chainBegin, type ChainPlace } from './chain-place.ts';
import type { Entry, RecordKey } from './record-entry.ts';
import { recordStatus, type RecordCode, type Records, type StoredRecord } from './records.ts';

const bodyBytesMax = 1024 * 1024;
const columnsMax = 32;
/** Of one column, as unpadded base64url. */
const columnCharsMax = 262_144;
const listMax = 50;
/** Of the columns of one answer, in characters; one record always fits. */
const listCharsMax = 2 * 1024 * 1024;
const pageMax = 512;
const status = { ...capabilityStatus, ...recordStatus };

const RecordId = Type.String({ pattern: '^[A-Za-z0-9][A-Za-z0-9._~:@-]{0,127}$' });
const Owner = Text(256);
/** Of a cell, whatever somebody made of it. */
const CellText = Type.String({ maxLength: 4_096 });
const written = {
  kind: Type.String({ pattern: '^[a-z][a-z0-9-]{0,62}$' }),
  columns: MapOf(Type.String({ pattern: '^[A-Za-z0-9_-]*$', maxLength: columnCharsMax }), {
    keyPattern: '^[a-z][a-z0-9_]{0,62}$',
    entriesMax: columnsMax,
  }),
  /** Names of other records. */
  links: Type.Optional(List(RecordId, { itemsMax: 16 })),
  revision: Type.Optional(IntegerRange({ min: 1, max: Number.MAX_SAFE_INTEGER })),
};

const checks = {
  ofOwner: compile(StrictObject({ owner: Owner, ...written })),
  ofSubject: compile(StrictObject(written)),
  id: compile(RecordId),
  owner: compile(Owner),
  query: compile(
    StrictObject({
      owner: Type.Optional(Owner),
      kind: Type.Optional(written.kind),
      after: Type.Optional(RecordId),
      limit: Type.Optional(Type.String({ pattern: '^[0-9]{1,3}$' })),
    }),
  ),
  verification: compile(
    StrictObject({
      after: Type.Optional(
        StrictObject({
          sequence: Uint(),
          hash: Type.String({ pattern: '^[0-9a-f]{96}$' }),
          cell: Type.Optional(Type.Tuple([CellText, CellText, CellText, CellText])),
        }),
      ),
      limit: Type.Optional(IntegerRange({ min: 1, max: pageMax })),
    }),
  ),
};

type Written = {
  readonly kind: string;
  readonly columns: Readonly<Record<string, string>>;
  readonly links?: readonly string[];
  readonly revision?: number;
};

export interface DatabaseRoutesOptions {
  readonly records: Records;
  readonly check: ChainCheck;
  readonly desk: CapabilityDesk;
  readonly health: () => unknown;
  readonly log: Log;
}

export interface DatabaseApps extends ServiceApps {
  readonly adminRoutes: Hono;
}

export function databaseRoutes(options: DatabaseRoutesOptions): DatabaseApps {
  const { records, desk, health, log } = options;
  const service = serviceApp<CapabilityCode | RecordCode>({ log, status, bodyBytesMax });
  const { app, refusals } = service;
  app.get('/v1/health', (context) => context.json(health()));
  app.put('/v1/records/:id', async (context) => {
    const { subject } = await requireCapability(context, desk, 'record:write');
    const asked = await bodyOf(context, checks.ofSubject);
    const key = { namespace: 'public', id: idOf(context), owner: subject } as const;
    return context.json(await put(records, { ...key, asked }));
  });
  app.get('/v1/records/:id', async (context) => {
    const { subject } = await requireCapability(context, desk, 'record:read');
    const key = { namespace: 'public', owner: subject, id: idOf(context) } as const;
    return context.json(shown(await served(() => records.get(key))));
  });
  app.delete('/v1/records/:id', async (context) => {
    const { subject } = await requireCapability(context, desk, 'record:write');
    const key = { namespace: 'public', owner: subject, id: idOf(context) } as const;
    const entry = await served(() => records.remove(key));
    return context.json({ ...summary(entry), isDeleted: true });
  });
  return {
    app,
    refusals,
    peerRoutes: { 6: layerRoutes(options, refusals, 6) },
    adminRoutes: chainRoutes(options, refusals),
  };
}

/** For one other layer, which says whose its records are: its own, whatever those of others are called. */
function layerRoutes(
  { records, log }: DatabaseRoutesOptions,
  refusals: RefusalCounts,
  peer: LayerNumber,
): Hono {
  const namespace = `layer-${peer}` as const;
  const { app } = serviceApp<RecordCode>({ log, status, bodyBytesMax, refusals });
  app.put('/internal/v1/records/:id', async (context) => {
    const { owner, ...asked } = await bodyOf(context, checks.ofOwner);
    return context.json(await put(records, { namespace, id: idOf(context), owner, asked }));
  });
  app.get('/internal/v1/records/:id', async (context) => {
    const { owner = '' } = queryOf(context);
    const key = { namespace, owner, id: idOf(context) };
    return context.json(shown(await served(() => records.get(key))));
  });
  app.get('/internal/v1/records', async (context) => {
    const { owner = '', kind, after, limit } = queryOf(context);
    const query = {
      namespace,
      owner,
      ...(kind === undefined ? {} : { kind }),
      ...(after === undefined ? {} : { after }),
      limit: Math.min(listMax, Math.max(1, Number(limit ?? listMax))),
    };
    const found = await served(() => records.list(query));
    return context.json(pageOf(found.map(shown), query.limit));
  });
  return app;
}

/** For administrators: whether the whole chain holds. */
function chainRoutes({ check, log }: DatabaseRoutesOptions, refusals: RefusalCounts): Hono {
  const { app } = serviceApp<RecordCode>({ log, status, refusals });
  app.post('/chain/verifications', async (context) => {
    const { after, limit = pageMax } = await bodyOf(context, checks.verification);
    const report = await served(() => check.page(placeOf(after), limit));
    const { verified, isDone, last, faults, ends, stray } = report;
    const { sequence, hash, cell } = last;
    const codes = stray === undefined ? ends : (['CELL_STRAY'] as const);
    return context.json({
      verified,
      isDone,
      last: { sequence, hash: toHex(hash), ...(cell === undefined ? {} : { cell }) },
      faults: [...faults, ...codes.map((code) => ({ code, sequence }))],
    });
  });
  return app;
}

async function put(records: Records, { asked, ...key }: RecordKey & { readonly asked: Written }) {
  if (key.owner === '' || !key.owner.isWellFormed()) {
    throw new Refused('REQUEST_MALFORMED', 'a record has an owner');
  }
  const columns = new Map<string, Uint8Array>();
  for (const [name, text] of Object.entries(asked.columns)) {
    const bytes = fromBase64Url(text);
    if (bytes === undefined) {
      throw new Refused('REQUEST_MALFORMED', `/columns/${name}: must be base64url`);
    }
    columns.set(name, bytes);
  }
  const { kind, links = [], revision } = asked;
  const input = { ...key, kind, links, columns };
  const entry = await served(() =>
    records.put(revision === undefined ? input : { ...input, revision }),
  );
  return summary(entry);
}

function summary({ id, sequence, revision, hash, signatureVersion }: Entry) {
  return { id, sequence, revision, hash: toHex(hash), signatureVersion };
}

function shown({ entry, columns }: StoredRecord) {
  const { owner, kind, links, writtenAtMs } = entry;
  return {
    ...summary(entry),
    owner,
    kind,
    links,
    writtenAtMs,
    columns: Object.fromEntries([...columns].map(([name, bytes]) => [name, toBase64Url(bytes)])),
  };
}

/** As many as fit, and the name behind which the rest begins, if there may be a rest. */
function pageOf(found: readonly ReturnType<typeof shown>[], limit: number) {
  let chars = 0;
  const records = found.filter(({ columns }, index) => {
    chars += Object.values(columns).reduce((sum, text) => sum + text.length, 0);
    return index === 0 || chars <= listCharsMax;
  });
  const last = records.at(-1);
  const isWhole = records.length === found.length && found.length < limit;
  return isWhole || last === undefined ? { records } : { records, next: last.id };
}

function placeOf(
  after: (Omit<ChainPlace, 'hash'> & { readonly hash: string }) | undefined,
): ChainPlace {
  const hash = fromHex(after?.hash ?? '');
  return after === undefined || hash === undefined ? chainBegin : { ...after, hash };
}

function idOf(context: Context): string {
  const id = context.req.param('id');
  if (checks.id.check(id)) return id;
  throw new Refused('REQUEST_MALFORMED', 'this is no name of a record');
}

function queryOf(context: Context) {
  const query = context.req.query();
  if (!checks.query.check(query)) {
    throw new Refused('REQUEST_MALFORMED', misfit('the query', checks.query, query));
  }
  if ((query.owner ?? '').isWellFormed()) return query;
  throw new Refused('REQUEST_MALFORMED', 'the query does not fit at /owner: must be well-formed');
}

/** A database that does not answer is worth another try. */
async function served<Result>(work: () => Promise<Result>): Promise<Result> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof AdapterError && error.code === 'SYSTEM_UNREACHABLE') {
      throw new Refused<RecordCode>('DATABASE_UNAVAILABLE', 'the database does not answer', {
        retryable: true,
      });
    }
    throw error;
  }
}

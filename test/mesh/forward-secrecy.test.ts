/**
 * Forward secrecy, by a thief who has recorded all traffic and takes everything: all files of all
 * members, the token with its PIN, every secret that either of them opens. While an epoch is open the
 * thief reads it; once it is closed nothing reads it, but the archive key what the archive holds.
 */

import { mkdtempSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { AuditLog, type LogRecord } from '#agents/auditor/log.ts';
import { EpochRecord } from '#agents/signer/epoch-record.ts';
import { EpochVault } from '#agents/signer/epoch-vault.ts';
import { openFileToken } from '#shared/runtime/token/file-token.ts';
import { openPkcs11Token } from '#shared/runtime/token/pkcs11-token.ts';
import type { Token } from '#shared/runtime/token/token.ts';
import { EpochEntry, type EpochCapsule } from '#schemas/epoch.ts';
import { compile } from '#schemas/primitives.ts';
import { archiveChannel, noticesChannel } from '#shared/core/channels.ts';
import { openArchived } from '#shared/crypto/audit-archive.ts';
import { isContentOf } from '#shared/crypto/audit-event.ts';
import { toHex } from '#shared/crypto/bytes.ts';
import {
  openFrame,
  parseFrame,
  statementHashOf,
  type ParsedFrame,
} from '#shared/crypto/envelope.ts';
import { secretCommitment } from '#shared/crypto/epoch-capsule.ts';
import { hybridPublicKey } from '#shared/crypto/hybrid-kem.ts';
import { noticesSecret } from '#shared/crypto/keyring.ts';
import type { HeldEpoch } from '#shared/runtime/epoch-store.ts';
import { SystemDisk } from '#shared/runtime/system-disk.ts';
import { SecrecyMesh } from '../support/secrecy-mesh.ts';
import { makeSoftHsmToken, softHsm } from '../support/softhsm.ts';
import { crypto, quiet } from '../support/world.ts';

const agents = ['signer', 'auditor', 'orchestrator-a', 'orchestrator-b', 'identity-a', 'network-a'];
const secretWords = 'what identity-a said before';
const hourMs = 3_600_000;
const entryCheck = compile(EpochEntry);

interface TokenPlace {
  readonly open: () => Promise<Token>;
  readonly directory: string;
  readonly remove: () => Promise<void> | void;
}

async function tokenPlace(): Promise<TokenPlace> {
  if ('libraryPath' in softHsm) {
    const { options, dir, remove } = await makeSoftHsmToken();
    return { open: () => openPkcs11Token(options), directory: dir, remove };
  }
  const directory = mkdtempSync(path.join(tmpdir(), 'gyre-secrecy-token-'));
  const pin = () => Buffer.from('a-pin');
  const open = () => openFileToken({ label: 'secrecy', directory, pin });
  return { open, directory, remove: () => rmSync(directory, { recursive: true }) };
}

let place: TokenPlace;
let mesh: SecrecyMesh;
/** The epoch of each channel that was in use when everything had been said that is looked for. */
let then: ReadonlyMap<string, number>;

/** Whether an epoch of a channel that has secrets was in use then, or before. */
function isUpToThen({ channel, epoch }: { channel: string; epoch: number }): boolean {
  return epoch <= (then.get(channel) ?? 0);
}

/** Recorded frames that are sealed under epochs up to then, of channels that have secrets. */
function framesUpToThen(): ParsedFrame[] {
  return mesh.traffic.flatMap((bytes) => {
    const parsed = parseFrame(bytes);
    if (!parsed.ok || parsed.frame.header.channel === noticesChannel) return [];
    return isUpToThen(parsed.frame.header) ? [parsed.frame] : [];
  });
}

interface Announced {
  readonly channel: string;
  readonly epoch: number;
  readonly commitment: string;
  readonly capsules: readonly EpochCapsule[];
}

/** What the epoch logs say in public: commitments and capsules of the epochs up to then. */
function announcedUpToThen(): Announced[] {
  const { secret } = noticesSecret(crypto, mesh.world.mesh);
  return mesh.traffic.flatMap((bytes) => {
    const parsed = parseFrame(bytes);
    if (!parsed.ok || parsed.frame.header.type !== 'epoch-entry') return [];
    const opened = openFrame(crypto, parsed.frame, secret);
    if (!opened.ok || !entryCheck.check(opened.body)) return [];
    const { channel, epoch, event } = opened.body;
    if (!isUpToThen({ channel, epoch }) || event.type !== 'epoch-announced') return [];
    const { secret_commitment: commitment } = event.announcement.body;
    return [{ channel, epoch, commitment, capsules: event.capsules }];
  });
}

function filesUnder(folder: string): { file: string; bytes: Buffer }[] {
  return readdirSync(folder).flatMap((name) => {
    const file = path.join(folder, name);
    return statSync(file).isDirectory() ? filesUnder(file) : [{ file, bytes: readFileSync(file) }];
  });
}

/** All that lies on disks: of every member, and of the token. */
function allFiles() {
  return [...filesUnder(mesh.folder), ...filesUnder(place.directory)];
}

/** What the token unwraps of the vault, for a thief who has both. */
async function unwrapped(): Promise<readonly HeldEpoch[]> {
  const token = await place.open();
  const database = new DatabaseSync(':memory:');
  try {
    const vault = await EpochVault.open({
      disk: new SystemDisk(path.join(mesh.folder, 'signer')),
      mesh: mesh.world.mesh,
      token,
      record: new EpochRecord(database),
      log: quiet,
    });
    return await vault.load();
  } finally {
    database.close();
    await token.close();
  }
}

/**
 * The secrets that were: of everything drawn, what the announcements commit to, by commitment. Not all
 * of them came into use: what the signer does not accept in time is given up for the next one.
 */
function trueSecrets(): Map<string, Uint8Array> {
  const secrets = new Map<string, Uint8Array>();
  for (const { channel, epoch, commitment } of announcedUpToThen()) {
    const name = { mesh: mesh.world.mesh, channel, epoch };
    const found = mesh.drawn.find(
      (bytes) => bytes.length === 32 && secretCommitment(crypto, name, bytes) === commitment,
    );
    if (found !== undefined) secrets.set(commitment, found);
  }
  return secrets;
}

/** Hybrid keys that open a capsule of an epoch up to then. */
function truePrekeys(): Uint8Array[] {
  const capsules = announcedUpToThen().flatMap((each) => each.capsules);
  const ids = new Set(capsules.map(({ prekeyId }) => prekeyId));
  return mesh.drawn.filter(
    (bytes) =>
      bytes.length === 96 && ids.has(toHex(crypto.sha3_256(hybridPublicKey(crypto, bytes)))),
  );
}

/**
 * Whether one of these needles stands anywhere in a file: the same as trying every window of the file
 * as a key, since a window opens a frame only if it is the key.
 */
function standsIn(files: readonly { bytes: Buffer }[], needles: readonly Uint8Array[]): boolean {
  return files.some(({ bytes }) => needles.some((needle) => bytes.includes(needle)));
}

/** The frames that a candidate opens as a channel secret: its commitment is checked first. */
function openedBy(candidates: readonly Uint8Array[], frames: readonly ParsedFrame[]): number {
  return frames.filter((frame) =>
    candidates.some((candidate) => openFrame(crypto, frame, candidate).ok),
  ).length;
}

/** Every 32-byte window of the small files: seeds, PINs, wrapped secrets, token objects. */
function windowsOfSmallFiles(): Uint8Array[] {
  return allFiles()
    .filter(({ bytes }) => bytes.length <= 512)
    .flatMap(({ bytes }) =>
      Array.from(
        { length: Math.max(0, bytes.length - 31) },
        (_, at) => new Uint8Array(bytes.subarray(at, at + 32)),
      ),
    );
}

/** One recorded frame of each channel and epoch: what opens one opens all of its epoch. */
function oneOfEach(frames: readonly ParsedFrame[]): ParsedFrame[] {
  const named = frames.map((frame): [string, ParsedFrame] => {
    const { channel, epoch } = frame.header;
    return [`${channel}/${epoch}`, frame];
  });
  return [...new Map(named).values()];
}

/** Whether receipts were issued under an epoch of which this holds. */
function hasReceipts(holds: (header: ParsedFrame['header']) => boolean): boolean {
  return mesh.traffic.some((bytes) => {
    const parsed = parseFrame(bytes);
    if (!parsed.ok || parsed.frame.header.type !== 'receipts-issued') return false;
    return holds(parsed.frame.header);
  });
}

describe.each([
  ['first epochs that everyone accepts', 0],
  // Longer than members have for accepting one: numbers are passed over.
  ['first epochs that the signer is too slow for', 7_000],
])('a thief with all disks, the token and all traffic, after %s,', (_, slowMs) => {
  beforeAll(async () => {
    place = await tokenPlace();
    mesh = await SecrecyMesh.start(agents, place.open, slowMs);
  });

  afterAll(async () => {
    await mesh.end();
    await place.remove();
  });

  it('reads an epoch that is open: the search finds what is there', async () => {
    await mesh.report('identity-a', 'command-1', secretWords);
    await mesh.report('network-a', 'command-2', secretWords);
    await mesh.until('receipts', () => {
      then = mesh.inUse();
      return hasReceipts(isUpToThen);
    });
    const frames = framesUpToThen();
    const channels = new Set(frames.map(({ header }) => header.channel));
    for (const channel of ['layer-1', 'layer-3', 'mesh']) expect(channels).toContain(channel);
    expect(Math.max(...then.values())).toBeGreaterThan(slowMs > 0 ? 1 : 0);
    const vault = await unwrapped();
    const secrets = vault.map(({ secret }) => secret);
    expect(openedBy(secrets, frames)).toBe(frames.length);
    // The oracle is complete: every secret and every prekey of the epoch is known to this test.
    const announced = announcedUpToThen();
    expect(trueSecrets().size).toBe(new Set(announced.map(({ commitment }) => commitment)).size);
    const capsules = announced.flatMap((each) => each.capsules);
    expect(truePrekeys().length).toBe(new Set(capsules.map((each) => each.prekeyId)).size);
    expect(openedBy([...trueSecrets().values()], frames)).toBe(frames.length);
    // And the search by windows finds a secret that lies somewhere.
    const planted = path.join(mesh.folder, 'planted');
    const layer1 = oneOfEach(frames).filter(({ header }) => header.channel === 'layer-1');
    const found = [...trueSecrets().values()].find((secret) => openedBy([secret], layer1) === 1);
    if (found === undefined) throw new Error('the secret of layer-1 is not known');
    writeFileSync(planted, Buffer.concat([Buffer.alloc(7, 1), found, Buffer.alloc(9, 2)]));
    expect(standsIn(allFiles(), [found])).toBe(true);
    expect(openedBy(windowsOfSmallFiles(), oneOfEach(frames))).toBe(1);
    rmSync(planted);
  });

  it('reads nothing of it once it is closed, but by the archive key what is archived', async () => {
    const secrets = [...trueSecrets().values()];
    const prekeys = truePrekeys();
    mesh.pass(hourMs + 15_000);
    await mesh.until('later epochs', () => mesh.isBeyond(then));
    const after = await mesh.report('identity-a', 'command-3', 'said in a later epoch');
    await mesh.until('the receipt', () => hasReceipts((header) => !isUpToThen(header)));
    expect(after.hash).toHaveLength(64);
    mesh.pass(600_000 + 15_000);
    await mesh.until('what was in use then is closed', () => mesh.isGone(then));
    await mesh.stopAgents();
    const frames = framesUpToThen();
    const closed = oneOfEach(frames).map(({ header }) => header.channel);
    expect(closed).toEqual(expect.arrayContaining(['layer-1', 'layer-3', 'mesh']));

    const vault = await unwrapped();
    expect(vault.some(({ channel }) => channel === 'mesh')).toBe(true);
    const old = vault.filter((each) => isUpToThen(each));
    expect(old.map(({ channel }) => channel)).toEqual([]);
    const stolen = [...vault.map(({ secret }) => secret), ...windowsOfSmallFiles()];
    expect(openedBy(stolen, oneOfEach(frames))).toBe(0);
    expect(
      openedBy(
        vault.map(({ secret }) => secret),
        frames,
      ),
    ).toBe(0);
    const halves = prekeys.flatMap((key) => [key, key.subarray(0, 64), key.subarray(64)]);
    expect(standsIn(allFiles(), [...secrets, ...halves])).toBe(false);
    const archiveKey = vault.find(({ channel }) => channel === archiveChannel)?.secret;
    const records = await readLog();
    // Every entry of an epoch log rests on what it says.
    expect(verdictsOn('epoch-entry', records)).toEqual(new Set(['accepted']));
    expect(said(records, archiveKey ?? new Uint8Array(32), frames)).toContain(secretWords);
    for (const { channel, secret } of vault) {
      if (channel !== archiveChannel) expect(said(records, secret, frames)).toBe('');
    }
    expect(standsIn(allFiles(), [Buffer.from(secretWords)])).toBe(false);
  });
});

async function readLog(): Promise<LogRecord[]> {
  const records: LogRecord[] = [];
  const file = await new SystemDisk(path.join(mesh.folder, 'auditor')).logFile('audit.log');
  const log = await AuditLog.open(file, (record) => records.push(record));
  await log.close();
  return records;
}

function verdictsOn(type: string, records: readonly LogRecord[]): Set<string> {
  const ofType = records.filter(({ frame }) => {
    const parsed = parseFrame(frame);
    return parsed.ok && parsed.frame.header.type === type;
  });
  return new Set(ofType.map(({ verdict }) => verdict));
}

/** What a key opens of the archived content of these frames, as text. */
function said(
  records: readonly LogRecord[],
  key: Uint8Array,
  frames: readonly ParsedFrame[],
): string {
  const wanted = new Set(frames.map((frame) => toHex(statementHashOf(crypto, frame))));
  return records
    .flatMap(({ archived, leafIndex, frame }) => {
      const parsed = parseFrame(frame);
      if (!parsed.ok || archived === undefined) return [];
      const hash = toHex(statementHashOf(crypto, parsed.frame));
      if (!wanted.has(hash)) return [];
      const content = openArchived(crypto, key, { auditor: 'auditor', leafIndex, hash }, archived);
      if (content === undefined) return [];
      const { salt, bodyBytes: body } = content;
      expect(isContentOf(crypto, parsed.frame, { salt, body })).toBe(true);
      return [Buffer.from(body).toString('latin1')];
    })
    .join('\n');
}

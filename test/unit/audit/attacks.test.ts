import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { eventTypes } from '#schemas/events.ts';
import type { AuditRecord } from '#schemas/queries.ts';
import type { AuditVerdict } from '#shared/core/audit-verdict.ts';
import { AuditTree } from '#shared/core/audit-tree.ts';
import { decodeBody } from '#shared/crypto/audit-event.ts';
import { encodeItem } from '#shared/crypto/audit-export.ts';
import { toHex } from '#shared/crypto/bytes.ts';
import { encodeCanonical } from '#shared/crypto/canonical-msgpack.ts';
import { openFrame, seal } from '#shared/crypto/envelope.ts';
import { members } from '#cli/mesh/members.ts';
import {
  check,
  checkMaterial,
  checkpointOver,
  fileOf,
  indexOf,
  parsed,
  renumbered,
  type Material,
} from './exports.ts';
import { crypto, Stage, tell } from './story.ts';

let stage: Stage;
let material: Material;
let records: readonly AuditRecord[];

const few = members.filter(({ kind, layer }) => kind !== 'layer' || layer === 7);

beforeAll(async () => {
  stage = await Stage.open({ members: few });
  await tell(stage, { planId: 'plan-a', layers: [7] });
  const checkpoint = await stage.checkpoint();
  records = await stage.records();
  material = { world: stage.world, records, checkpoints: [checkpoint] };
});

afterAll(async () => {
  await stage.close();
});

/** The records changed, under the checkpoint that was there. */
function tampered(change: (list: AuditRecord[]) => AuditRecord[]): Promise<AuditVerdict> {
  return checkMaterial({ ...material, records: change([...records]) });
}

/** The records changed, numbered anew, under a checkpoint that the audit key signed over them. */
async function resigned(change: (list: AuditRecord[]) => AuditRecord[]): Promise<AuditVerdict> {
  const changed = renumbered(change([...records]));
  const checkpoints = [await checkpointOver(stage.world, changed)];
  return checkMaterial({ ...material, records: changed, checkpoints });
}

function at(index: number): AuditRecord {
  const record = records[index];
  if (record === undefined) throw new Error(`no record ${index}`);
  return record;
}

describe('one byte changed anywhere', () => {
  it('never passes', { timeout: 120_000 }, async () => {
    const until = indexOf(records, 'saga-entry', 2);
    const short = records.slice(0, until);
    const checkpoints = [await checkpointOver(stage.world, short)];
    const file = await fileOf({ ...material, records: short, checkpoints });
    expect((await check(file, stage.world.rootDigest)).ok).toBe(true);
    const structure = [
      ...Array(64).keys(),
      ...Array(64)
        .keys()
        .map((back) => file.length - 1 - back),
    ];
    const stride = Math.floor(file.length / 200);
    const sampled = [...Array(200).keys()].map((step) => step * stride + (step % stride));
    const passed: number[] = [];
    for (const position of new Set([...structure, ...sampled])) {
      const changed = file.slice();
      changed[position] = (changed[position] ?? 0) ^ (1 << (position % 8));
      const verdict = await check(changed, stage.world.rootDigest);
      if (verdict.ok) passed.push(position);
    }
    expect(passed).toEqual([]);
  });

  it('is named: in a seal, in a ciphertext, in a disclosed body', async () => {
    const index = indexOf(records, 'step-reported');
    const flip = (bytes: Uint8Array, position: number): Uint8Array => {
      const changed = bytes.slice();
      changed[position] = (changed[position] ?? 0) ^ 1;
      return changed;
    };
    const { frame, body } = at(index);
    const inSeal = await tampered((list) =>
      list.with(index, { ...at(index), frame: flip(frame, frame.length - 9) }),
    );
    expect(inSeal.integrity).toMatchObject({
      ok: false,
      code: 'SIGNATURE_INVALID',
      leafIndex: index,
    });
    const ciphertextAt = 80;
    const inCiphertext = await tampered((list) =>
      list.with(index, { ...at(index), frame: flip(frame, ciphertextAt) }),
    );
    expect(inCiphertext.integrity).toMatchObject({ ok: false, leafIndex: index });
    const inBody = await tampered((list) =>
      list.with(index, { ...at(index), body: flip(body ?? new Uint8Array(), 30) }),
    );
    expect(inBody.integrity).toEqual({ ok: true });
    expect(inBody.content).toMatchObject({
      ok: false,
      code: 'CONTENT_MISMATCH',
      leafIndex: index,
      event: expect.stringMatching(/^[0-9a-f]{64}$/),
    });
  });
});

describe('an event removed', () => {
  it('leaves a hole in the order', async () => {
    const index = indexOf(records, 'step-reported', 1);
    const verdict = await tampered((list) => list.toSpliced(index, 1));
    expect(verdict.integrity).toMatchObject({ ok: false, code: 'RECORD_ORDER', leafIndex: index });
  });

  it('shows when the rest is numbered anew', async () => {
    const index = indexOf(records, 'step-reported', 1);
    const verdict = await tampered((list) => renumbered(list.toSpliced(index, 1)));
    expect(verdict.integrity.ok).toBe(false);
    expect(verdict.meaning.ok).toBe(false);
  });

  it('shows in the chain even under a checkpoint made anew', async () => {
    const index = indexOf(records, 'step-reported', 1);
    const verdict = await resigned((list) => list.toSpliced(index, 1));
    expect(verdict.integrity).toMatchObject({
      ok: false,
      code: 'CHAIN_GAP',
      leafIndex: indexOf(records, 'step-reported', 2) - 1,
    });
    expect(verdict.meaning).toMatchObject({ ok: false, code: 'NOT_ACCEPTABLE' });
  });
});

describe('the order changed', () => {
  it('two swapped', async () => {
    const index = indexOf(records, 'step-reported', 1);
    const swap = (list: AuditRecord[]): AuditRecord[] =>
      list.with(index, at(index + 1)).with(index + 1, at(index));
    expect((await tampered(swap)).integrity).toMatchObject({
      code: 'RECORD_ORDER',
      leafIndex: index,
    });
    const hidden = await tampered((list) => renumbered(swap(list)));
    expect(hidden.integrity).toMatchObject({ ok: false, code: 'TREE_MISMATCH' });
    expect((await resigned(swap)).meaning.ok).toBe(false);
  });

  it('one repeated', async () => {
    const index = indexOf(records, 'step-reported');
    const repeat = (list: AuditRecord[]): AuditRecord[] => list.toSpliced(index, 0, at(index));
    expect((await tampered(repeat)).integrity).toMatchObject({ code: 'RECORD_ORDER' });
    expect((await resigned(repeat)).integrity).toMatchObject({
      code: 'RECORD_REPEATED',
      leafIndex: index + 1,
    });
  });
});

describe('re-signed', () => {
  it("one event by another agent's key", async () => {
    const index = indexOf(records, 'plan-approved');
    const { header } = parsed(at(index).frame);
    const channelSecret = stage.keyringOf('op-2').secretOf({ channel: 'operators', epoch: 1 });
    const thief = stage.world.keys.get('op-1');
    if (channelSecret === undefined || thief === undefined) throw new Error('no key');
    const opened = openFrame(crypto, parsed(at(index).frame), channelSecret);
    if (!opened.ok) throw new Error(opened.code);
    const { body } = opened;
    const claimed = { ...header, senderKeyId: thief.publicKey.keyId };
    const { frame, disclosure } = seal(crypto, {
      header: claimed,
      body,
      signingKey: thief,
      channelSecret,
    });
    const forged = { ...at(index), frame, salt: disclosure.salt, body: disclosure.body };
    const verdict = await resigned((list) => list.with(index, forged));
    expect(verdict.integrity).toMatchObject({
      ok: false,
      code: 'SIGNATURE_INVALID',
      leafIndex: index,
    });
  });

  it('the whole under another root passes under that root alone', async () => {
    // The same story, every event of it signed by keys that somebody else's root names.
    const forger = await Stage.open({ members: few, ceremony: 'forger' });
    await tell(forger, { planId: 'plan-a', layers: [7] });
    const checkpoints = [await forger.checkpoint()];
    const { world: other } = forger;
    const file = await fileOf({ world: other, records: await forger.records(), checkpoints });
    await forger.close();
    expect(await check(file, other.rootDigest)).toMatchObject({ ok: true, uncovered: 0 });
    const pinned = await check(file, stage.world.rootDigest);
    expect(pinned).toMatchObject({
      ok: false,
      integrity: { code: 'ROOT_NOT_PINNED' },
      meaning: { code: 'NOT_CHECKED' },
    });
    const mixed = await fileOf({ ...material, world: other });
    expect((await check(mixed, other.rootDigest)).integrity.ok).toBe(false);
  });
});

describe('the tail cut off', () => {
  it('under the checkpoint that covered it', async () => {
    const verdict = await tampered((list) => list.slice(0, -3));
    expect(verdict.integrity).toMatchObject({
      ok: false,
      code: 'RECORDS_MISSING',
      leafIndex: records.length - 3,
    });
  });

  it('together with the checkpoint', async () => {
    const verdict = await checkMaterial({
      ...material,
      records: records.slice(0, -3),
      checkpoints: [],
    });
    expect(verdict.integrity).toMatchObject({ ok: false, code: 'CHECKPOINT_MISSING' });
    expect(verdict.uncovered).toBe(records.length - 3);
  });

  it('in the middle of the file', async () => {
    const file = await fileOf(material);
    for (const length of [10, 200, file.length >> 1, file.length - 1]) {
      const verdict = await check(file.slice(0, length), stage.world.rootDigest);
      expect(verdict.ok).toBe(false);
    }
    const longer = new Uint8Array(file.length + 1);
    longer.set(file);
    expect((await check(longer, stage.world.rootDigest)).integrity).toMatchObject({
      code: 'FILE_TRAILING',
      offset: file.length,
    });
  });

  it('not covered by any checkpoint is counted', async () => {
    const checkpoints = [await checkpointOver(stage.world, records.slice(0, 12))];
    const verdict = await checkMaterial({ ...material, checkpoints });
    expect(verdict).toMatchObject({ ok: true, covered: 12, uncovered: records.length - 12 });
  });
});

describe('a dishonest auditor', () => {
  it('cannot call a refused entry accepted, or an accepted one refused', async () => {
    const index = indexOf(records, 'saga-entry', 5);
    const refused = await resigned((list) =>
      list.with(index, { ...at(index), verdict: 'refused' }),
    );
    expect(refused.integrity.ok).toBe(true);
    expect(refused.meaning).toMatchObject({ code: 'NOT_REFUSABLE', leafIndex: index });
    const { receipt } = await stage.offer({
      saga: 'rotation',
      sagaId: 'plan-a',
      index: 3,
      previous: '1'.repeat(64),
      consumed: [],
      event: { type: 'timer-fired', timer: 'made-up', atMs: 1 },
    });
    expect(receipt).toMatchObject({ verdict: 'refused', sagaId: 'plan-a', sagaIndex: 3 });
    const longer = await stage.records();
    const last = longer.at(-1);
    if (last === undefined) throw new Error('no record');
    const honest = [await checkpointOver(stage.world, longer)];
    const verdict = await checkMaterial({ ...material, records: longer, checkpoints: honest });
    expect(verdict).toMatchObject({ ok: true, refused: 1 });
    const forged = longer.with(-1, { ...last, verdict: 'accepted' });
    const checkpoints = [await checkpointOver(stage.world, forged)];
    expect(
      (await checkMaterial({ ...material, records: forged, checkpoints })).meaning,
    ).toMatchObject({
      code: 'NOT_ACCEPTABLE',
      leafIndex: last.leafIndex,
    });
  });

  it('cannot have two stories: a checkpoint over a fork', async () => {
    const fork = records.with(10, at(9));
    const verdict = await checkMaterial({
      ...material,
      checkpoints: [await checkpointOver(stage.world, fork), ...material.checkpoints],
    });
    expect(verdict.integrity).toMatchObject({ ok: false, code: 'TREE_MISMATCH' });
  });

  it('cannot leave out what an entry said', async () => {
    const index = indexOf(records, 'saga-entry', 3);
    const { salt: _salt, body: _body, ...bare } = at(index);
    const verdict = await tampered((list) => list.with(index, bare));
    expect(verdict.integrity.ok).toBe(true);
    expect(verdict.meaning).toMatchObject({ code: 'CONTENT_MISSING', leafIndex: index });
    expect(verdict.undisclosed).toBe(1);
  });

  it('cannot hide a fork by leaving out what was said', async () => {
    const index = indexOf(records, 'step-reported', 1);
    const { header } = parsed(at(index).frame);
    const signingKey = stage.world.keys.get(header.sender);
    const { channel, epoch } = header;
    const channelSecret = stage.world.keyring(header.sender).secretOf({ channel, epoch });
    if (signingKey === undefined || channelSecret === undefined) throw new Error('no keys');
    const { frame } = seal(crypto, {
      header: { ...header, counter: header.counter + 1000 },
      body: {},
      signingKey,
      channelSecret,
    });
    const other = { leafIndex: 0, verdict: 'accepted', frame } as const;
    const verdict = await resigned((list) => [...list, other]);
    expect(verdict.integrity).toMatchObject({ code: 'CHAIN_FORKED', leafIndex: records.length });
  });

  it('needs a signature of the audit role', async () => {
    const tree = new AuditTree((bytes) => crypto.sha256(bytes));
    const forged = await checkpointOver(stage.world, records);
    const root_hash = toHex(tree.root());
    const checkpoints = [{ ...forged, body: { ...forged.body, root_hash } }];
    expect((await checkMaterial({ ...material, checkpoints })).integrity).toMatchObject({
      code: 'CHECKPOINT_INVALID',
    });
  });
});

describe('a dishonest orchestrator', () => {
  it('cannot carry a receipt with a forged phase', async () => {
    const index = indexOf(records, 'step-commanded');
    const { header } = parsed(at(index).frame);
    const command = decodeBody(at(index).body ?? new Uint8Array());
    if (!eventTypes['step-commanded'].body.check(command)) throw new Error('no command');
    const issued = stage.world.trust.verifyEvidence(command.receipt);
    if (issued.status !== 'ok' || issued.event.type !== 'receipts-issued')
      throw new Error('no receipt');
    const { body } = issued.event;
    const entries = body.entries.map((entry) =>
      entry.phase === undefined ? entry : { ...entry, phase: 'retiring' as const },
    );
    const { disclosure: receipt } = stage.principal('auditor').seal({
      type: 'receipts-issued',
      subject: stage.subjects.auditReceipt(),
      channel: 'mesh',
      body: { ...body, entries },
    });
    const forgery = { ...command, receipt };
    const channelSecret = stage
      .keyringOf('auditor')
      .secretOf({ channel: header.channel, epoch: 1 });
    const signingKey = stage.world.keys.get(header.sender);
    if (channelSecret === undefined || signingKey === undefined) throw new Error('no key');
    const { frame, disclosure } = seal(crypto, {
      header,
      body: forgery,
      signingKey,
      channelSecret,
    });
    const forged = { ...at(index), frame, salt: disclosure.salt, body: disclosure.body };
    const verdict = await resigned((list) => list.with(index, forged));
    // It shows at the report of the agent that carried it out.
    expect(verdict.meaning).toMatchObject({
      ok: false,
      code: 'RECEIPT_DIFFERS',
      reason: expect.stringContaining(`(command at leaf ${index})`),
    });
    const refused = await resigned((list) => list.slice(0, index).concat(forged));
    expect(refused.meaning).toEqual({ ok: true });
    expect(refused.unsound).toBe(1);
  });
});

describe('the format', () => {
  it('takes no field that it does not know, and no other order', async () => {
    const file = await fileOf(material);
    const item = encodeItem({ kind: 'trailer', records: 0, checkpoints: 0 });
    const early = new Uint8Array([...file.slice(0, 16), ...item]);
    expect((await check(early, stage.world.rootDigest)).integrity).toMatchObject({
      code: 'FILE_MALFORMED',
      offset: 16,
    });
    const odd = encodeCanonical({ kind: 'trailer', records: 0, checkpoints: 0, more: 1 });
    const length = new Uint8Array([0, 0, 0, odd.length]);
    const unknown = new Uint8Array([...file.slice(0, 16), ...length, ...odd]);
    expect((await check(unknown, stage.world.rootDigest)).integrity).toMatchObject({
      code: 'FILE_MALFORMED',
    });
  });
});

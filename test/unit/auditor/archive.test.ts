/** The archive: nothing in clear on the disk, everything again with its key, and nothing without. */

import { readFileSync } from 'node:fs';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { archiveChannel, archiveEpoch } from '#shared/core/channels.ts';
import { archiveContent, openArchived } from '#shared/crypto/audit-archive.ts';
import { StaticKeyring } from '#shared/crypto/keyring.ts';
import { utf8 } from '#shared/crypto/bytes.ts';
import { crypto } from '../../support/world.ts';
import { Stage, tell } from '../audit/story.ts';

let stage: Stage;

beforeEach(async () => {
  stage = await Stage.open();
});

afterEach(async () => {
  await stage.close();
});

/** What an auditor holds once every epoch of its log is over. */
function afterwards(archiveKey: Uint8Array | undefined): StaticKeyring {
  const archive = { channel: archiveChannel, epoch: archiveEpoch };
  return new StaticKeyring(archiveKey === undefined ? [] : [{ ...archive, secret: archiveKey }]);
}

const logFile = () => readFileSync(path.join(stage.directory, 'audit.log'));

describe('a log whose epochs are over', () => {
  it('is gone through again, shown and proven from the archive', async () => {
    const told = await tell(stage, { planId: 'plan-1', layers: [7] });
    const before = await stage.records();
    await stage.auditor.stop();
    stage.receipts.clear();
    const keyring = afterwards(stage.archiveKey);
    await stage.startAuditor({ keyring });
    expect((await stage.receiptOf(told.entries.at(-1) ?? '')).entry.phase).toBe('retired');
    const again = await stage.records();
    expect(again).toEqual(before);
    expect(again.every(({ salt, body }) => salt !== undefined && body !== undefined)).toBe(true);
  });

  it('is refused without the archive key, or with another one, by a code of its own', async () => {
    await tell(stage, { planId: 'plan-1', layers: [7], until: 'execution-requested' });
    await stage.auditor.stop();
    for (const key of [undefined, crypto.randomBytes(32)]) {
      const start = stage.startAuditor({ keyring: afterwards(key) });
      await expect(start).rejects.toMatchObject({ code: 'AUDIT_CONTENT_GONE' });
    }
    await stage.startAuditor();
  });
});

describe('a log with what could not be read when it came', () => {
  it('is gone through again by an auditor that has the secret by now', async () => {
    await stage.auditor.stop();
    await stage.startAuditor({ keyring: afterwards(stage.archiveKey) });
    const rotationType = 'scheduled' as const;
    const asked = (requestId: string) =>
      stage.request('op-1', 'rotation-requested', {
        requestId,
        rotationType,
        layers: [7],
        reason: 'test',
      });
    const unread = await asked('request-1');
    expect((await stage.receiptOf(unread)).entry.verdict).toBe('refused');
    const [before] = await stage.records();
    await stage.auditor.stop();
    await stage.startAuditor();
    const [after] = await stage.records();
    expect(after?.verdict).toBe('refused');
    expect(after?.frame).toEqual(before?.frame);
    const read = await asked('request-2');
    expect((await stage.receiptOf(read)).entry.verdict).toBe('accepted');
  });
});

describe('the disk', () => {
  it('holds no content in clear', async () => {
    await stage.receiptOf(
      await stage.request('op-1', 'rotation-requested', {
        requestId: 'conspicuous-request',
        rotationType: 'scheduled',
        layers: [7],
        reason: 'a reason that would be found',
      }),
    );
    const [record] = await stage.records();
    expect(Buffer.from(record?.body ?? []).includes('a reason that would be found')).toBe(true);
    for (const said of ['conspicuous-request', 'a reason that would be found']) {
      expect(logFile().includes(said)).toBe(false);
    }
    expect(logFile().includes(stage.archiveKey)).toBe(false);
    expect(logFile().includes(record?.salt ?? 'nothing')).toBe(false);
  });
});

describe('an archived content', () => {
  const leaf = { auditor: 'auditor', leafIndex: 7, hash: 'ab'.repeat(32) };
  const key = new Uint8Array(32).fill(3);
  const content = { salt: new Uint8Array(32).fill(1), bodyBytes: utf8('what was said') };

  it('opens for its leaf and key alone, and not when a byte of it is changed', () => {
    const archived = archiveContent(crypto, key, leaf, content);
    expect(archived.length).toBe(32 + content.bodyBytes.length + 16);
    expect(openArchived(crypto, key, leaf, archived)).toEqual(content);
    const others = [
      { ...leaf, auditor: 'auditor-b' },
      { ...leaf, leafIndex: 8 },
      { ...leaf, hash: 'ac'.repeat(32) },
    ];
    for (const other of others) {
      expect(openArchived(crypto, key, other, archived)).toBeUndefined();
    }
    expect(openArchived(crypto, new Uint8Array(32), leaf, archived)).toBeUndefined();
    for (let at = 0; at < archived.length; at += 1) {
      const changed = new Uint8Array(archived);
      changed[at] = (changed[at] ?? 0) ^ 1;
      expect(openArchived(crypto, key, leaf, changed)).toBeUndefined();
    }
    expect(openArchived(crypto, key, leaf, archived.subarray(0, 48))).toBeUndefined();
  });
});

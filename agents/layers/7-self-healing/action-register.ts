/**
 * The healing actions that the service signed, healing-actions.db: claim and signature, so that anyone
 * who may can see later what was asked for, and so that a claim which comes again, because the answer was
 * lost, gets the same signature. The newest thousand are kept.
 */

import type { DatabaseSync, SQLOutputValue } from 'node:sqlite';
import { HealingClaim, type HealingSignature } from '#schemas/healing.ts';
import { compile } from '#schemas/primitives.ts';
import { sameData } from '#shared/core/equality.ts';
import type { Disk } from '#shared/runtime/disk.ts';
import { AdapterError } from '../adapter.ts';
import { openDatabase, transact, translated } from '../sqlite.ts';

const claimCheck = compile(HealingClaim);
const name = 'healing-actions.db';
const keptMax = 1_000;

const schema = `
  CREATE TABLE IF NOT EXISTS actions (
    place INTEGER PRIMARY KEY AUTOINCREMENT,
    action_id TEXT NOT NULL UNIQUE,
    claim TEXT NOT NULL,
    version INTEGER NOT NULL,
    key_id TEXT NOT NULL,
    public_key BLOB NOT NULL,
    signature BLOB NOT NULL,
    signed_at_ms INTEGER NOT NULL
  ) STRICT;
`;

export interface SignedAction {
  readonly claim: HealingClaim;
  readonly signature: HealingSignature;
  readonly signedAtMs: number;
}

export class ActionRegister {
  readonly #database: DatabaseSync;

  private constructor(database: DatabaseSync) {
    this.#database = database;
  }

  /** @throws AdapterError */
  static open(disk: Disk): ActionRegister {
    const database = openDatabase(disk, name);
    transact(database, 'the healing actions cannot be used', () => database.exec(schema));
    return new ActionRegister(database);
  }

  /** What was signed under this id. `CLAIM_DIFFERS` where it was another claim. @throws AdapterError */
  find(claim: HealingClaim): SignedAction | 'CLAIM_DIFFERS' | undefined {
    const rows = this.#all('SELECT * FROM actions WHERE action_id = ?', [claim.actionId]);
    const [known] = rows.map(actionOf);
    if (known === undefined) return undefined;
    return sameData(known.claim, claim) ? known : 'CLAIM_DIFFERS';
  }

  add({ claim, signature, signedAtMs }: SignedAction): void {
    const { version, keyId, publicKey, value } = signature;
    transact(this.#database, 'the healing action was not kept', () => {
      this.#database
        .prepare(
          `INSERT INTO actions
            (action_id, claim, version, key_id, public_key, signature, signed_at_ms)
            VALUES (?, ?, ?, ?, ?, ?, ?)`,
        )
        .run(claim.actionId, JSON.stringify(claim), version, keyId, publicKey, value, signedAtMs);
      this.#database
        .prepare('DELETE FROM actions WHERE place <= (SELECT MAX(place) FROM actions) - ?')
        .run(keptMax);
    });
  }

  /** The newest first. */
  latest(actionsMax: number): SignedAction[] {
    return this.#all('SELECT * FROM actions ORDER BY place DESC LIMIT ?', [actionsMax]).map(
      actionOf,
    );
  }

  count(): number {
    const [row] = this.#all('SELECT COUNT(*) AS actions FROM actions', []);
    return Number(row?.['actions'] ?? 0);
  }

  close(): void {
    if (this.#database.isOpen) this.#database.close();
  }

  #all(sql: string, values: readonly (string | number)[]): Record<string, SQLOutputValue>[] {
    return translated('the healing actions cannot be read', () =>
      this.#database.prepare(sql).all(...values),
    );
  }
}

function actionOf(row: Record<string, SQLOutputValue>): SignedAction {
  const { claim: text, version, key_id: keyId, public_key: publicKey, signature: value } = row;
  const { signed_at_ms: signedAtMs } = row;
  const claim: unknown = JSON.parse(String(text));
  const isWhole =
    claimCheck.check(claim) &&
    typeof version === 'number' &&
    typeof keyId === 'string' &&
    publicKey instanceof Uint8Array &&
    value instanceof Uint8Array &&
    typeof signedAtMs === 'number';
  if (!isWhole) throw new AdapterError('STORE_FAILED', 'a kept healing action is damaged');
  return { claim, signature: { version, keyId, publicKey, value }, signedAtMs };
}

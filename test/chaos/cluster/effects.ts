/**
 * What the layer agents' own stores hold when the agents have stopped: every command has its outcome,
 * every key was made by exactly one rotation, one key per slot is in use, and what the bus is said to
 * have stored went past the proxies.
 */
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import type { RotationDetails } from '#cli/answers.ts';
import { memberFiles } from '#cli/mesh/layout.ts';
import { agents } from '#cli/mesh/members.ts';
import type { ClusterMesh } from './cluster.ts';
import { lastCommitted } from './invariants.ts';

export interface Effects {
  readonly violations: readonly string[];
  /** Keys that no command made, or more than one. */
  readonly doubled: number;
}

export interface Key {
  readonly slot: string;
  readonly version: number;
  readonly state: string;
  readonly keyId: string;
}

export interface Made {
  readonly slot: string;
  readonly version: number;
  readonly sagaId: string;
}

export function storedEffects(mesh: ClusterMesh, stories: readonly RotationDetails[]): Effects {
  const inUse = lastCommitted(stories);
  const violations: string[] = [];
  let doubled = 0;
  for (const agent of agents.filter(({ kind }) => kind === 'layer')) {
    const state = join(mesh.layout.memberDirectory(agent), memberFiles.state);
    const keys = rows<Key>(
      join(state, 'keystore.db'),
      'SELECT slot, version, state, key_id AS keyId FROM versions',
    );
    const store = join(state, 'store.db');
    const made = rows<Made>(
      store,
      'SELECT slot, version, saga_id AS sagaId FROM candidates WHERE key_id IS NOT NULL',
    );
    const open = rows(store, 'SELECT step_key FROM steps WHERE report IS NULL');
    if (open.length > 0) violations.push(`${agent.id} has ${open.length} commands without outcome`);
    violations.push(...unseen(mesh, agent.id, store), ...primaries(keys, inUse));
    const odd = oddKeys(keys, made);
    doubled += odd.length;
    violations.push(...odd);
  }
  return { violations, doubled };
}

/** The first key of a slot came with the store; each other one belongs to one rotation. */
export function oddKeys(keys: readonly Key[], made: readonly Made[]): string[] {
  return keys.flatMap(({ slot, version }) => {
    const makers = made.filter((each) => each.slot === slot && each.version === version).length;
    const wanted = version === 1 ? 0 : 1;
    return makers === wanted ? [] : [`${slot} version ${version} was made by ${makers} rotations`];
  });
}

export function primaries(keys: readonly Key[], inUse: ReadonlyMap<string, string>): string[] {
  return [...new Set(keys.map(({ slot }) => slot))].flatMap((slot) => {
    const [primary, ...others] = keys.filter((key) => key.slot === slot && key.state === 'primary');
    const wanted = inUse.get(slot);
    const holds =
      primary !== undefined &&
      others.length === 0 &&
      (wanted === undefined ? primary.version === 1 : primary.keyId === wanted);
    return holds ? [] : [`${slot} has not the one key in use that was committed last`];
  });
}

/** The agent's own books against what was seen on the wire: whether the watch had gaps. */
function unseen(mesh: ClusterMesh, agentId: string, store: string): string[] {
  const stored = rows<{ readonly messageId: string }>(
    store,
    'SELECT message_id AS messageId FROM outbox WHERE stored_sequence IS NOT NULL',
  );
  return stored
    .filter(({ messageId }) => !mesh.ledger.acknowledged.has(messageId))
    .map(
      ({ messageId }) =>
        `${agentId} says that ${messageId.slice(0, 16)}… was stored; nobody saw it`,
    );
}

/** Columns as the statement names them; the shape is the caller's promise. */
function rows<Row>(path: string, sql: string): readonly Row[] {
  const database = new DatabaseSync(path, { readOnly: true });
  try {
    return database.prepare(sql).all() as readonly unknown[] as readonly Row[];
  } finally {
    database.close();
  }
}

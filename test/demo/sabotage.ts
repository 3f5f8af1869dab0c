/**
 * Makes a layer fail for real: a trigger in the key store of the embedded key system refuses to make
 * some keys primary. The agent meets a database that says no, as it would meet one that is broken.
 */
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';

const triggerName = 'demo_refuses_primaries';

/** No key newer than those that are there now becomes primary: the rotation fails in this layer. */
export function refuseNewPrimaries(stateDirectory: string): () => void {
  return refusePrimaries(stateDirectory, '>');
}

/** No key that is there now becomes primary again: the rollback fails in this layer. */
export function refuseEarlierPrimaries(stateDirectory: string): () => void {
  return refusePrimaries(stateDirectory, '<=');
}

/** Returns what takes the refusal away again. */
function refusePrimaries(stateDirectory: string, refused: '>' | '<='): () => void {
  withStore(stateDirectory, (store) => {
    const row = store.prepare('SELECT max(version) AS newest FROM versions').get();
    const newest = Number(row?.['newest']);
    store.exec(`CREATE TRIGGER ${triggerName} BEFORE UPDATE OF state ON versions
      WHEN NEW.state = 'primary' AND NEW.version ${refused} ${newest}
      BEGIN SELECT RAISE(ABORT, 'the demo refuses this'); END`);
  });
  return () => withStore(stateDirectory, (store) => store.exec(`DROP TRIGGER ${triggerName}`));
}

function withStore(stateDirectory: string, work: (store: DatabaseSync) => void): void {
  const store = new DatabaseSync(join(stateDirectory, 'keystore.db'), { timeout: 5_000 });
  try {
    work(store);
  } finally {
    store.close();
  }
}

/**
 * Makes a layer fail for real: a trigger in the key store of the embedded key system refuses to make
 * certain keys primary. The agent meets a database that says no, as it would meet one that is broken.
 */
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';

const triggerName = 'sabotage';

/** No key newer than those that are there now becomes primary. Returns what allows it again. */
export function refuseNewPrimaries(stateDirectory: string): () => void {
  return refuse(stateDirectory, '>');
}

/** No key that is there now becomes primary (again). Returns what allows it again. */
export function refuseEarlierPrimaries(stateDirectory: string): () => void {
  return refuse(stateDirectory, '<=');
}

function refuse(stateDirectory: string, comparison: '>' | '<='): () => void {
  withStore(stateDirectory, (store) => {
    const row = store.prepare('SELECT max(version) AS newest FROM versions').get();
    const newest = Number(row?.['newest']);
    store.exec(`CREATE TRIGGER ${triggerName} BEFORE UPDATE OF state ON versions
      WHEN NEW.state = 'primary' AND NEW.version ${comparison} ${newest}
      BEGIN SELECT RAISE(ABORT, 'refused on purpose'); END`);
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

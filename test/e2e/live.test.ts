/**
 * A live mesh whose processes are killed, each in the middle of a rotation (test/chaos/live/faults.ts).
 * What else may happen to a live mesh is a long walk: live.long.test.ts.
 */
import { afterAll, beforeAll } from 'vitest';
import { begin, end } from '../chaos/live/mesh.ts';
import { hangMs } from '../support/patience.ts';

beforeAll(begin, hangMs);
afterAll(end, hangMs);

await import('../chaos/live/faults.ts');

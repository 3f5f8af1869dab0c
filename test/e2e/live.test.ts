/**
 * The processes of a live mesh and their supervisor end in every way that they can
 * (test/chaos/live/supervision.ts). What else may happen to a live mesh is a long walk:
 * live.long.test.ts.
 */
import { afterAll, beforeAll } from 'vitest';
import { begin, end } from '../chaos/live/mesh.ts';
import { hangMs } from '../support/patience.ts';

beforeAll(begin, hangMs);
afterAll(end, hangMs);

await import('../chaos/live/supervision.ts');

/** A live mesh that is locked out and recovered (test/chaos/live/lockout.ts), on a mesh of its own. */
import { afterAll, beforeAll } from 'vitest';
import { begin, end } from '../chaos/live/mesh.ts';
import { hangMs } from '../support/patience.ts';

beforeAll(begin, hangMs);
afterAll(end, hangMs);

await import('../chaos/live/lockout.ts');

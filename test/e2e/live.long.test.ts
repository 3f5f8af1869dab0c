/**
 * What is done to a live mesh, and what becomes of it: a full disk, stolen credentials, mistakes of
 * people, a bus that forgets. The stories (test/chaos/live) share one mesh and come in this order:
 * rotations that go back leave gaps between versions.
 */
import { afterAll, beforeAll } from 'vitest';
import { begin, end } from '../chaos/live/mesh.ts';
import { hangMs } from '../support/patience.ts';

beforeAll(begin, hangMs);
afterAll(end, hangMs);

await import('../chaos/live/disk.ts');
await import('../chaos/live/thief.ts');
await import('../chaos/live/faults.ts');
await import('../chaos/live/forget.ts');

/** What the parts of the contract suite share: the world of the running test, and its messages. */
import type { PublishRequest } from '#shared/bus/bus.ts';
import { subjects } from './bus-world.ts';
import type { World } from './bus-world.ts';

/** The world of the test that runs now. */
export interface Given {
  get(): World;
}

/** Short time-outs, so that a test sees what follows them. */
export const quick = { attemptTimeoutMs: 300, deadlineMs: 8_000 };

export const saga = subjects.sagaRotation('saga-1');
export const step = subjects.step(1, 'layer-1');
export const report = subjects.report(1, 'layer-1');

let made = 0;

/** A message with an id of its own. */
export function message(subject: string, content?: string): PublishRequest {
  made += 1;
  return { subject, data: bytes(content ?? `message ${made}`), messageId: `id-${made}` };
}

export function bytes(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}

export function text(data: Uint8Array): string {
  return new TextDecoder().decode(data);
}

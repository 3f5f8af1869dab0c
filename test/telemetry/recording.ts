/**
 * Telemetry as it was received from a real mesh, kept beside this file as compressed JSON: small, and
 * played back as the events that the fold takes.
 */

import { readFileSync } from 'node:fs';
import path from 'node:path';
import { brotliCompressSync, brotliDecompressSync, constants } from 'node:zlib';
import type { LayerNumber } from '#schemas/layers.ts';
import type { TelemetryEvent } from '#schemas/telemetry.ts';
import type { WatchEvent } from '#shared/core/anomaly/watch.ts';

export interface Recording {
  readonly format: 1;
  /** What the mesh did meanwhile. */
  readonly what: string;
  readonly heartbeatMs: number;
  readonly agents: readonly { readonly agentId: string; readonly layer: LayerNumber }[];
  /** When the healer would have looked: a timer of its period, in the same process. */
  readonly ticks: readonly number[];
  /** When it was received, since the beginning; by which agent; what it said. */
  readonly received: readonly (readonly [atMs: number, agent: number, event: TelemetryEvent])[];
}

export type RecordingName = 'quiet' | 'rotating';

export const tickMs = 200;

export function pathOf(name: RecordingName): string {
  return path.join(import.meta.dirname, `${name}.telemetry`);
}

export function packed(recording: Recording): Buffer {
  const params = { [constants.BROTLI_PARAM_QUALITY]: 11, [constants.BROTLI_PARAM_LGWIN]: 24 };
  return brotliCompressSync(Buffer.from(JSON.stringify(recording)), { params });
}

export function recordingOf(name: RecordingName): Recording {
  return JSON.parse(brotliDecompressSync(readFileSync(pathOf(name))).toString()) as Recording;
}

/** What was received, in its order, with the ticks between. */
export function* played({ agents, received, ticks }: Recording): Generator<WatchEvent> {
  let tick = 0;
  for (const [atMs, index, event] of received) {
    for (; (ticks[tick] ?? Infinity) < atMs; tick += 1) {
      yield { kind: 'tick', atMs: ticks[tick] ?? atMs };
    }
    const agent = agents[index];
    if (agent === undefined) throw new Error('a recording names its agents');
    yield { kind: 'telemetry', ...agent, event, atMs };
  }
}

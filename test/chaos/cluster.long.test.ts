/**
 * A minute of `make chaos`: a mesh on three servers with three replicas, operators at work, one fault of
 * each class (a killed agent, a stopped one, a parted one; a killed, a parted and a damaged server; a
 * token that dies; a thief who floods), and the whole reckoning at the end (invariants 2, 4, 5, 8, 12,
 * 13, 15).
 */
import { rm } from 'node:fs/promises';
import { expect, it } from 'vitest';
import { reportText } from './cluster/report.ts';
import { runChaos } from './cluster/run.ts';
import type { FaultKind } from './cluster/faults.ts';

const seed = 20_261;
const faultsMs = 30_000;
const kinds: readonly FaultKind[] = [
  'kill layer agent',
  'kill orchestrator',
  'stop layer agent',
  'part agent',
  'kill leading server',
  'part server',
  'flip bits in store',
  'kill token child',
  'garbage from a thief',
];

it('a mesh on a cluster outlives one fault of each class', { timeout: 400_000 }, async () => {
  const isHardware = (process.env['GYRE_SOFTHSM_LIB'] ?? '') !== '';
  if (!isHardware) console.warn('no SoftHSM2: this mesh signs with a file token');
  const said: string[] = [];
  const report = await runChaos({
    seed,
    faultsMs,
    kinds: isHardware ? kinds : kinds.filter((kind) => kind !== 'kill token child'),
    token: isHardware ? 'softhsm' : 'file',
    onProgress: (line) => said.push(line),
  });
  const story = [...said, reportText(report)].join('\n');
  expect(report.violations, story).toEqual([]);
  expect({ lost: report.lost, doubled: report.doubled }, story).toEqual({ lost: 0, doubled: 0 });
  expect(report.events, story).toBeGreaterThan(report.acknowledged - 1);
  expect(report.rotations['retired'] ?? 0, story).toBeGreaterThan(0);
  await rm(report.folder, { recursive: true, force: true });
});

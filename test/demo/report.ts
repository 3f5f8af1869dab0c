/** What the demo prints: headings, notes and two tables. */
import { layerNames, layerNumbers } from '#schemas/layers.ts';
import { fingerprint, styleOf, table } from '#cli/style.ts';
import type { KeyLine } from './demo-mesh.ts';
import type { ProbeCounts, ProbeReport } from './probe.ts';

const noColor = process.env['NO_COLOR'];
const style = styleOf(process.stdout.isTTY && (noColor === undefined || noColor === ''));

export function heading(text: string): void {
  console.log(`\n${style.strong(text)}`);
}

export function note(text: string): void {
  console.log(`  ${text}`);
}

/** Progress of a command, set apart from what the demo itself says. */
export function detail(text: string): void {
  console.log(style.dim(`    ${text}`));
}

export function changesTable(before: readonly KeyLine[], after: readonly KeyLine[]): string {
  const rows = before.map(({ slot, version, keyId }) => {
    const now = after.find((key) => key.slot === slot);
    return [
      slot,
      `${fingerprint(keyId)} v${version}`,
      '→',
      now === undefined ? 'gone' : style.good(`${fingerprint(now.keyId)} v${now.version}`),
    ];
  });
  return table([['slot', 'old key', '', 'new key'].map(style.dim), ...rows], 2);
}

export function probeTable({ layers, total }: ProbeReport): string {
  const row = (name: string, counts: ProbeCounts | undefined): string[] => [
    name,
    String(counts?.made ?? 0),
    String(counts?.takenBack ?? 0),
    String(counts?.withOlderKey ?? 0),
    counts?.failures === 0 ? style.good('0') : style.failed(String(counts?.failures ?? '?')),
  ];
  const head = ['layer', 'sign or seal', 'verify or open', 'of these with an old key', 'failures'];
  return table(
    [
      head.map(style.dim),
      ...layerNumbers.map((layer) => row(`${layer} ${layerNames[layer]}`, layers.get(layer))),
      row('all', total),
    ],
    2,
  );
}

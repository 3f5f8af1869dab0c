/** Results as rows, and how they are printed: a table for people, one JSON document for tools. */
import type { MachineFacts } from './machine.ts';
import { formatMs, type Summary } from './measure.ts';

export interface Row {
  readonly group: string;
  readonly name: string;
  readonly summary: Summary;
  /** What to read beside the figures: a ratio, a boundary, a size. */
  readonly note?: string;
}

export function machineText(facts: MachineFacts): string {
  const { flush, load } = facts;
  return [
    `machine      ${facts.cpu}, ${facts.cores} cores, ${facts.memoryGiB} GiB, ${facts.system}`,
    `versions     node ${facts.node}, OpenSSL ${facts.openssl}, nats-server ${facts.natsServer}`,
    `durability   ${facts.syncMode}`,
    `disk         ${facts.fileSystem}; 4 KiB appended and flushed: median ${formatMs(flush.medianMs)}, p99 ${formatMs(flush.p99Ms)} (${flush.runs} runs)`,
    `load         ${load} in the minute before${load > facts.cores / 2 ? ': the machine is busy, figures are higher than its own' : ''}`,
  ].join('\n');
}

/** Rows of one group under each other, columns aligned. */
export function rowsText(rows: readonly Row[]): string {
  const head = ['', 'runs', 'min', 'median', 'p99', 'max', ''];
  const cells = rows.map(({ name, summary, note = '' }) => [
    name,
    String(summary.runs),
    formatMs(summary.minMs),
    formatMs(summary.medianMs),
    formatMs(summary.p99Ms),
    formatMs(summary.maxMs),
    note,
  ]);
  const widths = head.map((title, column) =>
    Math.max(title.length, ...cells.map((row) => row[column]?.length ?? 0)),
  );
  const line = (row: readonly string[]): string =>
    row
      .map((cell, column) =>
        column === 0 || column === row.length - 1
          ? cell.padEnd(widths[column] ?? 0)
          : cell.padStart(widths[column] ?? 0),
      )
      .join('  ')
      .trimEnd();
  return [head, ...cells].map(line).join('\n');
}

/** How many times `other` the median of `row` is, for a note. */
export function ratioNote(row: Summary, other: Summary, name: string): string {
  return `${(row.medianMs / other.medianMs).toFixed(2)} × ${name}`;
}

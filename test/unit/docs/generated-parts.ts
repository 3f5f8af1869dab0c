/**
 * The parts of docs/protocol.md that code writes: the table of event types and the worked example.
 * `node test/unit/docs/rewrite.ts` puts them into the document, between the comments that name
 * them; a test holds the document against them.
 */
import { orchestrationCodes, refusalCodes } from '#schemas/errors.ts';
import { eventTypes } from '#schemas/events.ts';
import { makeBatchVector } from './batch-vector.ts';
import { makeProtocolVector, type ProtocolVector } from './protocol-vector.ts';

export const partNames = ['events', 'vector', 'batch-vector', 'orchestration-codes'] as const;
export type PartName = (typeof partNames)[number];

/** Subject of each event type, after `gyre.v1.<mesh>.`, as shared/bus/subjects.ts builds them. */
export const subjectsByType: Readonly<Record<keyof typeof eventTypes, string>> = {
  'rotation-requested': 'request.<operator>',
  'plan-approved': 'request.<operator>',
  'execution-requested': 'request.<operator>',
  'rollback-requested': 'request.<operator>',
  'recovery-requested': 'request.<operator>',
  'recovery-approved': 'request.<operator>',
  'request-refused': 'saga.requests',
  'saga-entry': 'saga.rotation.<id>, saga.slots',
  'step-commanded': 'step.<layer>.<agent>',
  'step-reported': 'report.<layer>.<agent>',
  'capability-advertised': 'capability.<layer>.<agent>',
  'healing-action-requested': 'healing.<agent>',
  'receipts-issued': 'audit.verdict, audit.receipt',
  'checkpoint-issued': 'audit.checkpoint',
  'event-restored': 'that of the event put back',
  'statement-signed': 'signer.log',
  'document-offered': 'trust.<agent>',
  'prekeys-published': 'prekey.<agent>',
  'epoch-entry': 'saga.epoch.<channel>',
  'epoch-accepted': 'epoch.<agent>',
  'epoch-rotation-requested': 'request.<operator>',
  'negotiation-requested': 'request.<operator>',
  'negotiation-opened': 'negotiation.<id>',
  'algorithms-advertised': 'negotiation.<id>',
  'negotiation-confirmed': 'negotiation.<id>',
  'negotiation-failed': 'negotiation.<id>',
  'telemetry-batch': 'telemetry.<layer>.<agent>',
  'query-asked': 'query.<agent asked>',
  'query-answered': 'query.<agent that asked>',
};

/** What stands between `<!-- begin NAME -->` and `<!-- end NAME -->`. */
export function generatedPart(name: PartName): string {
  switch (name) {
    case 'events':
      return eventsTable();
    case 'orchestration-codes':
      return orchestrationCodesTable();
    case 'vector':
      return vectorBlock(makeProtocolVector());
    case 'batch-vector':
      return vectorBlock(makeBatchVector());
  }
}

/** The part as the document has it; undefined where the document does not have it once. */
export function partIn(document: string, name: PartName): string | undefined {
  const [before, after, ...more] = document.split(`<!-- begin ${name} -->\n`);
  const [part, rest] = (after ?? '').split(`<!-- end ${name} -->`);
  return before === undefined || rest === undefined || more.length > 0 ? undefined : part?.trim();
}

/** The document with the part exchanged. */
export function withPart(document: string, name: PartName, text: string): string {
  const part = new RegExp(`(<!-- begin ${name} -->\n)[^]*?(<!-- end ${name} -->)`);
  return document.replace(
    part,
    (_all, begin: string, end: string) => `${begin}\n${text}\n\n${end}`,
  );
}

/** Refusal codes that the document must explain. */
export const documentedRefusals: readonly string[] = refusalCodes;

function eventsTable(): string {
  const rows = Object.entries(eventTypes).map(([name, type]) => [
    `\`${name}\``,
    type.senders.length === 5 ? 'everyone' : type.senders.join(', '),
    type.lane,
    type.channels.map((channel) => (channel === 'layer' ? 'layer-`n`' : channel)).join(', '),
    subjectsByType[name as keyof typeof eventTypes]
      .split(', ')
      .map((subject) => (subject.includes('.') ? `\`${subject}\`` : subject))
      .join(', '),
    String(type.schemaVersion),
    span(type.validMs),
  ]);
  return table(['type', 'sender', 'lane', 'channel', 'subject', 'schema', 'valid'], rows);
}

function orchestrationCodesTable(): string {
  const rows = Object.entries(orchestrationCodes).map(([code, { name, ...entry }]) => [
    code,
    `\`${name}\``,
    entry.meaning,
    String(entry.retriesMax),
    lockoutText(entry.lockout),
    String(entry.httpStatus),
  ]);
  return table(['code', 'name', 'meaning', 'retries', 'lockout', 'HTTP'], rows);
}

function lockoutText(lockout: (typeof orchestrationCodes)['ORCH-8001']['lockout']): string {
  if (lockout === null) return '–';
  return lockout === 'sticky' ? 'until a recovery' : `${lockout.seconds} s`;
}

/** Values that are too long to read are in docs/protocol-vector.json. */
const tooLong = new Set(['publicKey', 'seal', 'frame']);

function vectorBlock(vector: ProtocolVector): string {
  const lines = Object.entries(vector).flatMap(([name, hex]) => {
    const bytes = hex.length / 2;
    return tooLong.has(name)
      ? [`${name} (${bytes}) in protocol-vector.json`]
      : [`${name} (${bytes})`, ...(hex.match(/.{1,96}/g) ?? []).map((line) => `  ${line}`)];
  });
  return ['```text', ...lines, '```'].join('\n');
}

/** Aligned as the formatter writes tables. */
function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const widths = head.map((title, column) =>
    Math.max(3, title.length, ...rows.map((row) => (row[column] ?? '').length)),
  );
  const line = (cells: readonly string[]): string =>
    `| ${cells.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join(' | ')} |`;
  return [line(head), line(widths.map((width) => '-'.repeat(width))), ...rows.map(line)].join('\n');
}

function span(ms: number): string {
  const units: readonly (readonly [number, string])[] = [
    [86_400_000, 'day'],
    [60_000, 'minute'],
    [1000, 'second'],
  ];
  for (const [unitMs, unit] of units) {
    if (ms >= unitMs && ms % unitMs === 0) {
      const count = ms / unitMs;
      return `${count} ${unit}${count === 1 ? '' : 's'}`;
    }
  }
  return `${ms} ms`;
}

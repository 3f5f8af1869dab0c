/** The three results of an audit's verification as text, each on its own. Pure functions. */
import type { AuditResult, AuditVerdict } from '#shared/core/audit-verdict.ts';
import { fingerprint, table, typed, words, type Style } from '../style.ts';
import type { Exported } from './actions.ts';

export function renderExported(exported: Exported): string {
  const { file, bytes, records, rootDigest, rootHash } = exported;
  return [
    `wrote ${records} records (${bytes} bytes) to ${file}`,
    `  covered by the checkpoint over ${records}, head ${fingerprint(rootHash)}`,
    `  check it: gyre audit verify ${typed(file)} --root ${rootDigest}`,
  ].join('\n');
}

/** A rotation's saga is named as everywhere on the command line: by its plan. */
export function verdictResult({ rotations, ...verdict }: AuditVerdict) {
  return {
    ...verdict,
    rotations: rotations.map(({ sagaId: planId, ...rotation }) => ({ planId, ...rotation })),
  };
}

export function renderVerdict(verdict: AuditVerdict, style: Style): string {
  const { integrity, content, meaning, records, covered, uncovered } = verdict;
  const head = verdict.ok ? style.good('the audit holds') : style.failed('the audit does not hold');
  const tail =
    uncovered === 0
      ? []
      : [
          style.warning(
            `  no checkpoint covers the last ${counted(uncovered, 'record')}: they may still change`,
          ),
        ];
  const tried =
    verdict.unsound === 0
      ? []
      : [
          style.warning(
            `  ${counted(verdict.unsound, 'command')} did not hold, and no agent carried them out`,
          ),
        ];
  const documents = verdict.documents.map(({ kind, version, digest, leafIndex }) => {
    const name = kind === 'revocation' ? kind : `${kind} ${version}`;
    return `  ${name}  ${fingerprint(digest)}, from record ${leafIndex} on`;
  });
  const rotations = verdict.rotations.map(({ sagaId, phase }) => `  ${sagaId}  ${words(phase)}`);
  return [
    `${head}: ${records} records, ${covered} of them covered by ${counted(verdict.checkpoints, 'checkpoint')}`,
    table(
      [
        ['integrity', resultText(integrity, style), 'who signed what, in which order'],
        ['content', resultText(content, style), `${verdict.disclosed} bodies disclosed`],
        ['meaning', resultText(meaning, style), 'decisions follow from the events'],
      ],
      2,
    ),
    ...failureLines({ integrity, content, meaning }, style),
    ...tail,
    ...tried,
    ...documents,
    ...rotations,
  ].join('\n');
}

function counted(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? '' : 's'}`;
}

function resultText(result: AuditResult, style: Style): string {
  return result.ok ? style.good('ok') : style.failed(result.code);
}

function failureLines(results: Readonly<Record<string, AuditResult>>, style: Style): string[] {
  return Object.entries(results).flatMap(([name, result]) => {
    if (result.ok) return [];
    const places = [
      result.leafIndex === undefined ? '' : `record ${result.leafIndex}`,
      result.event === undefined ? '' : `event ${result.event}`,
      result.offset === undefined ? '' : `byte ${result.offset} of the file`,
    ].filter((place) => place !== '');
    const where = places.length === 0 ? '' : ` (${places.join(', ')})`;
    return [`  ${style.failed(name)}: ${result.reason}${where}`];
  });
}

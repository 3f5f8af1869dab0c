/** Documents for people: where one stands, and what differs between two. */
import { fingerprint, table, type Style } from '../style.ts';
import type { Difference } from './changes.ts';
import type { DocumentStanding } from './standing.ts';

const valueCharactersMax = 60;

export function renderStanding(standing: DocumentStanding, style: Style): string {
  const { kind, version, digest, expiresAt, thresholds, strangers, verdict, refusal } = standing;
  const name = version === 0 ? kind : `${kind} ${version}`;
  const shown =
    verdict === 'refused'
      ? style.failed('refused')
      : verdict === 'superseded'
        ? style.warning(verdict)
        : style.good(verdict);
  return [
    `${style.strong(name)}  ${shown}`,
    `  digest   ${digest}`,
    ...(expiresAt === undefined ? [] : [`  expires  ${expiresAt}`]),
    ...(refusal === undefined ? [] : [`  ${refusal.code}  ${refusal.rule}: ${refusal.reason}`]),
    ...thresholds.flatMap(({ name: role, threshold, signed, keys }) => [
      `  ${role}: ${signed} of ${threshold} signatures`,
      table(
        keys.map(({ keyId, operator, algorithm, state }) => [
          fingerprint(keyId),
          operator ?? '',
          algorithm,
          state === 'signed'
            ? style.good(state)
            : state === 'invalid'
              ? style.failed(state)
              : style.dim(state),
        ]),
        4,
      ),
    ]),
    ...(strangers === 0 ? [] : [`  ${strangers} signatures by keys that nobody asks for`]),
  ].join('\n');
}

export function renderDifferences(found: readonly Difference[], style: Style): string {
  if (found.length === 0) return 'no difference';
  const shown = (value: unknown): string => {
    const text = value === undefined ? '(none)' : JSON.stringify(value);
    return text.length > valueCharactersMax ? `${text.slice(0, valueCharactersMax)}…` : text;
  };
  return table(
    found.map(({ path, from, to }) => [
      path,
      style.failed(shown(from)),
      '→',
      style.good(shown(to)),
    ]),
  );
}

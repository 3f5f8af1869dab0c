/** Documents for people: where one stands, and what differs between two. */
import { fingerprint, table, type Style } from '../style.ts';
import type { Difference } from './changes.ts';
import { lackingRules, type DocumentStanding } from './standing.ts';

const valueCharactersMax = 60;

export function renderStanding(standing: DocumentStanding, style: Style): string {
  const { kind, version, digest, expiresAt, revokes, thresholds, strangers, verdict, refusal } =
    standing;
  const name = version === 0 ? kind : `${kind} ${version}`;
  const lacks = lacksOnlySignatures(standing);
  const shown =
    verdict === 'refused'
      ? lacks
        ? style.warning('needs signatures')
        : style.failed('refused')
      : verdict === 'superseded'
        ? style.warning(verdict)
        : style.good(verdict);
  return [
    `${style.strong(name)}  ${shown}`,
    `  digest   ${digest}`,
    ...(expiresAt === undefined ? [] : [`  expires  ${expiresAt}`]),
    ...(revokes === undefined ? [] : [`  revokes  ${revokes.agentId}: ${revokes.reason}`]),
    ...(refusal === undefined || lacks
      ? []
      : [`  ${refusal.code}  ${refusal.rule}: ${refusal.reason}`]),
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

/** The body of a document as it is signed, but for what no terminal has room for: keys. */
export function renderBody(body: unknown): string {
  const shortened = (_field: string, value: unknown): unknown =>
    typeof value === 'string' && value.length > valueCharactersMax && /^[\w-]+$/.test(value)
      ? isDigest(value)
        ? value
        : `${value.slice(0, 16)}… (${value.length} characters)`
      : value;
  return JSON.stringify(body, shortened, 2);
}

/** On its way: nothing speaks against it but that operators have still to sign. */
export function lacksOnlySignatures({ refusal, thresholds }: DocumentStanding): boolean {
  return (
    refusal !== undefined &&
    lackingRules.has(refusal.rule) &&
    thresholds.every(({ keys }) => keys.every(({ state }) => state !== 'invalid'))
  );
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

function isDigest(text: string): boolean {
  return /^[0-9a-f]{64}$/.test(text);
}

/**
 * What docs/protocol.md says against what the code says: event types, subjects, codes, header
 * fields, sizes, channels, streams and consumers. Whoever changes one of them is told here to
 * change the document (`node test/unit/docs/rewrite.ts` writes the generated parts).
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { refusalCodes } from '#schemas/errors.ts';
import { eventTypes } from '#schemas/events.ts';
import {
  bodyBytesMax,
  chainMessagesMax,
  Disclosure,
  Frame,
  frameBytesMax,
  Header,
  headerBytesMax,
} from '#schemas/frame.ts';
import { stepOperations } from '#schemas/saga.ts';
import { agentKinds } from '#schemas/trust.ts';
import { messageBytesMax } from '#shared/bus/bus.ts';
import { allows, permissionsOf } from '#shared/bus/permissions.ts';
import { attemptsMax, provisionPlan, type BusPrincipal } from '#shared/bus/streams.ts';
import { followSlotsMax, subjectsOf } from '#shared/bus/subjects.ts';
import { auditFailureCodes } from '#shared/core/audit-verdict.ts';
import { generatedPart, partIn, partNames, subjectsByType, withPart } from './generated-parts.ts';

const path = join(import.meta.dirname, '../../../docs/protocol.md');
const document = readFileSync(path, 'utf8');

/** Text from a heading to the next one of the same or a higher level. */
function section(heading: string): string {
  const [, text = ''] = document.split(`\n## ${heading}\n`);
  return text.split(/\n## /)[0] ?? '';
}

/** Names in backquotes at the beginning of table rows. */
function rowNames(text: string): string[] {
  return [...text.matchAll(/^\| `([^`|]+)` +\|/gm)].map(([, name = '']) => name);
}

test.each(partNames)('the generated part %s is the one of the code', (name) => {
  expect(partIn(document, name)).toBe(generatedPart(name));
});

test('a part that is missing or stands twice is noticed, and can be exchanged', () => {
  const once = 'a\n<!-- begin events -->\nold\n<!-- end events -->\nb\n';
  expect(partIn('nothing', 'events')).toBeUndefined();
  expect(partIn(once + once, 'events')).toBeUndefined();
  expect(partIn(withPart(once, 'events', 'new $1'), 'events')).toBe('new $1');
});

test('every documented subject is one, and its sender may publish there', () => {
  const mesh = 'dev';
  const subjects = subjectsOf(mesh);
  for (const [type, texts] of Object.entries(subjectsByType)) {
    if (type === 'event-restored') continue;
    const { senders } = eventTypes[type as keyof typeof eventTypes];
    for (const text of texts.split(', ')) {
      for (const kind of senders) {
        const layer = type === 'healing-action-requested' ? 7 : 1;
        const principal: BusPrincipal = {
          id: kind === 'layer' ? 'identity-a' : kind,
          kind,
          ...(kind === 'layer' ? { layer } : {}),
        };
        const target = type === 'step-commanded' ? 'identity-a' : principal.id;
        const subject =
          subjects.prefix +
          text
            .replace('<operator>', principal.id)
            .replace('<layer>', '1')
            .replace('<id>', 'rot-1')
            .replace('<channel>', 'mesh')
            .replace(/<agent[^>]*>/, target);
        expect(subjects.parse(subject), `${type} on ${subject}`).not.toBeNull();
        if (type.startsWith('query-')) continue;
        const { publish } = permissionsOf(mesh, principal);
        expect(allows(publish, subject), `${kind} on ${subject}`).toBe(true);
      }
    }
  }
});

test('frame, header and disclosure have the documented keys', () => {
  const [parts = '', header = ''] = section('The frame').split('The header is a map');
  expect(rowNames(parts).sort()).toEqual(Object.keys(Frame.properties).sort());
  expect(rowNames(header).sort()).toEqual(Object.keys(Header.properties).sort());
  const disclosed = section('Disclosures');
  for (const name of Object.keys(Disclosure.properties)) expect(disclosed).toContain(`\`${name}\``);
});

test('sizes are the documented ones', () => {
  const frame = section('The frame');
  expect(frame).toContain(`at most ${frameBytesMax.toLocaleString('en')} bytes`);
  expect(frame).toContain(`1 to ${headerBytesMax.toLocaleString('en')}`);
  expect(frame).toContain(`1 to ${bodyBytesMax.toLocaleString('en')} bytes`);
  const { ciphertext } = Frame.properties;
  const { 'x-bytesMin': min, 'x-bytesMax': max } = ciphertext as unknown as Record<string, number>;
  expect(frame).toContain(`${min} to ${max?.toLocaleString('en')}`);
  expect(chainMessagesMax).toBe(2 ** 20);
  expect(section('Subjects, streams and consumers')).toContain(
    `at most ${messageBytesMax.toLocaleString('en')} bytes`,
  );
});

test('every refusal code is explained where the checks are', () => {
  const checks = section('What a receiver checks, and in which order');
  const missing = refusalCodes.filter((code) => !checks.includes(`\`${code}\``));
  expect(missing).toEqual([]);
});

test('every way in which an audit can fail is named', () => {
  const text = section('An exported audit');
  expect(auditFailureCodes.filter((code) => !text.includes(`\`${code}\``))).toEqual([]);
});

test('every operation of a step is explained, once', () => {
  const [, table = ''] = section('Sagas and receipts').split(/^\| operation .*$/m);
  const [rows = ''] = table.trim().split('\n\n');
  expect(rowNames(rows).toSorted()).toEqual(stepOperations.toSorted());
});

test('streams and consumers are the documented ones', () => {
  const text = section('Subjects, streams and consumers');
  const principals = agentKinds.map((kind): BusPrincipal => ({
    id: kind === 'layer' ? 'layer-agent' : kind,
    kind,
    ...(kind === 'layer' ? { layer: 1 } : {}),
  }));
  const { streams, consumers } = provisionPlan({ mesh: 'dev', principals });
  expect(rowNames(text).filter((name) => name.startsWith('GYRE_'))).toEqual(
    streams.map(({ name }) => name),
  );
  const documented = [...text.matchAll(/^\| `<([a-z ]+)>_([a-z]+)` +\|.*\| (\d+) +\|$/gm)].map(
    ([, agent = '', purpose = '', unacked]) => ({
      name: `${agent.replace(' ', '-')}_${purpose}`,
      unackedMax: Number(unacked),
    }),
  );
  const planned = consumers.map(({ name, unackedMax }) => ({ name, unackedMax }));
  const byName = (one: { name: string }, other: { name: string }) =>
    one.name < other.name ? -1 : 1;
  expect(documented.sort(byName)).toEqual(planned.sort(byName));
  expect(text).toContain(`after ${attemptsMax} deliveries`);
  expect(text).toContain(`\`<agent>_follow${followSlotsMax - 1}\``);
});

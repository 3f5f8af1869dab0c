/** What a service says of a body that it cannot take: where, and by which rule, and nothing of what was sent. */
import { expect, test } from 'vitest';
import { List, StrictObject, Text, Uint, compile } from '#schemas/primitives.ts';
import { serviceProblemCheck } from '#schemas/service.ts';
import { Refused, bodyOf, misfit, serviceApp } from '#agents/layers/service/http-app.ts';
import { reasonCharsMax } from '#shared/core/reason.ts';
import { quiet } from '../../support/world.ts';

const check = compile(
  StrictObject({ count: Uint(9), names: List(StrictObject({ name: Text(8) }), { itemsMax: 4 }) }),
);

async function answerTo(body: string): Promise<unknown> {
  const { app } = serviceApp({ log: quiet, status: {} });
  app.post('/', async (context) => context.json(await bodyOf(context, check)));
  const response = await app.request('/', { method: 'POST', body });
  return await response.json();
}

test.each([
  ['a field that is missing', { names: [] }, '/: must have required properties count'],
  ['a field that is not known', { count: 1, names: [], extra: 'S' }, '/extra: no such field is'],
  ['a value deep inside', { count: 1, names: [{ name: 'SECRET-SECRET' }] }, '/names/0/name: '],
  ['something else altogether', 'SECRET', '/: must be object'],
])('%s is named', async (_, body, where) => {
  const answer = await answerTo(JSON.stringify(body));
  expect(answer).toMatchObject({
    error: {
      code: 'REQUEST_MALFORMED',
      reason: expect.stringContaining(`the body does not fit at ${where}`),
    },
  });
  expect(JSON.stringify(answer)).not.toContain('SECRET');
});

test.each([
  ['control characters', '\u001b[2J\u0007\n', '/ [2J  : no such field is known'],
  ['half a character', '\ud83d', '/\ufffd: no such field is known'],
  ['very many', 'x'.repeat(10_000), `/${'x'.repeat(118)}…: no such field is known`],
  ['a whole character where it is cut', `${'x'.repeat(117)}\u{1f600}y`, 'x\ufffd…: no such field'],
])(
  'a field that is not known has a name of %s, and its refusal can be read',
  async (_, name, where) => {
    const answer = await answerTo(JSON.stringify({ count: 1, names: [], [name]: 'SECRET' }));
    expect(serviceProblemCheck.errors(answer)).toEqual([]);
    expect(answer).toMatchObject({ error: { reason: expect.stringContaining(where) } });
    expect(JSON.stringify(answer)).not.toContain('SECRET');
  },
);

test('whatever a refusal is made of, a client can read it', () => {
  const { message } = new Refused('INTERNAL', `\u001b[31m${'x'.repeat(2_000)}`);
  expect(message).toMatch(/^ \[31mx+$/);
  expect(message).toHaveLength(reasonCharsMax);
});

test('where nothing is known of the place, no place is named', () => {
  expect(misfit('the body', { errors: () => [] }, {})).toBe(
    'the body has another form than is asked for',
  );
});

test('what is no JSON is told as that', async () => {
  expect(await answerTo('{')).toMatchObject({ error: { reason: 'the body is not JSON' } });
});

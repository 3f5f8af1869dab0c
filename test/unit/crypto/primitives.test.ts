/** The building blocks of the schemas: bounds hold, unknown fields are refused, errors are few. */
import { describe, expect, expectTypeOf, test } from 'vitest';
import {
  AgentId,
  Base64Url,
  Bytes,
  BytesMax,
  BytesRange,
  compile,
  DigestHex,
  ERRORS_MAX,
  Identifier,
  KebabName,
  List,
  MapOf,
  OneOf,
  StrictObject,
  Subject,
  Text,
  TimeMs,
  Type,
  Uint,
} from '#schemas/primitives.ts';
import type { Static } from '#schemas/primitives.ts';

describe('bytes', () => {
  test('exact, maximal and ranged lengths', () => {
    const exact = compile(Bytes(32));
    expect(exact.check(new Uint8Array(32))).toBe(true);
    expect(exact.check(Buffer.alloc(32))).toBe(true);
    for (const value of [
      new Uint8Array(31),
      new Uint8Array(33),
      new Array(32).fill(0),
      'x'.repeat(32),
      null,
      undefined,
      { length: 32 },
      new Uint16Array(32),
    ]) {
      expect(exact.check(value)).toBe(false);
    }
    const max = compile(BytesMax(4));
    expect([0, 4, 5].map((bytes) => max.check(new Uint8Array(bytes)))).toEqual([true, true, false]);
    const range = compile(BytesRange({ bytesMin: 1, bytesMax: 2 }));
    expect([0, 1, 2, 3].map((bytes) => range.check(new Uint8Array(bytes)))).toEqual([
      false,
      true,
      true,
      false,
    ]);
  });

  test('the JSON Schema artefact states them', () => {
    const artefact: unknown = JSON.parse(JSON.stringify(StrictObject({ key: Bytes(32) })));
    expect(artefact).toEqual({
      type: 'object',
      required: ['key'],
      additionalProperties: false,
      properties: {
        key: expect.objectContaining({ 'x-msgpack': 'bin', 'x-bytesMin': 32, 'x-bytesMax': 32 }),
      },
    });
  });
});

describe('StrictObject', () => {
  const schema = StrictObject({
    id: AgentId(),
    at: Type.Optional(TimeMs()),
    kind: OneOf(['a', 'b']),
    nested: StrictObject({ list: List(Uint(3), { itemsMax: 2 }) }),
  });
  const validator = compile(schema);
  const good = { id: 'op-1', kind: 'a', nested: { list: [1, 3] } };

  test('types follow the schema', () => {
    expectTypeOf<Static<typeof schema>>().toEqualTypeOf<{
      id: string;
      at?: number;
      kind: 'a' | 'b';
      nested: { list: number[] };
    }>();
    expectTypeOf<Static<ReturnType<typeof Bytes>>>().toEqualTypeOf<Uint8Array>();
  });

  test('accepts exactly its fields', () => {
    expect(validator.check(good)).toBe(true);
    expect(validator.check({ ...good, at: 5 })).toBe(true);
    expect(validator.check({ ...good, extra: 1 })).toBe(false);
    expect(validator.check({ ...good, nested: { list: [], extra: 1 } })).toBe(false);
    expect(validator.check({ ...good, nested: { list: [1, 2, 3] } })).toBe(false);
    expect(validator.check({ ...good, nested: { list: [4] } })).toBe(false);
    expect(validator.check({ ...good, kind: 'c' })).toBe(false);
    expect(validator.check({ id: 'op-1', kind: 'a' })).toBe(false);
  });

  test('an optional field set to undefined is refused', () => {
    expect(validator.check({ ...good, at: undefined })).toBe(false);
  });

  test.each([null, undefined, 1, 'text', [], new Map(), () => 1])('refuses %s', (value) => {
    expect(validator.check(value)).toBe(false);
  });

  test('errors are bounded and name paths, not values', () => {
    expect(validator.errors(good)).toEqual([]);
    const lines = validator.errors({ ...good, id: 'SECRET VALUE' });
    expect(lines.length).toBeGreaterThan(0);
    expect(lines.join()).toContain('/id');
    expect(lines.join()).not.toContain('SECRET');
    const many = compile(List(Uint(1), { itemsMax: 100 }));
    expect(many.errors(new Array(100).fill(-1)).length).toBeLessThanOrEqual(ERRORS_MAX);
    const long = validator.errors({ ...good, ['x'.repeat(10_000)]: 1 });
    for (const line of long) expect(line.length).toBeLessThanOrEqual(240);
  });
});

describe('strings and numbers', () => {
  const cases: readonly (readonly [
    string,
    ReturnType<typeof AgentId>,
    readonly string[],
    readonly string[],
  ])[] = [
    [
      'AgentId',
      AgentId(),
      ['a', 'layer-1-identity', `a${'b'.repeat(62)}`],
      ['', '1a', 'A', 'a.b', 'a b', 'a\n', `a${'b'.repeat(63)}`],
    ],
    [
      'DigestHex',
      DigestHex(),
      ['0'.repeat(64), 'af'.repeat(32)],
      ['', 'AF'.repeat(32), '0'.repeat(63), `${'0'.repeat(64)}\n`],
    ],
    [
      'Base64Url',
      Base64Url(6170),
      // Of no bytes, of bits left over: which text has bytes is for who reads them.
      ['a', 'A_-9', 'AB', 'abcde', `A_-9${'x'.repeat(6166)}`],
      ['', 'a=', 'YQ==', 'a+b', 'ab/d', ' YWI', 'YWI\n', 'a b', 'ä', 'YWIä', 'a'.repeat(6171)],
    ],
    [
      'Identifier',
      Identifier(),
      ['a', 'A_9-z', 'x'.repeat(64)],
      ['', '-a', 'a.b', 'a>b', 'a*', 'x'.repeat(65)],
    ],
    ['KebabName', KebabName(), ['step-ordered', 'a1'], ['', 'a-', '-a', 'a--b', 'A', 'a_b']],
    [
      'Subject',
      Subject(),
      ['gyre.v1.dev.saga.rotation.x', 'a'],
      ['', '.a', 'a.', 'a..b', 'a.*', 'a.>', 'a b'],
    ],
    ['Text', Text(3), ['', 'a\nb', 'äöü'], ['abcd', 'a\u0000', 'a\u001b', 'a\u0085']],
  ];
  test.each(cases)('%s', (_name, schema, accepted, refused) => {
    const { check } = compile(schema);
    for (const value of accepted) expect(check(value), value).toBe(true);
    for (const value of refused) expect(check(value), JSON.stringify(value)).toBe(false);
  });

  test('integers', () => {
    const { check } = compile(Uint(10));
    expect(
      [0, 10, 11, -1, 1.5, Number.NaN, Infinity, '1', 1n].map((value) => check(value)),
    ).toEqual([true, true, false, false, false, false, false, false, false]);
    expect(compile(TimeMs()).check(Date.UTC(9999, 11, 31, 23, 59, 59, 999) + 1)).toBe(false);
  });

  test('maps are bounded in keys and entries', () => {
    const { check } = compile(MapOf(Uint(9), { keyPattern: '^[a-z]{1,3}$', entriesMax: 2 }));
    expect(check({})).toBe(true);
    expect(check({ a: 1, abc: 2 })).toBe(true);
    expect(check({ a: 1, b: 2, c: 3 })).toBe(false);
    expect(check({ A: 1 })).toBe(false);
    expect(check({ a: 10 })).toBe(false);
    expect(check(null)).toBe(false);
  });
});

/**
 * A value of a schema with something changed somewhere inside: a field of another type, text that no
 * encoding carries, numbers at the edges, fields twice as many, a field taken from elsewhere. Most of it
 * is refused at the schema; what passes it is what this is for.
 */
import fc from 'fast-check';

type Container = Record<string, unknown> | unknown[];

/** What is put where something else stood: whatever JSON or MessagePack can carry. */
const replacement: fc.Arbitrary<unknown> = fc.oneof(
  fc.constantFrom<unknown>(
    null,
    true,
    '',
    'x',
    '\ud800',
    '\ufeff',
    '__proto__',
    'a'.repeat(300),
    '2026-02-31T00:00:00.000Z',
    '2026-13-01T00:00:00.000Z',
    '9999-12-31T23:59:59.999Z',
    0,
    -1,
    1.5,
    Number.MAX_SAFE_INTEGER,
    2 ** 53,
    1e300,
    [],
    {},
    [[]],
    JSON.parse('{"__proto__":{"a":1},"constructor":2}'),
    new Uint8Array(),
    new Uint8Array(32),
  ),
  fc.string({ unit: 'binary', maxLength: 40 }),
  fc.integer(),
  fc.double(),
  fc.jsonValue({ maxDepth: 3 }),
);

/** One of `values`, with one to three places changed. */
export function alteredOf<Value>(values: readonly Value[]): fc.Arbitrary<unknown> {
  const step = fc.tuple(fc.array(fc.nat(), { minLength: 1, maxLength: 12 }), fc.nat(), replacement);
  return fc
    .tuple(fc.nat(), fc.array(step, { minLength: 1, maxLength: 3 }))
    .map(([which, steps]) =>
      steps.reduce<unknown>(
        (value, [path, how, put]) => altered(value, path, { how, put }),
        values[which % values.length],
      ),
    );
}

function altered(
  value: unknown,
  [step, ...rest]: readonly number[],
  change: { readonly how: number; readonly put: unknown },
): unknown {
  if (step === undefined || !isContainer(value)) return change.put;
  const keys = Object.keys(value);
  const key = keys[step % Math.max(1, keys.length)];
  if (key === undefined) return change.put;
  const copy = copyOf(value);
  if (rest.length > 0 && isContainer(fieldOf(value, key))) {
    setField(copy, key, altered(fieldOf(value, key), rest, change));
    return copy;
  }
  const other = keys[change.how % keys.length] ?? key;
  switch (change.how % 6) {
    case 0:
      return without(copy, key);
    case 1:
      setField(copy, key, fieldOf(value, other));
      return copy;
    case 2:
      setField(copy, Array.isArray(copy) ? String(copy.length) : `${key}x`, change.put);
      return copy;
    default:
      setField(copy, key, change.put);
      return copy;
  }
}

function isContainer(value: unknown): value is Container {
  return typeof value === 'object' && value !== null && !ArrayBuffer.isView(value);
}

function copyOf(value: Container): Container {
  return Array.isArray(value) ? [...value] : { ...value };
}

function without(copy: Container, key: string): Container {
  if (Array.isArray(copy)) return copy.toSpliced(Number(key), 1);
  Reflect.deleteProperty(copy, key);
  return copy;
}

function fieldOf(value: Container, key: string): unknown {
  return Reflect.get(value, key);
}

/** An own field, whatever its name. */
function setField(target: Container, key: string, value: unknown): void {
  Object.defineProperty(target, key, {
    value,
    enumerable: true,
    writable: true,
    configurable: true,
  });
}

/**
 * The building blocks of every schema: bounded bytes, identifiers, digests, numbers and times,
 * and `compile`, which turns a schema into a check.
 *
 * Invariants carried here: every size that comes from outside has an upper bound, an unknown
 * field is refused (`StrictObject`), and an optional field is either absent or has its type (an
 * explicit `undefined` is refused, because it would not survive encoding). Byte fields are
 * `Uint8Array` in memory and MessagePack `bin` on the wire; JSON Schema has no such type, so the
 * artefact states them as annotations (`x-msgpack`, `x-bytesMin`, `x-bytesMax`).
 */
import { Settings } from 'typebox/system';
import { Compile } from 'typebox/compile';
import Type from 'typebox';
import type { Static, TObject, TProperties, TSchema, TUnsafe } from 'typebox';

export { Type };
export type { Static, TSchema };

Settings.Set({ exactOptionalPropertyTypes: true });

/** Bytes of a SHA3-256, SHA-256 or BLAKE3-256 digest, of a salt, an incarnation, a seed. */
export const DIGEST_BYTES = 32;

/** How many errors `Validator.errors` reports at the most, and how long each may be. */
export const ERRORS_MAX = 8;
const ERROR_CHARS_MAX = 240;
/** Of them for the path, so that the rule is never cut away: field names may be of any length. */
const ERROR_PATH_CHARS_MAX = 120;

/** Latest time that a message may name: 9999-12-31T23:59:59.999Z in milliseconds. */
export const TIME_MS_MAX = 253_402_300_799_999;

/** Options of a bounded string or number: what it is for. */
export interface Annotated {
  readonly description?: string;
}

/** An object that has exactly the given fields: anything else is refused. */
export function StrictObject<Properties extends TProperties>(
  properties: Properties,
  annotated: Annotated = {},
): TObject<Properties> {
  return Type.Object(properties, { ...annotated, additionalProperties: false });
}

/** A `Uint8Array` of exactly `bytes` bytes. */
export function Bytes(bytes: number, annotated: Annotated = {}): TUnsafe<Uint8Array> {
  return BytesRange({ bytesMin: bytes, bytesMax: bytes }, annotated);
}

/** A `Uint8Array` of at most `bytesMax` bytes; empty is allowed. */
export function BytesMax(bytesMax: number, annotated: Annotated = {}): TUnsafe<Uint8Array> {
  return BytesRange({ bytesMin: 0, bytesMax }, annotated);
}

/** A `Uint8Array` of `bytesMin` to `bytesMax` bytes, both included. */
export function BytesRange(
  { bytesMin, bytesMax }: { readonly bytesMin: number; readonly bytesMax: number },
  annotated: Annotated = {},
): TUnsafe<Uint8Array> {
  const size = bytesMin === bytesMax ? `exactly ${bytesMax}` : `${bytesMin} to ${bytesMax}`;
  const schema = Type.Unsafe<Uint8Array>({
    description: `binary, ${size} bytes`,
    ...annotated,
    'x-msgpack': 'bin',
    'x-bytesMin': bytesMin,
    'x-bytesMax': bytesMax,
  });
  return Type.Refine(
    schema,
    (value: unknown) =>
      value instanceof Uint8Array && value.length >= bytesMin && value.length <= bytesMax,
    () => `must be binary of ${size} bytes`,
  );
}

/** A list of at most `itemsMax` (and at least `itemsMin`, 0 unless told) elements. */
export function List<Item extends TSchema>(
  item: Item,
  { itemsMin = 0, itemsMax }: { readonly itemsMin?: number; readonly itemsMax: number },
) {
  return Type.Array(item, { minItems: itemsMin, maxItems: itemsMax });
}

/** One of the given strings. */
export function OneOf<const Values extends readonly string[]>(
  values: Values,
  annotated: Annotated = {},
): TUnsafe<Values[number]> {
  return Type.Unsafe<Values[number]>({ ...annotated, type: 'string', enum: [...values] });
}

/** A string-keyed map of at most `entriesMax` entries whose keys match `keyPattern`. */
export function MapOf<Value extends TSchema>(
  value: Value,
  { keyPattern, entriesMax }: { readonly keyPattern: string; readonly entriesMax: number },
): TUnsafe<Record<string, Static<Value>>> {
  return Type.Unsafe<Record<string, Static<Value>>>({
    type: 'object',
    patternProperties: { [keyPattern]: value },
    additionalProperties: false,
    maxProperties: entriesMax,
  });
}

/** Free text for people: at most `charsMax` code points, no control characters but newline. */
export function Text(charsMax: number, annotated: Annotated = {}) {
  return Type.String({
    ...annotated,
    maxLength: charsMax,
    pattern: '^[^\\u0000-\\u0009\\u000b-\\u001f\\u007f-\\u009f]*$',
  });
}

/** A digest as 64 lowercase hexadecimal characters (32 bytes). */
export function DigestHex(annotated: Annotated = {}) {
  return Type.String({ ...annotated, pattern: '^[0-9a-f]{64}$' });
}

/** Bytes as unpadded base64url (RFC 4648 section 5), 1 to `charsMax` characters. */
export function Base64Url(charsMax: number, annotated: Annotated = {}) {
  const schema = Type.String({
    ...annotated,
    contentEncoding: 'base64url',
    minLength: 1,
    maxLength: charsMax,
  });
  return Type.Refine(
    schema,
    (value: unknown) => typeof value === 'string' && isBase64Url(value),
    () => 'must be base64url without padding',
  );
}

const base64UrlPattern = /^[A-Za-z0-9_-]+$/;

/**
 * As the pattern says. A signature has 6,170 characters, an anchor's 39,723, and what comes back from the
 * decoder as it was is base64url: to know it that way is much faster than the pattern.
 */
function isBase64Url(text: string): boolean {
  return (
    Buffer.from(text, 'base64url').toString('base64url') === text || base64UrlPattern.test(text)
  );
}

/** Name of an agent or an operator: lower case, digits and hyphens, 1 to 63 characters. */
export function AgentId(annotated: Annotated = {}) {
  return Type.String({ ...annotated, pattern: AGENT_ID_PATTERN, maxLength: 63 });
}

/** Pattern of `AgentId`, for places that need it as text (subjects, map keys). */
export const AGENT_ID_PATTERN = '^[a-z][a-z0-9-]{0,62}$';

/** An identifier of our own making (plan, saga, slot, event, request): 1 to 64 characters. */
export function Identifier(annotated: Annotated = {}) {
  return Type.String({ ...annotated, pattern: IDENTIFIER_PATTERN, maxLength: 64 });
}

/** Pattern of `Identifier`: no dots, spaces or wildcards, so that it can be a subject token. */
export const IDENTIFIER_PATTERN = '^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$';

/** A name in kebab-case (event types, channels, step names), 1 to 63 characters. */
export function KebabName(annotated: Annotated = {}) {
  return Type.String({
    ...annotated,
    pattern: '^[a-z][a-z0-9]*(-[a-z0-9]+)*$',
    minLength: 1,
    maxLength: 63,
  });
}

/** A name in snake_case (field names of signed documents, document kinds), 1 to 63 characters. */
export function SnakeName(annotated: Annotated = {}) {
  return Type.String({
    ...annotated,
    pattern: '^[a-z][a-z0-9]*(_[a-z0-9]+)*$',
    minLength: 1,
    maxLength: 63,
  });
}

/** Name of an algorithm as the registry writes it (`ML-DSA-87`), 1 to 63 characters. */
export function AlgorithmName(annotated: Annotated = {}) {
  return Type.String({
    ...annotated,
    pattern: '^[A-Za-z0-9][A-Za-z0-9+_.-]{0,62}$',
    maxLength: 63,
  });
}

/** A subject of the bus without wildcards: dot-separated tokens, at most 255 characters. */
export function Subject(annotated: Annotated = {}) {
  return Type.String({
    ...annotated,
    pattern: '^[A-Za-z0-9_-]+(\\.[A-Za-z0-9_-]+)*$',
    minLength: 1,
    maxLength: 255,
  });
}

/** A non-negative integer of at most `max` (the largest safe integer unless told). */
export function Uint(max: number = Number.MAX_SAFE_INTEGER, annotated: Annotated = {}) {
  return Type.Integer({ ...annotated, minimum: 0, maximum: max });
}

/** An integer from `min` to `max`, both included. */
export function IntegerRange(
  { min, max }: { readonly min: number; readonly max: number },
  annotated: Annotated = {},
) {
  return Type.Integer({ ...annotated, minimum: min, maximum: max });
}

/** A version of a document or schema: 1 to 2^32 - 1. */
export function Version(annotated: Annotated = {}) {
  return IntegerRange({ min: 1, max: 0xffff_ffff }, annotated);
}

/** Number of a layer: 1 to 7. */
export function Layer(annotated: Annotated = {}) {
  return IntegerRange({ min: 1, max: 7 }, annotated);
}

/** A moment in milliseconds since 1970-01-01T00:00:00Z, up to the year 9999. */
export function TimeMs(annotated: Annotated = {}) {
  return Uint(TIME_MS_MAX, annotated);
}

/** A span of time in milliseconds, at most `maxMs` (ten years unless told). */
export function DurationMs(maxMs: number = 315_576_000_000, annotated: Annotated = {}) {
  return Uint(maxMs, annotated);
}

/** A compiled schema. */
export interface Validator<Schema extends TSchema> {
  /** The schema itself: the JSON Schema artefact. */
  readonly schema: Schema;
  /** Whether `value` is of this schema. Never throws and never changes the value. */
  check(value: unknown): value is Static<Schema>;
  /**
   * What is wrong, for logs and people: at most `ERRORS_MAX` lines of `<path>: <message>`, each
   * at most 240 characters. Lines name paths and rules, never the refused values. Names of fields
   * that are not known are in the paths as they were sent, control characters included.
   */
  errors(value: unknown): string[];
}

/**
 * A validator of `schema`. Compiling costs milliseconds, so it happens at the first use: a process
 * pays only for the schemas that it meets. Call it once per schema, at module level.
 */
export function compile<Schema extends TSchema>(schema: Schema): Validator<Schema> {
  let built: ReturnType<typeof Compile<Schema>> | undefined;
  const compiled = () => (built ??= Compile(schema));
  return {
    schema,
    check: (value: unknown): value is Static<Schema> => compiled().Check(value),
    errors: (value: unknown) =>
      compiled()
        .Errors(value)
        .slice(0, ERRORS_MAX)
        .map(({ instancePath, message }) =>
          `${pathText(instancePath)}: ${message}`.slice(0, ERROR_CHARS_MAX),
        ),
  };
}

/** A JSON pointer for people: the whole value is `/`, and what is too long ends in `…`. */
function pathText(pointer: string): string {
  if (pointer === '') return '/';
  if (pointer.length <= ERROR_PATH_CHARS_MAX) return pointer;
  return `${pointer.slice(0, ERROR_PATH_CHARS_MAX - 1)}…`;
}

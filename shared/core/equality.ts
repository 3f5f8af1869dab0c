/**
 * Equality of plain data: same keys, same values, whatever the order of the keys. For signed bodies
 * that must be the ones that were asked for, and for sets written as lists.
 */

/** Whether two values of JSON-able data are equal. */
export function sameData(one: unknown, other: unknown): boolean {
  if (one === other) return true;
  if (typeof one !== 'object' || typeof other !== 'object') return false;
  if (one === null || other === null) return false;
  if (Array.isArray(one) || Array.isArray(other)) {
    return (
      Array.isArray(one) &&
      Array.isArray(other) &&
      one.length === other.length &&
      one.every((item, position) => sameData(item, other[position]))
    );
  }
  const entries = Object.entries(one);
  const others = new Map(Object.entries(other));
  return (
    entries.length === others.size &&
    entries.every(([key, value]) => others.has(key) && sameData(value, others.get(key)))
  );
}

/** Whether two lists hold the same values, in any order and without repetition. */
export function sameMembers<Value>(one: readonly Value[], other: readonly Value[]): boolean {
  const values = new Set(one);
  return (
    values.size === one.length &&
    one.length === other.length &&
    other.every((value) => values.has(value)) &&
    new Set(other).size === other.length
  );
}

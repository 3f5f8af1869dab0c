/** Names of fields in the order that both canonical forms write them in: RFC 8785, by UTF-16 code units. */

/** Up to here inserting one name after the other is faster than the sort of the runtime. */
const fewKeys = 24;

export function sortedKeys(fields: object): string[] {
  const keys = Object.keys(fields);
  if (keys.length > fewKeys) return keys.sort();
  for (let index = 1; index < keys.length; index += 1) {
    const key = keys[index] ?? '';
    let at = index;
    for (; at > 0 && (keys[at - 1] ?? '') > key; at -= 1) keys[at] = keys[at - 1] ?? '';
    keys[at] = key;
  }
  return keys;
}

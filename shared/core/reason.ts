/**
 * A reason as messages carry it: whatever text it is made of, at most 500 characters, whole ones, and
 * nothing that a message cannot hold. Texts of others end up in our own messages; none of them may
 * make a message that its sender cannot send (invariant 12).
 */

export const reasonCharsMax = 500;

/** Cut to 500 UTF-16 units and never inside a character; control characters become spaces. */
export function reasonOf(text: string): string {
  const plain = text.replaceAll(/(?!\n)\p{Cc}/gu, ' ').toWellFormed();
  if (plain.length <= reasonCharsMax) return plain;
  const cut = plain.slice(0, reasonCharsMax);
  return cut.isWellFormed() ? cut : cut.slice(0, -1);
}

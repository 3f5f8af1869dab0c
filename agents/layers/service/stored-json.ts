/** JSON as a store gives it back: what is damaged is no value, and refused by the check of its schema. */

export function storedJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}

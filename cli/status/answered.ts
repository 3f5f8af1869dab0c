/** What one part of a mesh answered when the status was asked for, or why it did not. */
export type Answered<Value> =
  | { readonly ok: true; readonly value: Value }
  | { readonly ok: false; readonly code: string; readonly reason: string };

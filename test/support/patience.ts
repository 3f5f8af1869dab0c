/**
 * How long tests of whole meshes wait for what is bound to come. These figures guard against hanging and
 * assert nothing: on a machine that is four times slower than usual, whatever is right still ends within
 * them. What can be seen to have failed is not waited for: a process that has ended fails at once.
 */

/** For one command, one answer, one thing that is looked for again and again. */
export const patienceMs = 150_000;

/** For one test or hook that does many of them, on a mesh of processes. */
export const hangMs = 600_000;

const pollMs = 100;

/** Looks until it is as wanted. What `look` throws is not waited for. */
export async function until<Value>(
  look: () => Value | Promise<Value>,
  wanted: (value: Value) => boolean,
  what: string,
): Promise<Value> {
  const deadlineMs = performance.now() + patienceMs;
  for (;;) {
    const value = await look();
    if (wanted(value)) return value;
    if (performance.now() > deadlineMs) {
      throw new Error(`not in time: ${what}: ${JSON.stringify(value)}`);
    }
    await new Promise((resolve) => setTimeout(resolve, pollMs));
  }
}

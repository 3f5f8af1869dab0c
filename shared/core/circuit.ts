/**
 * A circuit breaker's decisions, as a function of state and event with time in the events. Closed, calls
 * go through; so many failures in a row open it; open, calls are refused at once for a while that
 * doubles each time; then one call is let through to try, and its outcome closes or opens it again.
 */

export interface CircuitRules {
  /** Failures in a row that open it. */
  readonly failuresMax: number;
  /** How long it stays open the first time, and at the most. */
  readonly openMs: number;
  readonly openMsMax: number;
}

export type Circuit =
  | { readonly standing: 'closed'; readonly failures: number; readonly opened: number }
  /** `opened`: times in a row, without a success between. */
  | { readonly standing: 'open'; readonly untilMs: number; readonly opened: number }
  /** One call is on its way; if nothing is heard of it, another may go after `untilMs`. */
  | { readonly standing: 'half-open'; readonly untilMs: number; readonly opened: number };

export const closedCircuit: Circuit = { standing: 'closed', failures: 0, opened: 0 };

export const circuitRules: CircuitRules = { failuresMax: 5, openMs: 500, openMsMax: 15_000 };

/** Whether a call may go out at this time, and what follows from its going. */
export function admitCall(
  circuit: Circuit,
  nowMs: number,
  rules: CircuitRules = circuitRules,
): { readonly circuit: Circuit; readonly admitted: boolean } {
  if (circuit.standing === 'closed') return { circuit, admitted: true };
  if (nowMs < circuit.untilMs) return { circuit, admitted: false };
  const { opened } = circuit;
  const trying = { standing: 'half-open', untilMs: nowMs + rules.openMsMax, opened } as const;
  return { circuit: trying, admitted: true };
}

/** What became of a call. */
export function noteCall(
  circuit: Circuit,
  outcome: 'done' | 'failed',
  nowMs: number,
  rules: CircuitRules = circuitRules,
): Circuit {
  if (outcome === 'done') {
    // A late answer of a call from before the opening says nothing of now.
    return circuit.standing === 'open' ? circuit : closedCircuit;
  }
  switch (circuit.standing) {
    case 'closed': {
      const failures = circuit.failures + 1;
      return failures < rules.failuresMax
        ? { ...circuit, failures }
        : opening(circuit.opened, nowMs, rules);
    }
    case 'half-open':
      return opening(circuit.opened, nowMs, rules);
    case 'open':
      return circuit;
  }
}

/** The call that was to try came to nothing before it was one: another may go at once. */
export function withdrawCall(circuit: Circuit, nowMs: number): Circuit {
  return circuit.standing === 'half-open'
    ? { standing: 'open', untilMs: nowMs, opened: circuit.opened }
    : circuit;
}

function opening(before: number, nowMs: number, { openMs, openMsMax }: CircuitRules): Circuit {
  const spanMs = Math.min(openMsMax, openMs * 2 ** Math.min(before, 16));
  return { standing: 'open', untilMs: nowMs + spanMs, opened: before + 1 };
}

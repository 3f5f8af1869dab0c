/**
 * What a command says while nothing comes: who does not answer, or that nobody has decided yet. It is
 * said once, on standard error, and never delays the command.
 */

/** What was found about the agents that a command depends on. */
export interface Look {
  /** One entry for each agent that hinders, such as `signer does not answer`. */
  readonly hindrances: readonly string[];
  /** Whether a request is stored on which no orchestrator has decided. */
  readonly undecided: boolean;
}

export interface Patience {
  readonly afterMs: number;
  /** Whether something was said already: then nobody wonders. */
  readonly hasTold: () => boolean;
  readonly look: () => Promise<Look>;
  readonly tell: (line: string) => void;
}

export function waitingLine({ hindrances, undecided }: Look): string {
  const parts = [
    ...(undecided ? ['no orchestrator has decided on the request yet'] : []),
    hindrances.length === 0
      ? 'it takes longer than usual; every agent that was asked answers'
      : hindrances.join(', '),
  ];
  return `waiting: ${parts.join('; ')}`;
}

/** Runs `work`, and says what it waits for if it takes longer than `afterMs`. */
export async function tellIfSlow<Result>(
  work: Promise<Result>,
  { afterMs, hasTold, look, tell }: Patience,
): Promise<Result> {
  let ended = false;
  const told = Promise.withResolvers<never>();
  const timer = setTimeout(() => {
    if (hasTold()) return;
    look().then((found) => {
      if (!ended && !hasTold()) tell(waitingLine(found));
    }, told.reject);
  }, afterMs);
  try {
    return await Promise.race([work, told.promise]);
  } finally {
    ended = true;
    clearTimeout(timer);
  }
}

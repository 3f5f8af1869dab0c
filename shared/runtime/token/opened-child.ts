/**
 * A token child that has logged in: how it is started, what it may be asked for, and what the token
 * in it is called. What every kind of token that lives in a child has in common.
 */
import type { Operation, Outcome } from './child-messages.ts';
import { TokenProcess, type ChildLoss } from './child-process.ts';
import { ChildSupervisor, type TokenEvent } from './child-supervisor.ts';
import { readPin, type PinSource } from './pin.ts';
import type { TokenInfo } from './pkcs11-slot.ts';
import { TokenError } from './token.ts';

export interface TokenPlace {
  libraryPath: string;
  label: string;
  /** Asked again at each start of a child. */
  pin: PinSource;
  /** For the child only, such as SOFTHSM2_CONF. */
  env?: Readonly<Record<string, string>>;
  /** For one request to the child; default 2,000. After it the child is killed. */
  requestTimeoutMs?: number;
  /** For starting a child and logging in; default 10,000. */
  startTimeoutMs?: number;
  /** Requests that may wait; default 256. */
  queueMax?: number;
  /** Starts and losses of children, for the log. */
  onEvent?: (event: TokenEvent) => void;
}

type LogIn = (
  names: { readonly libraryPath: string; readonly label: string } & { readonly pin: Uint8Array },
) => Operation;

/** Keeps a child that is logged in running; `onInfo` hears what the token says of itself. */
export function superviseChild(
  place: TokenPlace,
  logIn: LogIn,
  onInfo: (info: TokenInfo) => void,
): ChildSupervisor {
  return new ChildSupervisor({
    start: async (onLost) => {
      const { child, info } = await startChild(place, logIn, onLost);
      onInfo(info);
      return child;
    },
    requestTimeoutMs: place.requestTimeoutMs ?? 2000,
    queueMax: place.queueMax ?? 256,
    onEvent: place.onEvent ?? (() => {}),
  });
}

/** A reply of a known shape to another question than ours is a fault of the token's side. */
export function expectOutcome<Name extends Outcome['outcome']>(
  outcome: Outcome,
  name: Name,
): Extract<Outcome, { outcome: Name }> {
  if (isOutcome(outcome, name)) return outcome;
  throw new TokenError('TOKEN_FAILED', `the token child answered ${outcome.outcome}`);
}

/** What a token is called, and whether it is an HSM: a software token never is. */
export function nameOfToken({ manufacturer, model, hardware }: TokenInfo): {
  readonly name: string;
  readonly isHsm: boolean;
} {
  const softHsm = manufacturer === 'SoftHSM project';
  const name = softHsm ? 'SoftHSM2' : printable(`${manufacturer} ${model}`);
  return { name, isHsm: hardware && !softHsm };
}

async function startChild(
  { libraryPath, label, pin: source, env, startTimeoutMs }: TokenPlace,
  logIn: LogIn,
  onLost: (loss: ChildLoss) => void,
): Promise<{ readonly child: TokenProcess; readonly info: TokenInfo }> {
  const pin = await readPin(source);
  try {
    const child = await TokenProcess.start({ env: env ?? {}, onLost });
    try {
      const operation = logIn({ libraryPath, label, pin });
      const outcome = await child.request(operation, startTimeoutMs ?? 10_000);
      return { child, info: expectOutcome(outcome, 'opened').info };
    } catch (error) {
      await child.kill();
      throw error;
    }
  } finally {
    pin.fill(0);
  }
}

function isOutcome<Name extends Outcome['outcome']>(
  outcome: Outcome,
  name: Name,
): outcome is Extract<Outcome, { outcome: Name }> {
  return outcome.outcome === name;
}

function printable(text: string): string {
  return text.replace(/[^ -~]/g, '?').trim();
}

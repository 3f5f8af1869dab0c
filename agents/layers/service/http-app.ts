/**
 * What every HTTP face of a service has in common: bounded bodies and concurrency, JSON in and out,
 * one form of refusal, counts of refusals by code, and a log that says which route and code but
 * nothing of what was sent.
 *
 * A refusal is thrown as `Refused` inside a route and becomes its answer here. Any other error is
 * ours: the caller learns INTERNAL, the log the error's class and code.
 */

import { Hono, type Context } from 'hono';
import { bodyLimit } from 'hono/body-limit';
import { HTTPException } from 'hono/http-exception';
import { matchedRoutes } from 'hono/route';
import type { ContentfulStatusCode } from 'hono/utils/http-status';
import type { LayerNumber } from '#schemas/layers.ts';
import { reasonOf } from '#shared/core/reason.ts';
import type { Log } from '#shared/runtime/ports.ts';
import { AdapterError } from '../adapter.ts';
import { ServiceError } from './service-client.ts';

export const bodyBytesDefault = 64 * 1024;
export const inFlightDefault = 256;

/** Codes that any service may answer with, and their HTTP status. */
const commonStatus = {
  REQUEST_MALFORMED: 400,
  PATH_UNKNOWN: 404,
  BODY_TOO_LARGE: 413,
  INTERNAL: 500,
  PEER_UNAVAILABLE: 503,
  OVERLOADED: 503,
} as const satisfies Readonly<Record<string, ContentfulStatusCode>>;
export type CommonCode = keyof typeof commonStatus;

/**
 * A request that is not carried out, and why: the code for programs, the reason for people. Whatever a
 * reason is made of, it is one that `ServiceProblem` can hold.
 */
export class Refused<Code extends string = string> extends Error {
  readonly code: Code | CommonCode;
  readonly retryable: boolean;

  constructor(code: Code | CommonCode, reason: string, options: { retryable?: boolean } = {}) {
    super(reasonOf(reason));
    this.name = 'Refused';
    this.code = code;
    this.retryable = options.retryable ?? false;
  }
}

export interface ServiceAppOptions<Code extends string> {
  readonly log: Log;
  /** Of the service's own codes. */
  readonly status: Readonly<Record<Code, ContentfulStatusCode>>;
  readonly bodyBytesMax?: number;
  readonly inFlightMax?: number;
  /** Of another face of the same service, to be counted together. */
  readonly refusals?: RefusalCounts;
}

/** Refusals by code since the start. */
export class RefusalCounts {
  readonly #counts = new Map<string, number>();

  add(code: string): void {
    this.#counts.set(code, (this.#counts.get(code) ?? 0) + 1);
  }

  of(code: string): number {
    return this.#counts.get(code) ?? 0;
  }

  /** `refused-session-expired` to how often, for telemetry. */
  metrics(): Record<string, number> {
    return Object.fromEntries(
      [...this.#counts].map(([code, count]) => [
        `refused-${code.toLowerCase().replaceAll('_', '-')}`,
        count,
      ]),
    );
  }
}

export interface ServiceApp {
  readonly app: Hono;
  readonly refusals: RefusalCounts;
}

/** With routes that one other layer has on its own socket. */
export interface ServiceApps extends ServiceApp {
  readonly peerRoutes: Readonly<Partial<Record<LayerNumber, Hono>>>;
}

export function serviceApp<Code extends string>(options: ServiceAppOptions<Code>): ServiceApp {
  const { log } = options;
  const status = new Map<string, ContentfulStatusCode>([
    ...Object.entries<ContentfulStatusCode>(commonStatus),
    ...Object.entries<ContentfulStatusCode>(options.status),
  ]);
  const refusals = options.refusals ?? new RefusalCounts();
  const app = new Hono();
  const refuse = (context: Context, refused: Refused): Response => {
    const { code, message: reason, retryable } = refused;
    refusals.add(code);
    log.info({ method: context.req.method, route: routeOf(context), code }, 'a request is refused');
    const error = { code, reason, ...(retryable ? { retryable } : {}) };
    return context.json({ error }, status.get(code) ?? 500);
  };
  let inFlight = 0;
  app.use(async (context, next) => {
    if (inFlight >= (options.inFlightMax ?? inFlightDefault)) {
      return refuse(
        context,
        new Refused('OVERLOADED', 'too many requests at once', { retryable: true }),
      );
    }
    inFlight += 1;
    try {
      await next();
    } finally {
      inFlight -= 1;
    }
    return undefined;
  });
  app.use(
    bodyLimit({
      maxSize: options.bodyBytesMax ?? bodyBytesDefault,
      onError: (context) => refuse(context, new Refused('BODY_TOO_LARGE', 'the body is too long')),
    }),
  );
  app.notFound((context) => refuse(context, new Refused('PATH_UNKNOWN', 'there is nothing here')));
  app.onError((error, context) => refuse(context, refusedBy(error, context, log)));
  return { app, refusals };
}

interface Check<Value> {
  check(value: unknown): value is Value;
  /** Paths and rules, never values. */
  errors(value: unknown): readonly string[];
}

/** The JSON body of a request, checked. @throws Refused REQUEST_MALFORMED, which names the first misfit */
export async function bodyOf<Value>(context: Context, check: Check<Value>): Promise<Value> {
  let value: unknown;
  try {
    value = await context.req.json();
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    throw new Refused('REQUEST_MALFORMED', 'the body is not JSON');
  }
  if (check.check(value)) return value;
  throw new Refused('REQUEST_MALFORMED', misfit('the body', check, value));
}

/** Where a value first departs from what is asked for, as a JSON pointer, and from which rule. */
export function misfit(
  what: string,
  check: Pick<Check<unknown>, 'errors'>,
  value: unknown,
): string {
  const [first] = check.errors(value);
  if (first === undefined) return `${what} has another form than is asked for`;
  const where = first
    .replaceAll('\n', ' ')
    .replace(/: schema is false$/, ': no such field is known');
  return `${what} does not fit at ${where}`;
}

function refusedBy(error: unknown, context: Context, log: Log): Refused {
  if (error instanceof Refused) return error;
  if (error instanceof ServiceError) {
    return new Refused('PEER_UNAVAILABLE', 'another service does not answer', { retryable: true });
  }
  if (error instanceof HTTPException)
    return new Refused('REQUEST_MALFORMED', 'the request is not valid');
  const code = error instanceof AdapterError ? error.code : undefined;
  const name = error instanceof Error ? error.name : 'unknown';
  log.error({ route: routeOf(context), name, code }, 'a request failed');
  return new Refused('INTERNAL', 'the service failed', {
    retryable: error instanceof AdapterError,
  });
}

/** The pattern, not the path: names of patients and users stay out of the log. */
function routeOf(context: Context): string {
  return matchedRoutes(context).findLast(({ path }) => path !== '/*')?.path ?? 'unknown';
}

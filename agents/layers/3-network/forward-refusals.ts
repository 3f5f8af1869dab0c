/** What the forwarder answers by itself, and how. */

export const forwardStatus = {
  PATH_UNKNOWN: 404,
  BODY_TIMEOUT: 408,
  BODY_TOO_LARGE: 413,
  CLIENT_OVERLOADED: 429,
  UPSTREAM_BROKEN: 502,
  UPSTREAM_UNAVAILABLE: 503,
  OVERLOADED: 503,
  /** Never told: the answer had begun. */
  ANSWER_NOT_TAKEN: 408,
} as const;
export type ForwardCode = keyof typeof forwardStatus;

export const forwardReasons: Readonly<Record<ForwardCode, string>> = {
  PATH_UNKNOWN: 'there is nothing here',
  BODY_TIMEOUT: 'the body did not come in time',
  BODY_TOO_LARGE: 'the body is too long',
  CLIENT_OVERLOADED: 'too many requests of this client at once',
  UPSTREAM_BROKEN: 'the service broke off',
  UPSTREAM_UNAVAILABLE: 'the service cannot be reached',
  OVERLOADED: 'too many requests at once',
  ANSWER_NOT_TAKEN: 'the answer was not taken in time',
};

/** Where the same request may be answered later. */
export const passingCodes: ReadonlySet<ForwardCode> = new Set([
  'CLIENT_OVERLOADED',
  'OVERLOADED',
  'UPSTREAM_BROKEN',
  'UPSTREAM_UNAVAILABLE',
]);

export class Refusal extends Error {
  readonly code: ForwardCode;

  constructor(code: ForwardCode) {
    super(code);
    this.name = 'Refusal';
    this.code = code;
  }
}

/** Nobody is there any more who could be answered. */
export class ClientGone extends Error {
  constructor() {
    super('the client went away');
    this.name = 'ClientGone';
  }
}

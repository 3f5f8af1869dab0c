/** The entropy port: every random byte of gyre enters here, so that a test can supply its own. */

export interface EntropyPort {
  /** `count` fresh random bytes, 1 to 65,536, owned by the caller. */
  randomBytes(count: number): Uint8Array;
}

/** The generator of the operating system. */
export const systemEntropy: EntropyPort = {
  randomBytes: (count) => globalThis.crypto.getRandomValues(new Uint8Array(count)),
};

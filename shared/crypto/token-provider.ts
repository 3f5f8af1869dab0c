/**
 * A token as a provider: it signs with keys that never leave it, each known by a name, and does
 * nothing else here. What it signs is judged by a provider of this process before it is taken, with
 * the context and without: some tokens drop the context silently.
 */
import { utf8 } from './bytes.ts';
import type { CryptoProvider, SignInput } from './provider.ts';
import { sizes } from './provider.ts';

/** What is asked of a token; the signer's token port has it. */
export interface TokenKeys {
  /** Raw ML-DSA-87 public key, 2,592 bytes. */
  publicKey(keyName: string): Promise<Uint8Array>;
  /** ML-DSA-87 signature with context, 4,627 bytes. */
  sign(keyName: string, message: Uint8Array, context: Uint8Array): Promise<Uint8Array>;
}

export interface TokenProvider {
  readonly kind: 'token';
  readonly name: 'token';
  readonly algorithms: readonly ['ML-DSA-87'];
  /** Key by which the token is tested when it registers. */
  readonly testKeyName: string;
  /** Who judges what the token signs. */
  readonly judge: CryptoProvider;
  publicKey(keyName: string): Promise<Uint8Array>;
  sign(keyName: string, input: SignInput): Promise<Uint8Array>;
}

export function tokenProvider(
  token: TokenKeys,
  options: { readonly testKeyName: string; readonly judge: CryptoProvider },
): TokenProvider {
  return {
    kind: 'token',
    name: 'token',
    algorithms: ['ML-DSA-87'],
    ...options,
    publicKey: async (keyName) => await token.publicKey(keyName),
    sign: async (keyName, { message, context }) => await token.sign(keyName, message, context),
  };
}

/** Pairwise consistency of the token's test key. Faults of the token itself are thrown on. */
export async function tokenSelfTest(provider: TokenProvider): Promise<boolean> {
  const { judge, testKeyName } = provider;
  const input = { message: utf8('gyre self-test'), context: utf8('gyre/v1/self-test') };
  const raw = await provider.publicKey(testKeyName);
  if (raw.length !== sizes.mlDsa87.publicKey) return false;
  const signature = await provider.sign(testKeyName, input);
  const key = judge.importVerifyKey(raw);
  const without = { ...input, context: new Uint8Array(0), signature };
  return judge.verify(key, { ...input, signature }) && !judge.verify(key, without);
}

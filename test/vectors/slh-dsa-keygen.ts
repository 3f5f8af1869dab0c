/** NIST's ACVP cases for SLH-DSA-SHAKE-256s key generation (FIPS 205 algorithm 21), ten of them. */
import { hex, readVectors } from './vector-files.ts';

export const slhDsaFiles = [
  'acvp-SLH-DSA-keyGen-FIPS205-prompt.json.gz',
  'acvp-SLH-DSA-keyGen-FIPS205-expectedResults.json.gz',
] as const;

export interface KeygenCase {
  readonly tcId: number;
  /** SK.seed ‖ SK.prf ‖ PK.seed: 96 bytes. */
  readonly seed: Uint8Array;
  /** 128 bytes. */
  readonly secretKey: Uint8Array;
  /** 64 bytes. */
  readonly publicKey: Uint8Array;
}

interface Prompt {
  readonly tcId: number;
  readonly skSeed: string;
  readonly skPrf: string;
  readonly pkSeed: string;
}

export function slhDsaCases(): KeygenCase[] {
  const [prompts, expected] = slhDsaFiles;
  const results = new Map(
    readVectors<object, { tcId: number; sk: string; pk: string }>(expected).flatMap(({ tests }) =>
      tests.map((one) => [one.tcId, one] as const),
    ),
  );
  return readVectors<{ parameterSet: string }, Prompt>(prompts)
    .filter(({ group }) => group.parameterSet === 'SLH-DSA-SHAKE-256s')
    .flatMap(({ tests }) => tests)
    .map(({ tcId, skSeed, skPrf, pkSeed }) => ({
      tcId,
      seed: hex(skSeed + skPrf + pkSeed),
      secretKey: hex(results.get(tcId)?.sk ?? ''),
      publicKey: hex(results.get(tcId)?.pk ?? ''),
    }));
}

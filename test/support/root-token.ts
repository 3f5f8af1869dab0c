/** Throw-away SoftHSM2 tokens for layer 4's root KEK, with the PIN file and the configuration of its service. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { ServiceToken } from '#schemas/service.ts';
import { makeSoftHsmToken, type SoftHsmForTest } from './softhsm.ts';

/** Copies of one name are initialised once. */
export async function makeRootToken(copyOf?: string): Promise<SoftHsmForTest> {
  const hsm = await makeSoftHsmToken(copyOf === undefined ? {} : { copyOf });
  writeFileSync(pinFileOf(hsm), hsm.pin, { mode: 0o600 });
  return hsm;
}

export function pinFileOf({ dir }: SoftHsmForTest): string {
  return join(dir, 'pin');
}

export function rootTokenConfig(hsm: SoftHsmForTest, timeoutMs = 5_000): ServiceToken {
  const { libraryPath: library, label } = hsm.options;
  const softhsmConfig = join(hsm.dir, 'softhsm2.conf');
  return { library, label, pinFile: pinFileOf(hsm), softhsmConfig, timeoutMs };
}

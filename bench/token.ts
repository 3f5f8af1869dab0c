/**
 * One signed statement by the signer's token, asked directly: SoftHSM2 in wrapped-seed mode behind
 * its child process, as the signer uses it. Through the bus it is measured with the rotations, on a
 * mesh that runs.
 */
import { utf8 } from '#shared/crypto/bytes.ts';
import { createNativeProvider } from '#shared/crypto/native-provider.ts';
import { openPkcs11Token } from '#shared/runtime/token/pkcs11-token.ts';
import { makeSoftHsmToken, softHsm } from '../test/support/softhsm.ts';
import { measure } from './measure.ts';
import type { Row } from './report.ts';

/** Canonical bytes of a plan over seven layers: about this much. */
const planBytes = 12 * 1024;
const context = utf8('gyre/v1/document/rotation_plan');

/** Empty where there is no SoftHSM2; what is missing has been said on standard error then. */
export async function tokenRows(runs: number): Promise<Row[]> {
  if ('missing' in softHsm) return [];
  const prepared = await makeSoftHsmToken({ label: 'gyre-bench' });
  try {
    const token = await openPkcs11Token(prepared.options);
    try {
      await token.generateKey('orchestration');
      const statement = createNativeProvider().randomBytes(planBytes);
      const small = statement.subarray(0, 512);
      const options = { runs, warmupRuns: 20, budgetMs: 10_000 };
      const sign = async (message: Uint8Array) =>
        await measure(() => token.sign('orchestration', message, context), options);
      const group = 'token (SoftHSM2, wrapped seed, child process)';
      const note = 'budget p99 15 ms';
      return [
        { group, name: 'sign 512 B', summary: await sign(small), note },
        { group, name: 'sign 12 KiB (a plan)', summary: await sign(statement), note },
      ];
    } finally {
      await token.close();
    }
  } finally {
    await prepared.remove();
  }
}

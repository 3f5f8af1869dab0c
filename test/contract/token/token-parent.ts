/**
 * A process that opens the token of its argument, prints the child's pid and signs once for each
 * chunk on stdin, for tests that kill it.
 */
import { openPkcs11Token } from '#shared/runtime/token/pkcs11-token.ts';

const token = await openPkcs11Token({
  ...JSON.parse(process.argv[2] ?? ''),
  pin: () => Buffer.from(process.env['GYRE_TEST_PIN'] ?? ''),
});
process.stdout.write(`${token.childPid()}\n`);
for await (const _ of process.stdin) {
  await token.sign('audit', new Uint8Array(1), new Uint8Array(0));
}

/**
 * SLH-DSA-SHAKE-256s (FIPS 205) in JavaScript. A signature takes about 17 seconds, so it is made in a
 * thread of its own, one at a time; verifying takes 50 milliseconds and stays where it is asked for.
 */
import type { SlhDsaTask } from './slh-dsa-worker.ts';
import { sha3_256 } from '@noble/hashes/sha3.js';
import { slh_dsa_shake_256s as slhDsa } from '@noble/post-quantum/slh-dsa.js';
import type { EntropyPort } from '../entropy.ts';
import { CryptoError } from '../errors.ts';
import { KeyVault } from '../key-handle.ts';
import { checkContext, publicHandle, requireKeyLength } from '../provider-checks.ts';
import { sizes } from '../provider.ts';
import type { SlhDsaFunctions, VerifyInput } from '../provider.ts';

const form = sizes.slhDsaShake256s;

export function nobleSlhDsa(entropy: EntropyPort): SlhDsaFunctions {
  const vault = new KeyVault<Uint8Array>();
  let lane: Promise<unknown> = Promise.resolve();
  const verify = (publicKey: Uint8Array, input: VerifyInput): boolean => {
    checkContext(input);
    requireKeyLength(publicKey, form.publicKey, 'an SLH-DSA-SHAKE-256s public key');
    if (input.signature.length !== form.signature) return false;
    const { message, context, signature } = input;
    return slhDsa.verify(signature, message, publicKey, { context });
  };
  return {
    generateSlhDsaKey: () => {
      const seed = entropy.randomBytes(form.seed);
      const { secretKey, publicKey } = slhDsa.keygen(seed);
      seed.fill(0);
      return { secretKey, publicKey };
    },
    importSlhDsaSecret: (raw) => {
      requireKeyLength(raw, form.secretKey, 'an SLH-DSA-SHAKE-256s secret');
      const publicKey = raw.subarray(-form.publicKey);
      const handle = publicHandle('SLH-DSA-SHAKE-256s', publicKey, sha3_256);
      return vault.putPrivate(handle, new Uint8Array(raw));
    },
    signSlhDsaAsync: async (key, input) => {
      checkContext(input);
      const task: SlhDsaTask = {
        secretKey: vault.take(key).slice(),
        extraEntropy: entropy.randomBytes(form.extraEntropy),
        message: input.message.slice(),
        context: input.context.slice(),
      };
      const signing = lane.then(async () => await signInThread(task));
      // The next one waits for this one to end, well or badly; its own caller hears how.
      lane = signing.then(
        () => undefined,
        () => undefined,
      );
      return await signing;
    },
    verifySlhDsa: verify,
    verifySlhDsaAsync: async (publicKey, input) => await Promise.resolve(verify(publicKey, input)),
  };
}

async function signInThread(task: SlhDsaTask): Promise<Uint8Array> {
  // Loaded here because there are runtimes without it that only verify.
  const { Worker } = await import('node:worker_threads');
  const worker = new Worker(new URL('./slh-dsa-worker.ts', import.meta.url), { workerData: task });
  task.secretKey.fill(0);
  task.extraEntropy.fill(0);
  return await new Promise((resolve, reject) => {
    const fail = (cause: unknown): void => {
      reject(new CryptoError('SIGNING_FAILED', 'the signing thread ended early', { cause }));
    };
    worker.once('message', (signature: unknown) => {
      if (signature instanceof Uint8Array) resolve(signature);
      else fail(signature);
    });
    worker.once('error', fail);
    worker.once('exit', fail);
  });
}

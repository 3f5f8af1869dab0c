/**
 * The thread in which the portable provider makes one SLH-DSA-SHAKE-256s signature: about 17 seconds
 * of JavaScript. It is given the key by its parent, answers with 29,792 bytes and ends.
 */
import { parentPort, workerData } from 'node:worker_threads';
import { slh_dsa_shake_256s } from '@noble/post-quantum/slh-dsa.js';

/** What the parent hands over; `secretKey` and `extraEntropy` are the thread's own copies. */
export interface SlhDsaTask {
  readonly secretKey: Uint8Array;
  readonly extraEntropy: Uint8Array;
  readonly message: Uint8Array;
  readonly context: Uint8Array;
}

const { secretKey, extraEntropy, message, context }: SlhDsaTask = workerData;
const signature = slh_dsa_shake_256s.sign(message, secretKey, { context, extraEntropy });
secretKey.fill(0);
extraEntropy.fill(0);
parentPort?.postMessage(signature);

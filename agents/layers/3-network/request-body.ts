/**
 * The body of a request, taken as a whole before anything is asked of a service: whoever sends slowly holds
 * his own connection and nothing else, and what is sent on has a length.
 */

import type { IncomingMessage } from 'node:http';
import { ClientGone, Refusal } from './forward-refusals.ts';

export interface BodyBounds {
  readonly bytesMax: number;
  readonly withinMs: number;
  /** Before so many more bytes are kept. @throws Refusal */
  readonly reserve: (bytes: number) => void;
}

/** @throws Refusal BODY_TOO_LARGE, BODY_TIMEOUT, what `reserve` throws; ClientGone */
export async function bodyOf(
  request: IncomingMessage,
  { bytesMax, withinMs, reserve }: BodyBounds,
): Promise<Buffer> {
  if (Number(request.headers['content-length'] ?? 0) > bytesMax) {
    throw new Refusal('BODY_TOO_LARGE');
  }
  const chunks: Buffer[] = [];
  let bytes = 0;
  return await new Promise((resolve, reject) => {
    const stop = (error: unknown): void => {
      clearTimeout(timer);
      request.off('data', take);
      request.pause();
      reject(error instanceof Refusal ? error : new ClientGone());
    };
    const take = (chunk: Buffer): void => {
      bytes += chunk.length;
      try {
        if (bytes > bytesMax) throw new Refusal('BODY_TOO_LARGE');
        reserve(chunk.length);
        chunks.push(chunk);
      } catch (error) {
        stop(error);
      }
    };
    const timer = setTimeout(() => stop(new Refusal('BODY_TIMEOUT')), withinMs);
    request.on('data', take);
    request.once('end', () => {
      clearTimeout(timer);
      resolve(Buffer.concat(chunks));
    });
    // Listened to for as long as the request lives: a client may go at any time.
    request.on('error', stop);
    request.once('close', () => stop(undefined));
  });
}

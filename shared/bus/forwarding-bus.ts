/** A bus that hands everything on to another one: whoever does some of it otherwise replaces that in a copy. */

import type { Bus } from './bus.ts';

export function forwardingTo(bus: Bus): Bus {
  return {
    publish: (request) => bus.publish(request),
    consume: (options, handler) => bus.consume(options, handler),
    follow: (options, handler) => bus.follow(options, handler),
    lastMessage: (stream, subject) => bus.lastMessage(stream, subject),
    getMessage: (stream, sequence) => bus.getMessage(stream, sequence),
    streamState: (stream) => bus.streamState(stream),
    request: (subject, data, timeoutMs) => bus.request(subject, data, timeoutMs),
    respond: (subject, handler) => bus.respond(subject, handler),
    bucket: (name) => bus.bucket(name),
    onState: (listener) => bus.onState(listener),
    close: () => bus.close(),
  };
}

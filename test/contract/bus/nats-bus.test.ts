/** The bus over a real nats-server keeps the contract. */
import { describe } from 'vitest';
import { keepsTheContract } from './bus-contract.ts';
import { natsWorld } from './bus-world.ts';

describe('NATS bus', () => {
  keepsTheContract(natsWorld);
});

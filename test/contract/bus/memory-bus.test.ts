/** The in-memory bus keeps the contract. */
import { describe } from 'vitest';
import { keepsTheContract } from './bus-contract.ts';
import { memoryWorld } from './bus-world.ts';

describe('memory bus', () => {
  keepsTheContract(memoryWorld);
});

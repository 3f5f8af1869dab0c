/** The process of layer 5's agent (database). One argument: the path of its configuration file. */

import { runLayerAgent } from '../layer-main.ts';
import { layer, openAdapter } from './adapter.ts';

runLayerAgent({ layer, openAdapter, configPath: process.argv[2] });

/** The process of layer 6's agent (phi). One argument: the path of its configuration file. */

import { runLayerAgent } from '../layer-main.ts';
import { layer, openAdapter } from './adapter.ts';

runLayerAgent({ layer, openAdapter, configPath: process.argv[2] });

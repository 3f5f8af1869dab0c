/** The process of layer 3's service (network). One argument: the path of its configuration file. */

import { runService } from '../service/service-process.ts';
import { listeningDescriptor } from './listening-descriptor.ts';
import { serviceWith } from './service.ts';

const listensOn = listeningDescriptor(process.env);
const open = serviceWith(listensOn === undefined ? {} : { listensOn });

runService({ layer: 3, open, configPath: process.argv[2] });

// A domain that the hypervisor has made and that has no vCPUs yet, as others see one that is being created.
import { afterEach, beforeEach, expect, it } from 'vitest';
import { domid } from '#pvbus';
import { Xc } from '../../../../dom0/toolstack/xc.ts';
import { SimulatedHost } from '../../../support/simulated-host.ts';
import { domainConfig } from './domain-config.ts';

let host: SimulatedHost;
beforeEach(async () => {
  host = await SimulatedHost.start();
});
afterEach(() => host.stop());

it('is listed, with no vCPUs', async () => {
  const xc = new Xc(host.core.dom0.kernel(0));
  const { uuid, max_grant_frames, max_maptrack_frames, max_event_channels } = domainConfig({});
  const id = xc.createDomain({
    ...{ uuid, maxVcpus: 1, maxGrantFrames: max_grant_frames, maxMaptrackFrames: max_maptrack_frames },
    maxEvtchnPort: max_event_channels,
  });
  const [info] = await host.run(host.toolstack.list(domid(id)));
  expect(info).toMatchObject({ vcpu_online: 0, vcpu_max_id: -1 });
  expect(await host.run(host.toolstack.scheduling.vcpus(domid(id)))).toMatchObject([{ vcpus: [] }]);
  xc.destroyDomain(id);
});

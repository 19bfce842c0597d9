// A guest that iperf3 of any Linux measures: `iperf3 -c ADDRESS`, with -R, -P, -u, --bidir, -b, -n as one likes.
//   vif = [ "bridge=xenbr0" ]    cmdline = "ip=10.5.0.2:::255.255.255.0"
// With `connect=ADDRESS` it is the client, of an iperf3 -s: see client.ts.
import { console, net, system } from 'xenolith';
import { measure } from './client.ts';
import { serve } from './server.ts';

export default async function main(): Promise<void> {
  const { connect } = system.args;
  if (typeof connect === 'string') {
    await measure(connect);
    return;
  }
  console.log(`${system.name}: iperf3 -c ${net.address}`);
  await serve();
}

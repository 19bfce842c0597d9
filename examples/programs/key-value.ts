// A key-value store for the other domains of a bridge: `set name value` and `get name`, a datagram each.
//   vif = [ "bridge=xenbr0" ]    cmdline = "ip=10.0.0.1:::255.255.255.0"
import { console, net, system } from 'xenolith';

const PORT = 4000;
const MAX_KEYS = 10_000;
const store = new Map<string, string>();

function answer(request: string): string {
  const [, verb, key, value] = /^(\w+) (\S{1,100})(?: (.{0,1000}))?$/.exec(request.trim()) ?? [];
  if (verb === 'get' && key) return store.get(key) ?? '(nothing)';
  if (verb === 'set' && key && value !== undefined) {
    if (store.size >= MAX_KEYS && !store.has(key)) return 'error: full';
    store.set(key, value);
    return 'ok';
  }
  return 'error: get KEY | set KEY VALUE';
}

export default async function main(): Promise<void> {
  const socket = net.udp(PORT);
  system.onShutdown(() => {
    console.log(`forgetting ${store.size} keys`);
    socket.close();
  });
  console.log(`${system.name}: serving ${net.address}:${PORT}`);
  for await (const { data, address, port } of socket) {
    socket.send(answer(new TextDecoder().decode(data)), address, port);
  }
}

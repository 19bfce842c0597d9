// Serves on all its interfaces: says which it has.
import { net } from 'xenolith';

export default async () => {
  for await (const connection of await net.listen(80)) {
    const all = net.interfaces.map(({ name, addresses }) => `${name} ${addresses}`);
    await connection.write(all.join(', '));
    await connection.close();
  }
};

// It lives beside the one that wants out.
import { clock, console } from 'xenolith';

export default async function main(): Promise<void> {
  for (;;) {
    console.log('beat');
    await clock.sleep(200);
  }
}

// Our daemon and one of Xen's, asked the same in lockstep. After every request each client is asked what it was
// sent; when a conversation ends, the two trees are compared node by node.
import { type RealXenstored, start } from '../support/real-xenstored.ts';
import { type Line, Player, type Which } from '../support/transcript.ts';
import { RigStage } from '../transcripts/rig-stage.ts';
import { difference, isEvent, type Sent } from './random-differences.ts';
import { BEGINNING, CLIENTS, GUESTS, line } from './random-requests.ts';
import { RealStage } from './real-stage.ts';

/** What went differently, with nothing to explain it. */
export interface Unexplained {
  /** As lines of a transcript, the last of which did it. */
  readonly conversation: readonly Line[];
  readonly what: string;
}

/** Requests that change the store when they are answered OK outside of a transaction. */
const CHANGES = /^(WRITE|MKDIR|RM|SET_PERMS) /;

export class SideBySide {
  readonly #which: Which;
  readonly #daemon: RealXenstored;
  readonly #stage: RealStage;
  readonly #rig = new RigStage();
  readonly #ours = new Player(this.#rig);
  readonly #theirs: Player;
  /** How often each difference of docs/xenstore.md was met, by name. */
  readonly met = new Map<string, number>();
  /** The messages that were sent and how our daemon answered each: OK, or the name of an error. */
  readonly answers = new Map<string, Set<string>>();
  requests = 0;

  private constructor(which: Which, daemon: RealXenstored) {
    this.#which = which;
    this.#daemon = daemon;
    this.#stage = new RealStage(daemon);
    this.#theirs = new Player(this.#stage);
  }

  static async start(which: Which): Promise<SideBySide> {
    const both = new SideBySide(which, await start(which));
    for (const id of GUESTS) {
      for (const act of [`creates ${id}`, `introduces ${id}`]) await both.#ask(line(`door  -  ${act}`));
    }
    return both;
  }

  async stop(): Promise<void> {
    this.#stage.close();
    await this.#daemon.stop();
  }

  /** Hold a conversation from its beginning. Returns what is unexplained in it. */
  async converse(conversation: readonly Line[]): Promise<Unexplained | undefined> {
    for (const first of BEGINNING) await this.#ask(first);
    for (const who of CLIENTS) await this.#ask(line(`${who}  -  hears`));
    /** By client and transaction: how many changes there had been when it began. */
    const began = new Map<string, number>();
    let changes = 0;
    for (const [i, said] of conversation.entries()) {
      const { who, tx, request, text } = said;
      this.requests++;
      const [, opens] = / {2}\$(T[0-9]+)\|$/.exec(text) ?? [];
      const overlapped = tx !== '-' && began.get(who + tx) !== changes;
      const end = request.startsWith('TRANSACTION_END T');
      const removal = end || request.startsWith('RM ');
      const unexplained = (what: string): Unexplained => ({ conversation: conversation.slice(0, i + 1), what });
      for (const client of [who, ...CLIENTS.filter(other => other !== who)]) {
        const mine = client === who;
        const [ours, theirs] = await this.#ask(mine ? said : line(`${client}  -  hears`), mine ? opens : undefined);
        if (mine) this.#note(request, ours);
        const exchange = { request: mine ? request : 'hears', guest: !client.startsWith('dom0'), commit: end, removal };
        const found = difference(this.#which, { ...exchange, overlapped, ours, theirs });
        for (const name of found.names) this.met.set(name, (this.met.get(name) ?? 0) + 1);
        if (found.unknown) return unexplained(`${client} was sent ${shown(ours)} by ours, ${shown(theirs)} by theirs`);
        if (found.parts) return undefined;
        if (!mine) continue;
        if (opens !== undefined) began.set(who + opens, changes);
        const done = ours.includes('OK\0') && (end || (tx === '-' && CHANGES.test(request)));
        if (done) changes++;
      }
      if (end && overlapped) {
        // What was merged may have come out differently, with the same answers.
        const wrong = await this.#compareTrees();
        if (wrong !== undefined) {
          this.met.set('snapshot', (this.met.get('snapshot') ?? 0) + 1);
          return undefined;
        }
      }
    }
    const wrong = await this.#compareTrees();
    return wrong === undefined ? undefined : { conversation, what: wrong };
  }

  /** The same conversation without what it does not need to go wrong. */
  async shrink({ conversation, what }: Unexplained): Promise<Unexplained> {
    let least: Unexplained = { conversation, what };
    for (let i = conversation.length - 2; i >= 0; i--) {
      const shorter = least.conversation.filter((_, at) => at !== i);
      const still = await this.converse(shorter);
      if (still && still.conversation.length === shorter.length) least = still;
    }
    return least;
  }

  /** What our daemon has found wrong with itself. */
  damage(): string | undefined {
    const { server, log } = this.#rig.rig;
    return server.check() ?? log.lines.find(text => text.startsWith('error'));
  }

  async #ask(said: Line, opens?: string): Promise<[Sent, Sent]> {
    return [await this.#ours.ask(said, opens), await this.#theirs.ask(said, opens)];
  }

  #note(request: string, ours: Sent): void {
    const [op = ''] = request.split(' ');
    const reply = ours.find(text => !isEvent(text)) ?? '';
    const known = this.answers.get(op) ?? new Set();
    this.answers.set(op, known.add(/^E[A-Z0-9]+$/.test(reply) ? reply : 'OK'));
  }

  /** The first node that is not the same in both. */
  async #compareTrees(): Promise<string | undefined> {
    for (const open = ['/x', '/local']; ; ) {
      const path = open.pop();
      if (path === undefined) return undefined;
      for (const request of ['READ', 'GET_PERMS', 'DIRECTORY']) {
        const [ours, theirs] = await this.#ask(line(`dom0  -  ${request} ${path}|`));
        const sorted = (sent: Sent): string => (sent[0] ?? '').split('\0').sort().join();
        const same = request === 'DIRECTORY' ? sorted(ours) === sorted(theirs) : ours.join() === theirs.join();
        if (!same) return `${request} ${path} is ${shown(ours)} in ours, ${shown(theirs)} in theirs`;
        if (ours[0] === 'ENOENT') break;
        if (request !== 'DIRECTORY') continue;
        const names = (ours[0] ?? '').split('\0').slice(0, -1);
        open.push(...names.map(name => `${path}/${name}`));
      }
    }
  }
}

const shown = (sent: Sent): string => JSON.stringify(sent.map(text => text.replaceAll('\0', '|').slice(0, 200)));

// One function for each XS_* message, and the only map from an error to the name a client is told.
import {
  DOMID_FIRST_RESERVED,
  DOMID_SELF,
  domid,
  gfn,
  parseDecimal,
  port,
  wholeFrame,
  XENSTORE_PAYLOAD_MAX,
  XenError,
  XS_CONTROL,
  XS_DIRECTORY,
  XS_DIRECTORY_PART,
  XS_ERROR,
  XS_GET_DOMAIN_PATH,
  XS_GET_PERMS,
  XS_INTRODUCE,
  XS_IS_DOMAIN_INTRODUCED,
  XS_MKDIR,
  XS_READ,
  XS_RELEASE,
  XS_RESET_WATCHES,
  XS_RESUME,
  XS_RM,
  XS_SET_PERMS,
  XS_SET_TARGET,
  XS_TRANSACTION_END,
  XS_TRANSACTION_START,
  XS_UNWATCH,
  XS_WATCH,
  XS_WRITE,
  xsErrorNames,
  xsTypeName,
} from '#pvbus';
import type { Connection } from './connection.ts';
import { LATER, control as runControl } from './control.ts';
import type { NameMap } from './name-map.ts';
import { XS_GET_FEATURE, XS_GET_QUOTA, XS_SET_FEATURE, XS_SET_QUOTA } from './newer-wire.ts';
import type { Payload } from './output-queue.ts';
import { absolutePath, domidOf, homeOf, isSpecial } from './path.ts';
import { formatPermissions, parsePermissions } from './permissions.ts';
import { quotaNames } from './quota.ts';
import { OverQuota, Refusal } from './refusal.ts';
import type { Server } from './server.ts';
import { checkMemory, type Node, readable, specialPerms } from './store.ts';
import { SAW_EXISTENCE, SAW_NAMES, SAW_PERMS, SAW_VALUE, Transaction, type View } from './transaction.ts';
import { watchBytes } from './watches.ts';

interface Request {
  readonly server: Server;
  readonly client: Connection;
  readonly req_id: number;
  readonly tx_id: number;
  /** Valid until the request is answered: what is kept is copied. */
  readonly payload: Buffer;
  /** To be done once the reply is queued. */
  afterwards: (() => void) | undefined;
}
/** A reply's payload, or strings to be sent with a NUL after each. */
type Reply = Payload | readonly string[];
/** Throws a XenError. */
type Handler = (request: Request) => Reply | typeof LATER;
const OK = 'OK\0';
const invalid = (why: string): Refusal => new Refusal('EINVAL', why);

const handlers = new Map<number, Handler>([
  [XS_CONTROL, control],
  [XS_DIRECTORY, directory],
  [XS_READ, read],
  [XS_GET_PERMS, getPerms],
  [XS_WATCH, watch],
  [XS_UNWATCH, unwatch],
  [XS_TRANSACTION_START, transactionStart],
  [XS_TRANSACTION_END, transactionEnd],
  [XS_INTRODUCE, introduce],
  [XS_RELEASE, release],
  [XS_GET_DOMAIN_PATH, getDomainPath],
  [XS_WRITE, write],
  [XS_MKDIR, mkdir],
  [XS_RM, rm],
  [XS_SET_PERMS, setPerms],
  [XS_IS_DOMAIN_INTRODUCED, isDomainIntroduced],
  [XS_RESUME, resume],
  [XS_SET_TARGET, setTarget],
  [XS_RESET_WATCHES, resetWatches],
  [XS_DIRECTORY_PART, directoryPart],
  [XS_GET_FEATURE, getFeature],
  [XS_SET_FEATURE, setFeature],
  [XS_GET_QUOTA, getQuota],
  [XS_SET_QUOTA, setQuota],
]);

/** Answer one message. Whatever it holds, it is answered, and the daemon goes on. False: with an error. */
export function answer(
  server: Server,
  client: Connection,
  type: number,
  req_id: number,
  tx_id: number,
  payload: Uint8Array,
): boolean {
  const request: Request = { server, client, req_id, tx_id, payload: asBuffer(payload), afterwards: undefined };
  let reply: Payload;
  try {
    const handler = handlers.get(type);
    if (!handler) throw new Refusal('ENOSYS', `no message of type ${type}`);
    if (OF_DOM0.has(type)) dom0Only(request);
    if (tx_id !== 0 && !OF_NO_TRANSACTION.has(type)) transactionOf(client, tx_id);
    const result = handler(request);
    if (result === LATER) return true;
    reply = typeof result === 'string' || result instanceof Uint8Array ? result : strings(result);
    if (reply.length > XENSTORE_PAYLOAD_MAX) throw new Refusal('E2BIG', `a reply of ${reply.length} bytes`);
  } catch (error) {
    const name = errorName(error);
    if (!(error instanceof XenError)) {
      // We are wrong. Trees are values, so nothing is half done: this request fails, the daemon stands.
      server.log.error(`${client.name}: ${xsTypeName(type)}: ${error instanceof Error ? error.stack : error}`);
    } else {
      const about = QUOTA_ERRORS.has(name) ? 'acc' : 'io';
      if (server.tracing.wants(about)) {
        server.tracing.tell(about, `${client.name}: ${xsTypeName(type)} tx ${tx_id}: ${name}: ${error.message}`);
      }
      const { domid, privileged } = client.actor;
      if (!privileged) server.misuse.note(domid, xsTypeName(type), name, error, client.limits());
    }
    client.output.reply(XS_ERROR, req_id, tx_id, `${name}\0`);
    return false;
  }
  if (server.tracing.wants('io')) {
    server.tracing.tell('io', `${client.name}: ${xsTypeName(type)} tx ${tx_id}: ${reply.length} bytes`);
  }
  client.output.reply(type, req_id, tx_id, reply);
  request.afterwards?.();
  if (!client.actor.privileged) server.accounts.look(client);
  return true;
}
const QUOTA_ERRORS = new Set(['ENOSPC', 'ENOMEM']);

/** Who else sends it is told so first. */
const OF_DOM0 = new Set([
  XS_CONTROL,
  XS_INTRODUCE,
  XS_RELEASE,
  XS_IS_DOMAIN_INTRODUCED, // Xen: XSA-115: a guest is not to learn which others there are
  XS_RESUME,
  XS_SET_TARGET,
  XS_SET_FEATURE,
  XS_GET_QUOTA,
  XS_SET_QUOTA,
]);

/** Xen: the transaction of any other message must be open, whether it matters to it or not. */
const OF_NO_TRANSACTION = new Set([XS_WATCH, XS_UNWATCH]);

/** Xen: only names of xs_wire.h's list may be sent; clients take any other for EINVAL. */
function errorName(error: unknown): string {
  if (!(error instanceof XenError)) return 'EIO';
  if (xsErrorNames.includes(error.code)) return error.code;
  return 'EINVAL';
}

// ---- payloads ----

const asBuffer = (bytes: Uint8Array): Buffer =>
  bytes instanceof Buffer ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
const strings = (parts: readonly string[]): string => parts.map(part => `${part}\0`).join('');

/** The strings of a payload that end in a NUL; what follows the last NUL is reserved and ignored. */
function parts({ payload }: Request, least: number, most = Number.POSITIVE_INFINITY): string[] {
  const found = payload.toString('latin1').split('\0').slice(0, -1);
  if (found.length < least || found.length > most) throw invalid(`${found.length} strings in the payload`);
  return found;
}

/** A payload that is one string and its NUL. That there is no other NUL is found by whoever knows what it may hold. */
function only({ payload }: Request): string {
  const end = payload.length - 1;
  if (payload[end] !== 0) throw invalid('not one string and a NUL');
  return payload.toString('latin1', 0, end);
}

function nodePath({ client }: Request, text: string | undefined): string {
  if (text === undefined) throw invalid('no path');
  return absolutePath(text, client.actor.domid, client.limits()['path-max']);
}

function decimal(text: string | undefined, what: string, max = 0xffffffff): number {
  const n = parseDecimal(text, max);
  if (n === undefined) throw invalid(`${JSON.stringify(text)} is no ${what}`);
  return n;
}

/** A domain that can be introduced: not dom0, not one of the reserved numbers. */
function guestOf(text: string | undefined): number {
  const id = domidOf(text);
  if (id === 0 || id >= DOMID_FIRST_RESERVED) throw invalid(`dom${id} is no guest`);
  return id;
}

function dom0Only({ client }: Request): void {
  if (!client.actor.privileged) throw new Refusal('EACCES', `${client.name} is not dom0`);
}

/** What this request reads and writes. Throws ENOENT for a transaction that is not open. */
function view({ server, client, tx_id }: Request): View {
  return tx_id === 0 ? server.viewOf(client) : transactionOf(client, tx_id);
}

function transactionOf(client: Connection, tx_id: number): Transaction {
  const transaction = client.transactions.get(tx_id);
  if (!transaction) throw new Refusal('ENOENT', `${client.name} has no transaction ${tx_id}`);
  return transaction;
}

// ---- nodes ----

function read(request: Request): Reply {
  const path = nodePath(request, only(request));
  const on = view(request);
  on.saw(path, SAW_EXISTENCE | SAW_VALUE | permsMatter(request));
  return readable(on.tree, request.client.actor, path).value;
}

/** Only a client that can be refused depends on the permissions of what it reads. */
function permsMatter({ client }: Request): number {
  return client.actor.privileged ? 0 : SAW_PERMS;
}

function directory(request: Request): Reply {
  const path = nodePath(request, only(request));
  const on = view(request);
  on.saw(path, SAW_EXISTENCE | SAW_NAMES | permsMatter(request));
  const node = readable(on.tree, request.client.actor, path);
  if (node.children.nameBytes > XENSTORE_PAYLOAD_MAX) throw new Refusal('E2BIG', `${path} has too many children`);
  return listed(node.children);
}

/** The names as DIRECTORY lists them; made once for as long as they are the same. */
function listed(names: NameMap<Node>): Uint8Array {
  let bytes = listings.get(names);
  if (!bytes) {
    bytes = Buffer.from(strings([...names.namesFrom(0)]), 'latin1');
    listings.set(names, bytes);
  }
  return bytes;
}
const listings = new WeakMap<NameMap<Node>, Uint8Array>();

/**
 * Xen: generation|, then names from a byte offset on, as many as fit; an empty name ends the list, also behind its
 * end: a client whose list has become shorter meanwhile sees another generation, and begins again.
 */
function directoryPart(request: Request): Reply {
  const [text, from] = parts(request, 2);
  const path = nodePath(request, text);
  const offset = decimal(from, 'offset');
  const on = view(request);
  on.saw(path, SAW_EXISTENCE | SAW_NAMES | permsMatter(request));
  const node = readable(on.tree, request.client.actor, path);
  const head = `${node.generation}\0`;
  let body = '';
  for (const name of node.children.namesFrom(offset)) {
    if (head.length + body.length + name.length + 1 > XENSTORE_PAYLOAD_MAX) return head + body;
    body += `${name}\0`;
  }
  if (head.length + body.length < XENSTORE_PAYLOAD_MAX) body += '\0';
  return head + body;
}

function write(request: Request): Reply {
  const { payload } = request;
  const end = payload.indexOf(0);
  if (end < 0) throw invalid('a path without its NUL');
  const path = nodePath(request, payload.toString('latin1', 0, end));
  view(request).apply({ kind: 'write', path, value: payload.toString('latin1', end + 1) });
  return OK;
}

function mkdir(request: Request): Reply {
  view(request).apply({ kind: 'mkdir', path: nodePath(request, only(request)) });
  return OK;
}

function rm(request: Request): Reply {
  view(request).apply({ kind: 'rm', path: nodePath(request, only(request)) });
  return OK;
}

function getPerms(request: Request): Reply {
  const text = only(request);
  const on = view(request);
  if (text.startsWith('@')) {
    const path = specialPath(text);
    on.saw(path, SAW_PERMS);
    const perms = specialPerms(on.tree, path);
    dom0Only(request);
    return formatPermissions(perms);
  }
  const path = nodePath(request, text);
  on.saw(path, SAW_EXISTENCE | SAW_PERMS);
  return formatPermissions(readable(on.tree, request.client.actor, path).perms);
}

function setPerms(request: Request): Reply {
  const [text, ...letters] = parts(request, 2);
  const path = text?.startsWith('@') ? specialPath(text) : nodePath(request, text);
  view(request).apply({ kind: 'set-perms', path, perms: parsePermissions(letters) });
  return OK;
}

function specialPath(text: string): string {
  if (!isSpecial(text)) throw invalid(`${JSON.stringify(text.slice(0, 50))} is no special watch`);
  return text;
}

// ---- watches ----

function watchPath(request: Request, text: string | undefined): string {
  return text?.startsWith('@') ? specialPath(text) : nodePath(request, text);
}

function watch(request: Request): Reply {
  const { server, client } = request;
  const [text, token, depthText] = parts(request, 2, 3);
  const path = watchPath(request, text);
  const depth = depthText === undefined ? undefined : decimal(depthText, 'depth');
  // Xen: of a special watch the only depth is 1, which asks for the domid in the event.
  if (path.startsWith('@') && depth !== undefined && depth !== 1) throw invalid(`a special watch of depth ${depth}`);
  if (server.watches.count(client) >= client.limits().watches) {
    throw new OverQuota('watches', `${client.name} has ${client.limits().watches} watches already`);
  }
  const held = client.held() + watchBytes(path, token ?? '');
  checkMemory(server.store.tree, client.actor, client.limits(), held);
  const shown = text ?? '';
  server.watches.add(client, path, token ?? '', !shown.startsWith('/') && !shown.startsWith('@'), depth);
  tellObject(request, 'watches', path);
  // Xen: every watch fires once when it is made, and the OK is to come before that event.
  request.afterwards = () => client.event(shown, token ?? '');
  return OK;
}

function unwatch(request: Request): Reply {
  const [text, token] = parts(request, 2, 3);
  const path = watchPath(request, text);
  request.server.watches.remove(request.client, path, token ?? '');
  tellObject(request, 'no longer watches', path);
  return OK;
}

function resetWatches({ server, client }: Request): Reply {
  server.watches.removeAll(client);
  client.transactions.clear();
  return OK;
}

// ---- transactions ----

function transactionStart(request: Request): Reply {
  const { server, client, tx_id } = request;
  if (tx_id !== 0) throw new Refusal('EBUSY', 'a transaction within a transaction');
  if (client.transactions.size >= client.limits().transactions) {
    throw new OverQuota('transactions', `${client.name} has ${client.transactions.size} transactions open`);
  }
  checkMemory(server.store.tree, client.actor, client.limits(), client.held());
  const id = client.newTransactionId();
  client.transactions.set(id, new Transaction(server.store, client.actor, client));
  tellObject(request, 'begins transaction', id);
  return [String(id)];
}

function tellObject({ server, client }: Request, does: string, what: string | number): void {
  if (server.tracing.wants('obj')) server.tracing.tell('obj', `${client.name} ${does} ${what}`);
}

function transactionEnd(request: Request): Reply {
  const { server, client, tx_id } = request;
  const verdict = only(request);
  if (verdict !== 'T' && verdict !== 'F') throw invalid('the end of a transaction is T or F');
  const transaction = transactionOf(client, tx_id);
  client.transactions.delete(tx_id);
  tellObject(request, verdict === 'T' ? 'ends transaction' : 'gives up transaction', tx_id);
  if (verdict === 'F') return OK;
  try {
    const changes = transaction.commit();
    server.contention.committed(client, changes);
    server.fire(changes);
  } catch (error) {
    if (transaction.conflict !== undefined) server.contention.failed(client, transaction.conflict);
    throw error;
  }
  return OK;
}

/** Messages of a transaction that begin with a path. */
const NAMES_A_PATH = new Set([
  XS_DIRECTORY,
  XS_DIRECTORY_PART,
  XS_GET_PERMS,
  XS_MKDIR,
  XS_READ,
  XS_RM,
  XS_SET_PERMS,
  XS_WRITE,
]);

/** Whether the request at `at` may be taken now, or is to wait for a transaction of another client. */
export function mayTake(server: Server, client: Connection, bytes: Uint8Array, at: number): boolean {
  const { contention, tracing } = server;
  if (contention.quiet) return true;
  const frame = wholeFrame(bytes, at);
  const transaction = frame && client.transactions.get(frame.tx_id);
  if (!transaction || !NAMES_A_PATH.has(frame.type)) return true;
  const payload = asBuffer(frame.payload);
  const text = payload.toString('latin1', 0, Math.max(0, payload.indexOf(0)));
  const path = text.startsWith('/') ? text : `${homeOf(client.actor.domid)}/${text}`;
  const may = contention.mayTake(client, { tx_id: frame.tx_id, transaction, path });
  if (!may && tracing.wants('wrl')) tracing.tell('wrl', `${client.name}: transaction ${frame.tx_id} waits at ${path}`);
  return may;
}

// ---- domains ----

function introduce(request: Request): Reply {
  const [id, frame, evtchn] = parts(request, 3);
  // Xen: the frame number is signed decimal; ours is recorded, and the page is mapped by its grant.
  const where = decimal(frame?.replace(/^-/, ''), 'frame', Number.MAX_SAFE_INTEGER);
  // Xen: dom0's kernel has a ring as well, beside the sockets of its programs.
  const whose = domidOf(id) === 0 ? 0 : guestOf(id);
  const remote = decimal(evtchn, 'port');
  if (remote === 0) throw invalid('port 0'); // here, for the domain may have a connection already
  request.server.domains.introduce(domid(whose), gfn(where), port(remote));
  return OK;
}

function release(request: Request): Reply {
  request.server.domains.release(domid(guestOf(only(request))));
  return OK;
}

function resume(request: Request): Reply {
  request.server.domains.resume(domid(guestOf(only(request))));
  return OK;
}

function getDomainPath(request: Request): Reply {
  return [homeOf(domidOf(only(request)))];
}

function isDomainIntroduced(request: Request): Reply {
  const whose = domidOf(only(request));
  return [whose === DOMID_SELF || request.server.domains.has(domid(whose)) ? 'T' : 'F'];
}

function setTarget(request: Request): Reply {
  const [id, target] = parts(request, 2, 2);
  request.server.domains.setTarget(domid(guestOf(id)), domid(guestOf(target)));
  return OK;
}

function getFeature(request: Request): Reply {
  const [id] = parts(request, 0, 1);
  if (!id) return [String(request.server.domains.features())]; // no string, or an empty one
  dom0Only(request);
  return [String(request.server.domains.features(domid(guestOf(id))))];
}

function setFeature(request: Request): Reply {
  const [id, value] = parts(request, 2, 2);
  request.server.domains.setFeatures(domid(guestOf(id)), decimal(value, 'feature mask'));
  return OK;
}

function getQuota(request: Request): Reply {
  const [first, second] = parts(request, 0, 2);
  const { quotas } = request.server;
  if (!first) return [quotaNames.join(' ')];
  return [String(second === undefined ? quotas.get(first) : quotas.get(second, guestOf(first)))];
}

function setQuota(request: Request): Reply {
  const given = parts(request, 2, 3);
  const value = decimal(given.pop(), 'quota');
  const name = given.pop() ?? '';
  const [id] = given;
  request.server.quotas.set(name, value, id === undefined ? undefined : guestOf(id));
  return OK;
}

// ---- the daemon itself ----

function control(request: Request): Reply | typeof LATER {
  const { server, client, req_id, tx_id } = request;
  const said = runControl({ server, client, asked: { req_id, tx_id } }, parts(request, 1));
  return said === LATER ? LATER : [said];
}

// Responses as bytes.
import type { HttpAnswer, HttpResponse } from 'xenolith';

const REASONS: Readonly<Record<number, string>> = {
  200: 'OK',
  201: 'Created',
  202: 'Accepted',
  204: 'No Content',
  206: 'Partial Content',
  301: 'Moved Permanently',
  302: 'Found',
  303: 'See Other',
  304: 'Not Modified',
  307: 'Temporary Redirect',
  308: 'Permanent Redirect',
  400: 'Bad Request',
  401: 'Unauthorized',
  403: 'Forbidden',
  404: 'Not Found',
  405: 'Method Not Allowed',
  408: 'Request Timeout',
  409: 'Conflict',
  411: 'Length Required',
  413: 'Content Too Large',
  414: 'URI Too Long',
  415: 'Unsupported Media Type',
  422: 'Unprocessable Content',
  429: 'Too Many Requests',
  431: 'Request Header Fields Too Large',
  500: 'Internal Server Error',
  501: 'Not Implemented',
  503: 'Service Unavailable',
  505: 'HTTP Version Not Supported',
  507: 'Insufficient Storage',
};

const encoder = new TextEncoder();
/** The server says these itself. */
const OURS = new Set(['connection', 'content-length', 'date', 'transfer-encoding']);

/** What a handler may return, as one form. */
export function asResponse(answer: HttpAnswer): HttpResponse {
  if (answer === undefined) return { status: 204 };
  if (typeof answer === 'string') return { headers: { 'Content-Type': 'text/plain; charset=utf-8' }, body: answer };
  if (answer instanceof Uint8Array) return { headers: { 'Content-Type': 'application/octet-stream' }, body: answer };
  return answer;
}

export interface Framing {
  readonly date: Date;
  readonly keepAlive: boolean;
  /** The request was HEAD: the same head, no body. */
  readonly head: boolean;
}

/** Throws a TypeError when a header would break the message: names and values are the handler's. */
export function encodeResponse(response: HttpResponse, { date, keepAlive, head }: Framing): Uint8Array {
  const { status = 200, headers = {} } = response;
  if (!Number.isInteger(status) || status < 200 || status > 599) throw new TypeError(`status ${status}`);
  const content =
    typeof response.body === 'string' ? encoder.encode(response.body) : (response.body ?? new Uint8Array(0));
  // RFC 9110, 6.4.1: these have no body, whatever the handler says.
  const bodiless = status === 204 || status === 304;
  let text = `HTTP/1.1 ${status} ${REASONS[status] ?? ''}\r\nDate: ${date.toUTCString()}\r\n`;
  for (const [name, value] of Object.entries(headers)) {
    if (OURS.has(name.toLowerCase())) continue;
    // biome-ignore lint/suspicious/noControlCharactersInRegex: exactly what must not be in a header.
    if (!/^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/.test(name) || /[\x00-\x08\x0a-\x1f\x7f]/.test(value)) {
      throw new TypeError(`the header ${JSON.stringify(name)} cannot be sent`);
    }
    text += `${name}: ${value}\r\n`;
  }
  if (!bodiless) text += `Content-Length: ${content.length}\r\n`;
  text += keepAlive ? '\r\n' : 'Connection: close\r\n\r\n';
  const top = encoder.encode(text);
  if (head || bodiless || content.length === 0) return top;
  const all = new Uint8Array(top.length + content.length);
  all.set(top);
  all.set(content, top.length);
  return all;
}

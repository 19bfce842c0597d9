// The office's web server. Serves the files of its disk; `POST /notes` appends a line to notes.txt and
// answers 201 only when the line is on the disk's medium.
import { console, files, type HttpAnswer, type HttpRequest, http, system } from 'xenolith';

const TYPES: Record<string, string> = {
  css: 'text/css; charset=utf-8',
  html: 'text/html; charset=utf-8',
  svg: 'image/svg+xml',
  txt: 'text/plain; charset=utf-8',
};
const MAX_NOTE = 4096;
const NOTES = '/notes.txt';

const plain = (status: number, text: string): HttpAnswer => ({
  status,
  headers: { 'Content-Type': TYPES.txt! },
  body: text,
});

function serveFile(path: string): HttpAnswer {
  const file = path.endsWith('/') ? `${path}index.html` : path;
  try {
    const type = TYPES[file.slice(file.lastIndexOf('.') + 1).toLowerCase()] ?? 'application/octet-stream';
    return { headers: { 'Content-Type': type, 'Cache-Control': 'no-cache' }, body: files.readFile(file) };
  } catch (error) {
    const { code } = error as { code?: string };
    if (code === 'ENOENT' || code === 'EINVAL') return plain(404, `there is no ${path} here\n`);
    if (code === 'EISDIR') return { status: 308, headers: { Location: `${encodeURI(path)}/` } };
    throw error;
  }
}

function addNote({ body, text }: HttpRequest): HttpAnswer {
  if (body.length === 0) return plain(400, 'an empty note\n');
  if (body.length > MAX_NOTE) return plain(413, `a note has at most ${MAX_NOTE} bytes\n`);
  // One note is one line, whatever it holds.
  const note = text()
    .replace(/\p{Cc}+/gu, ' ')
    .trim();
  try {
    files.appendFile(NOTES, `${new Date().toISOString()} ${note}\n`, { sync: true });
  } catch (error) {
    if ((error as { code?: string }).code === 'ENOSPC') return plain(507, 'the disk is full\n');
    throw error;
  }
  console.log(`noted: ${note}`);
  return plain(201, 'noted\n');
}

function answer(request: HttpRequest): HttpAnswer {
  const { method, path } = request;
  if (path === '/notes') {
    if (method === 'POST') return addNote(request);
    if (method === 'GET' || method === 'HEAD') return files.exists(NOTES) ? serveFile(NOTES) : plain(200, '');
  }
  if (method === 'GET' || method === 'HEAD') return serveFile(path);
  return { status: 405, headers: { Allow: path === '/notes' ? 'GET, HEAD, POST' : 'GET, HEAD' } };
}

export default async function main(): Promise<void> {
  const server = await http.serve(80, answer);
  console.log(`${system.name}: serving ${files.list('/').length} files on port ${server.port}`);
  await new Promise<void>(resolve => system.onShutdown(() => server.close().then(resolve)));
}

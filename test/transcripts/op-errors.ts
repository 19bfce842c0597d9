// How each message can be answered: `OK`, and the errors that dom0/xenstored/requests.ts and what it calls can give.
// The transcripts show each of them; the random requests of test/conformance/ find no other.

/** Of a message that works on the tree: its path, its rights, a transaction that is not open or has seen too much. */
const NODE = 'EACCES EINVAL ENOENT ENOMEM ENOSPC OK';

export const OP_ERRORS: Readonly<Record<string, string>> = {
  CONTROL: 'EACCES EINVAL OK',
  DIRECTORY: 'E2BIG EACCES EINVAL ENOENT ENOMEM ENOSPC OK',
  READ: NODE,
  GET_PERMS: NODE,
  WATCH: 'EEXIST EINVAL ENOMEM ENOSPC OK',
  UNWATCH: 'EINVAL ENOENT OK',
  TRANSACTION_START: 'EBUSY ENOMEM ENOSPC OK',
  TRANSACTION_END: 'EAGAIN EINVAL ENOENT ENOMEM ENOSPC OK',
  INTRODUCE: 'EACCES EINVAL ENOENT OK',
  RELEASE: 'EACCES EINVAL ENOENT OK',
  GET_DOMAIN_PATH: 'EINVAL OK',
  WRITE: NODE,
  MKDIR: NODE,
  RM: NODE,
  SET_PERMS: 'EACCES EINVAL ENOENT ENOMEM ENOSPC EPERM OK',
  WATCH_EVENT: 'ENOSYS',
  ERROR: 'ENOSYS',
  IS_DOMAIN_INTRODUCED: 'EACCES EINVAL OK',
  RESUME: 'EACCES EINVAL ENOENT OK',
  SET_TARGET: 'EACCES EINVAL ENOENT OK',
  '#20': 'ENOSYS',
  RESET_WATCHES: 'OK',
  DIRECTORY_PART: NODE,
  GET_FEATURE: 'EACCES EINVAL OK',
  SET_FEATURE: 'EACCES EBUSY EINVAL OK',
  GET_QUOTA: 'EACCES EINVAL OK',
  SET_QUOTA: 'EACCES EINVAL OK',
  '#27': 'ENOSYS',
  '#65535': 'ENOSYS',
  '#4294967295': 'ENOSYS',
};

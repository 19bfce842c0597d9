// libext2fs' errors as the few that a caller tells apart, and its own words for the rest.
#include "xenolith-ext4.h"

struct message {
  long code;
  const char *text;
};
static const struct message messages[] = {
#include "messages.h"
};
static errcode_t last;

int result(errcode_t error) {
  last = error;
  switch (error) {
    case 0:
      return 0;
    case EXT2_ET_BLOCK_ALLOC_FAIL:
    case EXT2_ET_INODE_ALLOC_FAIL:
    case EXT2_ET_DIR_NO_SPACE:
    case ENOSPC:
      return 1;
    case EXT2_ET_FILE_NOT_FOUND:
      return 2;
    case EXT2_ET_FILE_TOO_BIG:
      return 3;
    case EXT2_ET_NO_MEMORY:
    case ENOMEM:
      return 4;
    case EMLINK:
      return 5;
    case ENOTEMPTY:
      return 6;
    case ENAMETOOLONG:
      return 7;
    default:
      return 8;
  }
}
/** What was the matter with the last call. */
EXPORT(message) const char *message(void) {
  for (unsigned i = 0; i < sizeof messages / sizeof *messages; i++)
    if (messages[i].code == last) return messages[i].text;
  return "";
}

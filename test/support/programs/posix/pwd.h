#pragma once
#include <sys/types.h>
struct passwd {
  char *pw_name, *pw_dir;
};
struct passwd *getpwuid(uid_t uid);

// What the files of this folder know of one another.
#ifndef XENOLITH_EXT4_H
#define XENOLITH_EXT4_H
#include "config.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "ext2_fs.h"
#include "ext2fs.h"

// e2fsprogs keeps this one to itself.
errcode_t ext2fs_inline_data_expand(ext2_filsys fs, ext2_ino_t ino);

#define EXPORT(name) __attribute__((export_name(#name)))
#define IMPORT(name) __attribute__((import_module("disk"), import_name(#name)))

// One volume an instance.
extern ext2_filsys fs;
// Nanoseconds within the second of fs->now.
extern __u32 now_ns;

// io.c
extern io_manager disk_manager;

// changes.c: which bitmaps a flush writes.
errcode_t begin_changes(unsigned blocks);
/** libext2fs has taken it, or given it back, itself. */
void inode_changed(ext2_ino_t ino);
void use_inode(ext2_ino_t ino, int more, int is_directory);
errcode_t write_changed_bitmaps(ext2_filsys of);

// inode.c
typedef struct {
  struct ext2_inode_large at;
  char rest[4096 - sizeof(struct ext2_inode_large)];
} inode_room;
#define SMALL(room) ((struct ext2_inode *)&(room)->at)
errcode_t read_inode(ext2_ino_t ino, inode_room *room);
errcode_t write_inode(ext2_ino_t ino, inode_room *room);
enum { ATIME = 1, MTIME = 2, CTIME = 4 };
void stamp(inode_room *room, int which, long long seconds, __u32 ns);
void stamp_now(inode_room *room, int which);

// errors.c
int result(errcode_t error);
#endif

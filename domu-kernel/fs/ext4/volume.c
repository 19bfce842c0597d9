// A volume: mounted, written out, and what it says of itself.
#include "xenolith-ext4.h"

ext2_filsys fs;
__u32 now_ns;

// e2fsprogs knows charsets and several hosts at one volume; a volume that needs either is not mounted.
const struct ext2fs_nls_table *ext2fs_load_nls_table(int encoding) { return 0; }
errcode_t ext2fs_mmp_start(ext2_filsys of) { return EXT2_ET_UNIMPLEMENTED; }
errcode_t ext2fs_mmp_stop(ext2_filsys of) { return 0; }
// What it finds wrong it says by results as well.
void com_err(const char *who, errcode_t error, const char *format, ...) {}
// Nothing is read from an environment.
char *getenv(const char *name) { return 0; }
time_t time(time_t *at) {
  if (at) *at = fs ? fs->now : 0;
  return fs ? fs->now : 0;
}

/** Counts up with what is exported here and what it means. */
EXPORT(version) int version(void) { return 2; }
EXPORT(allocate_memory) void *allocate_memory(unsigned bytes) { return calloc(1, bytes); }
EXPORT(clock) void set_clock(double seconds, unsigned ns) {
  fs->now = (time_t)seconds;
  now_ns = ns;
}
EXPORT(mount) int mount_volume(int writable) {
  int flags = EXT2_FLAG_64BITS | (writable ? EXT2_FLAG_RW : 0);
  return result(ext2fs_open2("", 0, flags, 0, 0, disk_manager, &fs));
}
EXPORT(block_size) unsigned block_size(void) { return fs->blocksize; }
EXPORT(blocks) double blocks(void) { return (double)ext2fs_blocks_count(fs->super); }
EXPORT(free_blocks) double free_blocks(void) { return (double)ext2fs_free_blocks_count(fs->super); }
EXPORT(journal_inode) unsigned journal_inode(void) { return fs->super->s_journal_inum; }
EXPORT(orphan) unsigned orphan(void) { return fs->super->s_last_orphan; }
EXPORT(is_changed) int is_changed(void) { return !!(fs->flags & (EXT2_FLAG_DIRTY | EXT2_FLAG_BB_DIRTY | EXT2_FLAG_IB_DIRTY)); }

/** What is kept in memory goes to the disk: bitmaps, group descriptors, the superblock. */
EXPORT(flush) int flush_volume(void) {
  if (!is_changed()) return 0;
  return result(ext2fs_flush2(fs, EXT2_FLAG_FLUSH_NO_SYNC));
}
enum { IN_ORDER = 1, IN_JOURNAL = 2 };
static void set_marks(struct ext2_super_block *super, int marks) {
  if (marks & IN_ORDER) super->s_state |= EXT2_VALID_FS;
  else super->s_state &= ~EXT2_VALID_FS;
  if (marks & IN_JOURNAL) super->s_feature_incompat |= EXT3_FEATURE_INCOMPAT_RECOVER;
  else super->s_feature_incompat &= ~EXT3_FEATURE_INCOMPAT_RECOVER;
}
/** What the superblock says of the volume: in the copy at `bytes`, and in what is written from here on. */
EXPORT(mark) int mark(struct ext2_super_block *bytes, int marks) {
  set_marks(fs->super, marks);
  set_marks(bytes, marks);
  return result(ext2fs_superblock_csum_set(fs, bytes));
}

// Names in directories, and what changes them.
#include "xenolith-ext4.h"

#define MAX_LINKS EXT2_LINK_MAX
// What making a name may take: a block of the directory, and of its index, and of its extents.
#define BLOCKS_OF_A_NAME 8

void add_orphan(ext2_ino_t ino, inode_room *room);

static char *listed;
static unsigned listed_length, listed_room;
static int no_memory;
static ext2_ino_t made;

EXPORT(inode_made) ext2_ino_t inode_made(void) { return made; }
EXPORT(listed_at) char *listed_at(void) { return listed; }
EXPORT(listed_bytes) unsigned listed_bytes(void) { return listed_length; }

static int is_dots(const struct ext2_dir_entry *entry) {
  unsigned length = ext2fs_dirent_name_len(entry);
  return (length == 1 && entry->name[0] == '.') || (length == 2 && entry->name[0] == '.' && entry->name[1] == '.');
}

static int list_entry(ext2_ino_t dir, int kind, struct ext2_dir_entry *entry, int offset, int size, char *block,
                      void *unused) {
  if (entry->inode == 0) return 0;
  unsigned length = ext2fs_dirent_name_len(entry);
  if (is_dots(entry)) {
    if (length == 2) memcpy(listed, &entry->inode, 4);
    return 0;
  }
  if (length > 255) return 0;
  if (listed_length + 6 + length > listed_room) {
    unsigned room = 2 * listed_room;
    char *more = realloc(listed, room);
    if (!more) {
      no_memory = 1;
      return DIRENT_ABORT;
    }
    listed = more;
    listed_room = room;
  }
  char *at = listed + listed_length;
  memcpy(at, &entry->inode, 4);
  at[4] = ext2fs_dirent_file_type(entry);
  at[5] = length;
  memcpy(at + 6, entry->name, length);
  listed_length += 6 + length;
  return 0;
}
/** The inode of '..'; then of each entry: u32 inode, u8 type, u8 length, name. */
EXPORT(list) int list(ext2_ino_t dir) {
  if (!listed && !(listed = malloc(listed_room = 4096))) return result(EXT2_ET_NO_MEMORY);
  memset(listed, 0, 4);
  listed_length = 4;
  no_memory = 0;
  errcode_t error = ext2fs_dir_iterate2(fs, dir, 0, 0, list_entry, 0);
  if (!error && no_memory) error = EXT2_ET_NO_MEMORY;
  return result(error);
}

static errcode_t touch(ext2_ino_t ino, int which) {
  inode_room room;
  errcode_t error = read_inode(ino, &room);
  if (error) return error;
  stamp_now(&room, which);
  return write_inode(ino, &room);
}
/** In a directory that has 1 for "very many", as ext4 does, that stays. */
static errcode_t count_subdirectory(ext2_ino_t dir, int more) {
  inode_room room;
  errcode_t error = read_inode(dir, &room);
  if (error) return error;
  unsigned links = room.at.i_links_count;
  if (links == 1 && ext2fs_has_feature_dir_nlink(fs->super)) return 0;
  links += more;
  if (links >= MAX_LINKS) {
    if (!ext2fs_has_feature_dir_nlink(fs->super)) return EMLINK;
    links = 1;
  }
  room.at.i_links_count = links;
  return write_inode(dir, &room);
}

// The directory that got a name last, and before which of its blocks there is no room for another.
static ext2_ino_t grown;
static blk64_t full_until;

/** False when the block has no room. */
static int put_entry(char *block, const char *name, ext2_ino_t ino, int type) {
  unsigned length = strlen(name), need = ext2fs_dir_rec_len(length, 0), at = 0;
  unsigned end = fs->blocksize - (ext2fs_has_feature_metadata_csum(fs->super) ? sizeof(struct ext2_dir_entry_tail) : 0);
  while (at + 8 < end) {
    struct ext2_dir_entry *entry = (struct ext2_dir_entry *)(block + at);
    unsigned room, used = entry->inode ? ext2fs_dir_rec_len(ext2fs_dirent_name_len(entry), 0) : 0;
    // untrusted: what leads out of the block.
    if (ext2fs_get_rec_len(fs, entry, &room) || room < 8 || at + room > end) return 0;
    if (room >= used + need) {
      if (used) {
        ext2fs_set_rec_len(fs, used, entry);
        entry = (struct ext2_dir_entry *)(block + at + used);
        ext2fs_set_rec_len(fs, room - used, entry);
      }
      entry->inode = ino;
      ext2fs_dirent_set_name_len(entry, length);
      ext2fs_dirent_set_file_type(entry, ext2fs_has_feature_filetype(fs->super) ? type : 0);
      memcpy(entry->name, name, length);
      return 1;
    }
    at += room;
  }
  return 0;
}
/** As ext2fs_link, which reads a directory without an index from its beginning each time. */
static errcode_t put_name(ext2_ino_t dir, const char *name, ext2_ino_t ino, int type) {
  inode_room room;
  errcode_t error = read_inode(dir, &room);
  if (error) return error;
  if (room.at.i_flags & (EXT2_INDEX_FL | EXT4_INLINE_DATA_FL)) return ext2fs_link(fs, dir, name, ino, type);
  char *block = malloc(fs->blocksize);
  if (!block) return EXT2_ET_NO_MEMORY;
  blk64_t count = EXT2_I_SIZE(SMALL(&room)) / fs->blocksize, at = grown == dir ? full_until : 0;
  int is_put = 0;
  for (; at < count && !error && !is_put; at++) {
    blk64_t place = 0;
    int flags = 0;
    error = ext2fs_bmap2(fs, dir, SMALL(&room), 0, 0, at, &flags, &place);
    if (!error && (!place || flags & BMAP_RET_UNINIT)) error = EXT2_ET_DIR_CORRUPTED;
    if (!error) error = ext2fs_read_dir_block4(fs, place, block, 0, dir);
    if (error || !put_entry(block, name, ino, type)) continue;
    is_put = 1;
    error = ext2fs_write_dir_block4(fs, place, block, 0, dir);
    grown = dir;
    full_until = at;
  }
  free(block);
  return error ? error : is_put ? 0 : EXT2_ET_DIR_NO_SPACE;
}
static errcode_t add_name(ext2_ino_t dir, const char *name, ext2_ino_t ino, int type) {
  errcode_t error = put_name(dir, name, ino, type);
  if (error == EXT2_ET_DIR_NO_SPACE) {
    error = ext2fs_expand_dir(fs, dir);
    if (!error) error = put_name(dir, name, ino, type);
  }
  return error ? error : touch(dir, MTIME | CTIME);
}
static errcode_t remove_name(ext2_ino_t dir, const char *name, ext2_ino_t ino) {
  if (grown == dir) grown = 0;
  errcode_t error = ext2fs_unlink(fs, dir, name, ino, 0);
  if (error == EXT2_ET_DIR_NO_SPACE) error = EXT2_ET_FILE_NOT_FOUND;
  return error ? error : touch(dir, MTIME | CTIME);
}
static int type_of(unsigned mode) {
  static const char types[] = {
      [LINUX_S_IFIFO >> 12] = EXT2_FT_FIFO,    [LINUX_S_IFCHR >> 12] = EXT2_FT_CHRDEV,
      [LINUX_S_IFDIR >> 12] = EXT2_FT_DIR,     [LINUX_S_IFBLK >> 12] = EXT2_FT_BLKDEV,
      [LINUX_S_IFREG >> 12] = EXT2_FT_REG_FILE, [LINUX_S_IFLNK >> 12] = EXT2_FT_SYMLINK,
      [LINUX_S_IFSOCK >> 12] = EXT2_FT_SOCK,   [15] = EXT2_FT_UNKNOWN,
  };
  return types[mode >> 12 & 15];
}

// ---- what is new ----

static errcode_t new_file(ext2_ino_t dir, ext2_ino_t *ino) {
  inode_room room;
  errcode_t error = ext2fs_new_inode(fs, dir, LINUX_S_IFREG | 0644, 0, ino);
  if (error) return error;
  memset(&room, 0, sizeof room);
  room.at.i_mode = LINUX_S_IFREG | 0644;
  room.at.i_links_count = 1;
  if (ext2fs_has_feature_extents(fs->super)) {
    ext2_extent_handle_t handle;
    room.at.i_flags = EXT4_EXTENTS_FL;
    error = ext2fs_extent_open2(fs, *ino, SMALL(&room), &handle);
    if (error) return error;
    ext2fs_extent_free(handle);
  }
  error = ext2fs_write_new_inode(fs, *ino, SMALL(&room));
  if (!error) use_inode(*ino, +1, 0);
  return error;
}
static errcode_t new_directory(ext2_ino_t dir, ext2_ino_t *ino) {
  inode_room parent;
  errcode_t error = read_inode(dir, &parent);
  if (!error) error = ext2fs_new_inode(fs, dir, LINUX_S_IFDIR | 0755, 0, ino);
  if (!error) error = ext2fs_mkdir(fs, dir, *ino, 0);
  if (error) return error;
  // Not its accounting of links, which knows no end.
  error = write_inode(dir, &parent);
  inode_changed(*ino);
  return error;
}
static errcode_t new_symlink(ext2_ino_t dir, const char *target, ext2_ino_t *ino) {
  if (strlen(target) >= fs->blocksize) return ENAMETOOLONG;
  errcode_t error = ext2fs_new_inode(fs, dir, LINUX_S_IFLNK | 0777, 0, ino);
  if (!error) error = ext2fs_symlink(fs, dir, *ino, 0, target);
  if (!error) inode_changed(*ino);
  return error;
}
static errcode_t named(ext2_ino_t dir, const char *name, ext2_ino_t ino, int type) {
  inode_room room;
  errcode_t error = read_inode(ino, &room);
  if (error) return error;
  stamp_now(&room, ATIME | MTIME | CTIME);
  error = write_inode(ino, &room);
  if (!error) error = add_name(dir, name, ino, type);
  if (!error && type == EXT2_FT_DIR) error = count_subdirectory(dir, +1);
  made = ino;
  return error;
}
EXPORT(create) int create(ext2_ino_t dir, const char *name) {
  ext2_ino_t ino;
  errcode_t error = begin_changes(BLOCKS_OF_A_NAME);
  if (!error) error = new_file(dir, &ino);
  return result(error ? error : named(dir, name, ino, EXT2_FT_REG_FILE));
}
EXPORT(make_directory) int make_directory(ext2_ino_t dir, const char *name) {
  ext2_ino_t ino;
  errcode_t error = begin_changes(2 * BLOCKS_OF_A_NAME);
  if (!error) error = new_directory(dir, &ino);
  return result(error ? error : named(dir, name, ino, EXT2_FT_DIR));
}
EXPORT(make_symlink) int make_symlink(ext2_ino_t dir, const char *name, const char *target) {
  ext2_ino_t ino;
  errcode_t error = begin_changes(2 * BLOCKS_OF_A_NAME);
  if (!error) error = new_symlink(dir, target, &ino);
  return result(error ? error : named(dir, name, ino, EXT2_FT_SYMLINK));
}
EXPORT(link_file) int link_file(ext2_ino_t dir, const char *name, ext2_ino_t ino) {
  inode_room room;
  errcode_t error = begin_changes(BLOCKS_OF_A_NAME);
  if (!error) error = read_inode(ino, &room);
  if (!error && room.at.i_links_count >= MAX_LINKS) error = EMLINK;
  if (!error) error = add_name(dir, name, ino, type_of(room.at.i_mode));
  if (error) return result(error);
  room.at.i_links_count++;
  stamp_now(&room, CTIME);
  return result(write_inode(ino, &room));
}

// ---- what goes ----

static int count_entry(ext2_ino_t dir, int kind, struct ext2_dir_entry *entry, int offset, int size, char *block,
                       void *count) {
  if (entry->inode == 0 || is_dots(entry)) return 0;
  ++*(int *)count;
  return DIRENT_ABORT;
}
static errcode_t must_be_empty(ext2_ino_t dir) {
  int count = 0;
  errcode_t error = ext2fs_dir_iterate2(fs, dir, 0, 0, count_entry, &count);
  return error ? error : count ? ENOTEMPTY : 0;
}
/** One name less. The last one's inode waits among those that nobody may want. */
static errcode_t drop_link(ext2_ino_t parent, ext2_ino_t ino) {
  inode_room room;
  errcode_t error = read_inode(ino, &room);
  if (error) return error;
  int is_directory = LINUX_S_ISDIR(room.at.i_mode);
  if (is_directory || room.at.i_links_count <= 1) {
    room.at.i_links_count = 0;
    add_orphan(ino, &room);
  } else room.at.i_links_count--;
  stamp_now(&room, CTIME);
  error = write_inode(ino, &room);
  return !error && is_directory ? count_subdirectory(parent, -1) : error;
}
EXPORT(unlink_file) int unlink_file(ext2_ino_t dir, const char *name, ext2_ino_t ino) {
  errcode_t error = begin_changes(0);
  if (!error) error = remove_name(dir, name, ino);
  return result(error ? error : drop_link(dir, ino));
}
EXPORT(remove_directory) int remove_directory(ext2_ino_t dir, const char *name, ext2_ino_t ino) {
  errcode_t error = begin_changes(0);
  if (!error) error = must_be_empty(ino);
  if (!error) error = remove_name(dir, name, ino);
  return result(error ? error : drop_link(dir, ino));
}

// ---- rename ----

struct change {
  const char *name;
  unsigned length;
  ext2_ino_t ino;
  int type;
  int done;
};
static int change_entry(ext2_ino_t dir, int kind, struct ext2_dir_entry *entry, int offset, int size, char *block,
                        void *given) {
  struct change *change = given;
  if (entry->inode == 0 || (unsigned)ext2fs_dirent_name_len(entry) != change->length ||
      memcmp(entry->name, change->name, change->length))
    return 0;
  entry->inode = change->ino;
  if (ext2fs_has_feature_filetype(fs->super)) ext2fs_dirent_set_file_type(entry, change->type);
  change->done = 1;
  return DIRENT_CHANGED | DIRENT_ABORT;
}
static errcode_t change_name(ext2_ino_t dir, const char *name, ext2_ino_t ino, int type) {
  struct change change = {name, strlen(name), ino, type, 0};
  errcode_t error = ext2fs_dir_iterate2(fs, dir, 0, 0, change_entry, &change);
  return error ? error : change.done ? 0 : EXT2_ET_FILE_NOT_FOUND;
}
/** `old`: what the new name named, or 0. */
EXPORT(rename_file) int rename_file(ext2_ino_t dir, const char *name, ext2_ino_t to, const char *as, ext2_ino_t ino,
                                    ext2_ino_t old) {
  inode_room room;
  errcode_t error = begin_changes(old ? 0 : BLOCKS_OF_A_NAME);
  if (!error) error = read_inode(ino, &room);
  if (error) return result(error);
  int type = type_of(room.at.i_mode), is_directory = LINUX_S_ISDIR(room.at.i_mode);
  if (old && is_directory) error = must_be_empty(old);
  if (error) return result(error);
  if (old) {
    error = change_name(to, as, ino, type);
    if (!error) error = drop_link(to, old);
    if (!error) error = touch(to, MTIME | CTIME);
  } else error = add_name(to, as, ino, type);
  if (!error) error = remove_name(dir, name, ino);
  if (!error && is_directory && dir != to) {
    error = change_name(ino, "..", to, EXT2_FT_DIR);
    if (!error) error = count_subdirectory(dir, -1);
    if (!error) error = count_subdirectory(to, +1);
  }
  return result(error ? error : touch(ino, CTIME));
}

// ---- symlinks ----

static char target[65536];
EXPORT(target_at) char *target_at(void) { return target; }
EXPORT(read_target) int read_target(ext2_ino_t ino) {
  inode_room room;
  errcode_t error = read_inode(ino, &room);
  if (error) return result(error);
  __u64 size = EXT2_I_SIZE(SMALL(&room));
  memset(target, 0, fs->blocksize);
  // untrusted: a size that is not that of a target.
  if (size >= fs->blocksize) return result(EXT2_ET_INODE_CORRUPTED);
  if (room.at.i_flags & EXT4_INLINE_DATA_FL) {
    size_t length = 0;
    error = ext2fs_inline_data_size(fs, ino, &length);
    if (!error && length > fs->blocksize) error = EXT2_ET_INODE_CORRUPTED;
    if (!error) error = ext2fs_inline_data_get(fs, ino, SMALL(&room), target, &length);
  } else if (ext2fs_is_fast_symlink(SMALL(&room))) {
    memcpy(target, room.at.i_block, size);
  } else {
    blk64_t block = 0;
    int flags = 0;
    error = ext2fs_bmap2(fs, ino, SMALL(&room), 0, 0, 0, &flags, &block);
    if (!error && !block) error = EXT2_ET_INODE_CORRUPTED;
    if (!error) error = io_channel_read_blk64(fs->io, block, 1, target);
  }
  target[size] = 0;
  return result(error);
}

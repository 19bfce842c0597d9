// Inodes: their attributes and times, where their blocks are, and what becomes of those that nobody wants any more.
#include "xenolith-ext4.h"

// Free blocks that no file's data gets: extents and directories need some to give others back.
#define KEPT_BLOCKS 16
// Blocks that one step of a truncate gives back: what it changes is to fit into a journal.
#define BLOCKS_A_STEP 32768

errcode_t read_inode(ext2_ino_t ino, inode_room *room) {
  memset(room, 0, sizeof room->at);
  return ext2fs_read_inode_full(fs, ino, SMALL(room), sizeof *room);
}
// Of a file whose blocks are to change: it has some, and nothing in the inode itself.
static errcode_t read_to_change(ext2_ino_t ino, inode_room *room) {
  errcode_t error = begin_changes(0);
  if (!error) error = read_inode(ino, room);
  if (error || !(room->at.i_flags & EXT4_INLINE_DATA_FL)) return error;
  error = begin_changes(4);
  if (!error) error = ext2fs_inline_data_expand(fs, ino);
  return error ? error : read_inode(ino, room);
}
errcode_t write_inode(ext2_ino_t ino, inode_room *room) {
  return ext2fs_write_inode_full(fs, ino, SMALL(room), EXT2_INODE_SIZE(fs->super));
}

// ---- times ----

static int has_extra(const inode_room *room, unsigned end) {
  return EXT2_INODE_SIZE(fs->super) > EXT2_GOOD_OLD_INODE_SIZE &&
         EXT2_GOOD_OLD_INODE_SIZE + room->at.i_extra_isize >= end;
}
#define HAS(room, field) has_extra(room, offsetof(struct ext2_inode_large, field) + sizeof(__u32))
static __u32 extra_of(long long seconds, __u32 ns) {
  return (__u32)((seconds - (int)seconds) >> 32 & 3) | ns << 2;
}
void stamp(inode_room *room, int which, long long seconds, __u32 ns) {
  struct ext2_inode_large *i = &room->at;
  // Without the further bits the time ends with the last second of 32 bits.
  int fits = HAS(room, i_ctime_extra);
  __u32 low = !fits && seconds > 0x7fffffff ? 0x7fffffff : (__u32)seconds;
  if (which & ATIME) {
    i->i_atime = low;
    if (HAS(room, i_atime_extra)) i->i_atime_extra = extra_of(seconds, ns);
  }
  if (which & MTIME) {
    i->i_mtime = low;
    if (HAS(room, i_mtime_extra)) i->i_mtime_extra = extra_of(seconds, ns);
  }
  if (which & CTIME) {
    i->i_ctime = low;
    if (fits) i->i_ctime_extra = extra_of(seconds, ns);
  }
}
void stamp_now(inode_room *room, int which) { stamp(room, which, fs->now, now_ns); }

EXPORT(set_times) int set_times(ext2_ino_t ino, int which, double seconds, unsigned ns) {
  inode_room room;
  errcode_t error = begin_changes(0);
  if (!error) error = read_inode(ino, &room);
  if (error) return result(error);
  stamp(&room, which, (long long)seconds, ns);
  return result(write_inode(ino, &room));
}

// ---- attributes ----

static double attributes[12];
static double seconds_of(__u32 low, __u32 extra) { return (double)(int)low + (double)(extra & 3) * 4294967296.0; }

/** mode, size, links, flags, then seconds and nanoseconds of atime, mtime and ctime, blocks of 512 bytes. */
EXPORT(attributes_of) int attributes_of(ext2_ino_t ino) {
  inode_room room;
  errcode_t error = read_inode(ino, &room);
  if (error) return result(error);
  const struct ext2_inode_large *i = &room.at;
  __u32 a = HAS(&room, i_atime_extra) ? i->i_atime_extra : 0;
  __u32 m = HAS(&room, i_mtime_extra) ? i->i_mtime_extra : 0;
  __u32 c = HAS(&room, i_ctime_extra) ? i->i_ctime_extra : 0;
  double all[] = {i->i_mode, (double)EXT2_I_SIZE(SMALL(&room)), i->i_links_count, i->i_flags,
                  seconds_of(i->i_atime, a), a >> 2, seconds_of(i->i_mtime, m), m >> 2,
                  seconds_of(i->i_ctime, c), c >> 2, i->i_blocks};
  memcpy(attributes, all, sizeof all);
  return 0;
}
EXPORT(attributes_at) double *attributes_at(void) { return attributes; }

// ---- where a file's blocks are ----

enum { HOLE, DATA, UNWRITTEN, FRESH };
#define MAX_RUNS 256
static struct run {
  __u32 block, count, kind;
} runs[MAX_RUNS];
static unsigned run_count;
static blk64_t mapped;
EXPORT(runs_at) struct run *runs_at(void) { return runs; }
EXPORT(runs_found) unsigned runs_found(void) { return run_count; }
/** How many blocks the runs are. */
EXPORT(blocks_mapped) double blocks_mapped(void) { return (double)mapped; }

/** False when there is no room. */
static int add_run(blk64_t block, blk64_t count, __u32 kind) {
  struct run *last = run_count ? &runs[run_count - 1] : 0;
  if (last && last->kind == kind && (kind == HOLE || last->block + last->count == block)) last->count += count;
  else if (run_count == MAX_RUNS) return 0;
  else runs[run_count++] = (struct run){block, count, kind};
  mapped += count;
  return 1;
}
static errcode_t map_extents(ext2_ino_t ino, inode_room *room, blk64_t first, blk64_t count) {
  ext2_extent_handle_t handle;
  errcode_t error = ext2fs_extent_open2(fs, ino, SMALL(room), &handle);
  if (error) return error;
  blk64_t at = first, end = first + count;
  int more = 1;
  while (at < end && more && !error) {
    struct ext2fs_extent extent;
    error = ext2fs_extent_goto(handle, at);
    if (error == EXT2_ET_EXTENT_NOT_FOUND || error == EXT2_ET_NO_CURRENT_NODE) {
      // A block at a time: it is not said where the next extent begins.
      error = 0;
      more = add_run(0, 1, HOLE);
      at++;
      continue;
    }
    if (!error) error = ext2fs_extent_get(handle, EXT2_EXTENT_CURRENT, &extent);
    if (error) break;
    blk64_t in = at - extent.e_lblk;
    blk64_t take = extent.e_len - in < end - at ? extent.e_len - in : end - at;
    more = add_run(extent.e_pblk + in, take, extent.e_flags & EXT2_EXTENT_FLAGS_UNINIT ? UNWRITTEN : DATA);
    at += take;
  }
  ext2fs_extent_free(handle);
  return error;
}
static errcode_t map_blocks(ext2_ino_t ino, inode_room *room, blk64_t first, blk64_t count) {
  int more = 1;
  for (blk64_t at = first; at < first + count && more; at++) {
    blk64_t block = 0;
    int flags = 0;
    errcode_t error = ext2fs_bmap2(fs, ino, SMALL(room), 0, 0, at, &flags, &block);
    if (error) return error;
    more = block ? add_run(block, 1, flags & BMAP_RET_UNINIT ? UNWRITTEN : DATA) : add_run(0, 1, HOLE);
  }
  return 0;
}
/** Of `count` blocks from `first` on as many as there is room to say. */
EXPORT(map) int map(ext2_ino_t ino, double first, unsigned count) {
  inode_room room;
  run_count = mapped = 0;
  errcode_t error = read_inode(ino, &room);
  if (error) return result(error);
  if (room.at.i_flags & EXT4_EXTENTS_FL) return result(map_extents(ino, &room, (blk64_t)first, count));
  return result(map_blocks(ino, &room, (blk64_t)first, count));
}

static errcode_t take_block(ext2_ino_t ino, inode_room *room, blk64_t at, blk64_t before, char *buffers,
                            blk64_t *taken) {
  if (ext2fs_free_blocks_count(fs->super) <= KEPT_BLOCKS) return EXT2_ET_BLOCK_ALLOC_FAIL;
  blk64_t goal = before ? before + 1 : ext2fs_find_inode_goal(fs, ino, SMALL(room), at);
  errcode_t error = ext2fs_new_block3(fs, goal, 0, taken, 0);
  if (error) return error;
  ext2fs_block_alloc_stats2(fs, *taken, +1);
  error = ext2fs_bmap2(fs, ino, SMALL(room), buffers, BMAP_ALLOC | BMAP_SET, at, 0, taken);
  if (error) {
    ext2fs_block_alloc_stats2(fs, *taken, -1);
    return error;
  }
  return ext2fs_iblk_add_blocks(fs, SMALL(room), 1);
}
/** As map, with blocks for all of it; what is FRESH holds something else until it is written, whole. */
EXPORT(allocate) int allocate(ext2_ino_t ino, double first, unsigned count) {
  inode_room room;
  run_count = mapped = 0;
  errcode_t error = read_to_change(ino, &room);
  char *buffers = error ? 0 : malloc(2 * fs->blocksize);
  if (!error && !buffers) error = EXT2_ET_NO_MEMORY;
  blk64_t before = 0, at = (blk64_t)first, end = at + count;
  int changed = 0;
  for (; at < end && !error; at++) {
    blk64_t block = 0;
    int flags = 0, kind = DATA;
    error = ext2fs_bmap2(fs, ino, SMALL(&room), buffers, 0, at, &flags, &block);
    if (error) break;
    if (block == 0) {
      error = take_block(ino, &room, at, before, buffers, &block);
      kind = FRESH;
    } else if (flags & BMAP_RET_UNINIT) {
      error = ext2fs_bmap2(fs, ino, SMALL(&room), buffers, BMAP_SET, at, 0, &block);
      kind = FRESH;
    }
    if (error) break;
    changed |= kind == FRESH;
    before = block;
    if (!add_run(block, 1, kind)) break;
  }
  free(buffers);
  if (changed) {
    errcode_t written = write_inode(ino, &room);
    if (!error) error = written;
  }
  // What there was room for is there.
  if (error == EXT2_ET_BLOCK_ALLOC_FAIL && mapped > 0) error = 0;
  return result(error);
}
/** The file has at least so many bytes, and was changed at this time. */
EXPORT(lengthen) int lengthen(ext2_ino_t ino, double size, double seconds, unsigned ns) {
  inode_room room;
  errcode_t error = begin_changes(0);
  if (!error) error = read_inode(ino, &room);
  if (error) return result(error);
  if (room.at.i_flags & EXT4_INLINE_DATA_FL && size > EXT2_I_SIZE(SMALL(&room))) {
    error = begin_changes(4);
    if (!error) error = ext2fs_inline_data_expand(fs, ino);
    if (!error) error = read_inode(ino, &room);
    if (error) return result(error);
  }
  if (size > EXT2_I_SIZE(SMALL(&room))) {
    error = ext2fs_inode_size_set(fs, SMALL(&room), (ext2_off64_t)size);
    if (error) return result(error);
  }
  stamp(&room, MTIME | CTIME, (long long)seconds, ns);
  return result(write_inode(ino, &room));
}

static char inline_bytes[4096];
static size_t inline_size;
EXPORT(inline_at) char *inline_at(void) { return inline_bytes; }
EXPORT(inline_length) unsigned inline_length(void) { return inline_size; }
/** What a file holds that has no blocks. */
EXPORT(read_inline) int read_inline(ext2_ino_t ino) {
  inode_room room;
  inline_size = 0;
  errcode_t error = read_inode(ino, &room);
  if (!error) error = ext2fs_inline_data_size(fs, ino, &inline_size);
  if (!error && inline_size > sizeof inline_bytes) error = EXT2_ET_INODE_CORRUPTED;
  if (!error) error = ext2fs_inline_data_get(fs, ino, SMALL(&room), inline_bytes, &inline_size);
  if (error) inline_size = 0;
  return result(error);
}

static int more_to_do;
EXPORT(is_more) int is_more(void) { return more_to_do; }

static errcode_t cut(ext2_ino_t ino, inode_room *room, ext2_off64_t size) {
  more_to_do = 0;
  if (!ext2fs_inode_has_valid_blocks2(fs, SMALL(room))) return 0;
  ext2_off64_t block_size = fs->blocksize, old = EXT2_I_SIZE(SMALL(room));
  blk64_t first = (size + block_size - 1) / block_size, end = (old + block_size - 1) / block_size;
  if (end > first + BLOCKS_A_STEP) {
    first = end - BLOCKS_A_STEP;
    size = first * block_size;
    more_to_do = 1;
  }
  errcode_t error = ext2fs_punch(fs, ino, SMALL(room), 0, first, ~0ULL);
  if (error) return error;
  return ext2fs_inode_size_set(fs, SMALL(room), size);
}
/** Shorter than it is; a step of it, when `is_more` says so. */
EXPORT(shorten) int shorten(ext2_ino_t ino, double size) {
  inode_room room;
  errcode_t error = read_to_change(ino, &room);
  if (!error) error = cut(ino, &room, (ext2_off64_t)size);
  if (error) return result(error);
  stamp_now(&room, MTIME | CTIME);
  return result(write_inode(ino, &room));
}

// ---- inodes without a name ----

/** Into the volume's list of those that somebody has open still: whoever finds it takes them away. */
void add_orphan(ext2_ino_t ino, inode_room *room) {
  room->at.i_dtime = fs->super->s_last_orphan;
  fs->super->s_last_orphan = ino;
  ext2fs_mark_super_dirty(fs);
}
static errcode_t remove_orphan(ext2_ino_t ino, inode_room *room) {
  ext2_ino_t next = room->at.i_dtime;
  if (fs->super->s_last_orphan == ino) {
    fs->super->s_last_orphan = next;
    ext2fs_mark_super_dirty(fs);
    return 0;
  }
  ext2_ino_t at = fs->super->s_last_orphan;
  // untrusted: a list that leads in a circle.
  for (unsigned n = 0; at && n < fs->super->s_inodes_count; n++) {
    inode_room before;
    errcode_t error = read_inode(at, &before);
    if (error) return error;
    if (before.at.i_dtime == ino) {
      before.at.i_dtime = next;
      return write_inode(at, &before);
    }
    at = before.at.i_dtime;
  }
  return 0;
}
/** An inode that has no name and that nobody uses; a step of it, when `is_more` says so. */
EXPORT(release) int release(ext2_ino_t ino) {
  inode_room room;
  errcode_t error = begin_changes(0);
  if (!error) error = read_inode(ino, &room);
  if (!error) error = cut(ino, &room, 0);
  if (!error && more_to_do) error = write_inode(ino, &room);
  if (error || more_to_do) return result(error);
  if (ext2fs_file_acl_block(fs, SMALL(&room))) error = ext2fs_free_ext_attr(fs, ino, &room.at);
  if (!error) error = remove_orphan(ino, &room);
  if (error) return result(error);
  room.at.i_links_count = 0;
  room.at.i_dtime = (__u32)fs->now;
  error = write_inode(ino, &room);
  if (!error) use_inode(ino, -1, LINUX_S_ISDIR(room.at.i_mode));
  return result(error);
}

// Which groups have changed, so that a flush writes their bitmaps and no others; and which blocks became free.
#include "xenolith-ext4.h"

IMPORT(freed) void disk_freed(double block, double count);

static unsigned char *block_groups, *inode_groups;

static void block_changed(ext2_filsys of, blk64_t block, int more) {
  block_groups[ext2fs_group_of_blk2(of, block)] = 1;
  if (more < 0) disk_freed((double)block, 1);
}
static void range_changed(ext2_filsys of, blk64_t block, blk_t count, int more) {
  if (count == 0) return;
  dgrp_t last = ext2fs_group_of_blk2(of, block + count - 1);
  for (dgrp_t group = ext2fs_group_of_blk2(of, block); group <= last; group++) block_groups[group] = 1;
  if (more < 0) disk_freed((double)block, count);
}

/** Before anything is changed that may take so many blocks. The bitmaps are read when the first change comes. */
errcode_t begin_changes(unsigned blocks) {
  if (!(fs->flags & EXT2_FLAG_RW)) return EXT2_ET_RO_FILSYS;
  if (!fs->block_map || !fs->inode_map) {
    errcode_t error = ext2fs_read_bitmaps(fs);
    if (error) return error;
    block_groups = calloc(fs->group_desc_count, 2);
    if (!block_groups) return EXT2_ET_NO_MEMORY;
    inode_groups = block_groups + fs->group_desc_count;
    ext2fs_set_block_alloc_stats_callback(fs, block_changed, 0);
    ext2fs_set_block_alloc_stats_range_callback(fs, range_changed, 0);
    fs->write_bitmaps = write_changed_bitmaps;
  }
  return ext2fs_free_blocks_count(fs->super) < blocks ? EXT2_ET_BLOCK_ALLOC_FAIL : 0;
}
void inode_changed(ext2_ino_t ino) { inode_groups[ext2fs_group_of_ino(fs, ino)] = 1; }
void use_inode(ext2_ino_t ino, int more, int is_directory) {
  ext2fs_inode_alloc_stats2(fs, ino, more, is_directory);
  inode_changed(ino);
}

/** Of a volume whose bitmaps were read. */
EXPORT(is_free) int is_free(double block) {
  return fs->block_map && !ext2fs_test_block_bitmap2(fs->block_map, (blk64_t)block);
}

static errcode_t write_blocks_of(dgrp_t group, char *bits) {
  unsigned bytes = EXT2_BLOCKS_PER_GROUP(fs->super) / 8;
  blk64_t first = ext2fs_group_first_block2(fs, group);
  memset(bits, 0xff, fs->blocksize);
  // What is behind the end of the volume reads as free and counts as used.
  errcode_t error = ext2fs_get_block_bitmap_range2(fs->block_map, first, bytes * 8, bits);
  if (error) return error;
  blk64_t left = ext2fs_blocks_count(fs->super) - first;
  for (blk64_t n = left; n < (blk64_t)bytes * 8; n++) ext2fs_set_bit(n, bits);
  error = ext2fs_block_bitmap_csum_set(fs, group, bits, bytes);
  if (error) return error;
  return io_channel_write_blk64(fs->io, ext2fs_block_bitmap_loc(fs, group), 1, bits);
}
static errcode_t write_inodes_of(dgrp_t group, char *bits) {
  unsigned bytes = (EXT2_INODES_PER_GROUP(fs->super) + 7) / 8;
  memset(bits, 0xff, fs->blocksize);
  ext2_ino_t first = group * EXT2_INODES_PER_GROUP(fs->super) + 1;
  errcode_t error = ext2fs_get_inode_bitmap_range2(fs->inode_map, first, bytes * 8, bits);
  if (error) return error;
  error = ext2fs_inode_bitmap_csum_set(fs, group, bits, bytes);
  if (error) return error;
  return io_channel_write_blk64(fs->io, ext2fs_inode_bitmap_loc(fs, group), 1, bits);
}
errcode_t write_changed_bitmaps(ext2_filsys of) {
  char *bits = malloc(fs->blocksize);
  if (!bits) return EXT2_ET_NO_MEMORY;
  errcode_t error = 0;
  for (dgrp_t group = 0; group < fs->group_desc_count && !error; group++) {
    if (!block_groups[group] && !inode_groups[group]) continue;
    if (block_groups[group]) error = write_blocks_of(group, bits);
    if (!error && inode_groups[group]) error = write_inodes_of(group, bits);
    if (error) break;
    ext2fs_group_desc_csum_set(fs, group);
    block_groups[group] = inode_groups[group] = 0;
  }
  free(bits);
  if (!error) fs->flags &= ~(EXT2_FLAG_BB_DIRTY | EXT2_FLAG_IB_DIRTY);
  return error;
}

// The volume's blocks, which the guest's kernel reads and writes.
#include "xenolith-ext4.h"

IMPORT(read) int disk_read(double offset, void *into, unsigned length);
IMPORT(write) int disk_write(double offset, const void *from, unsigned length);

static struct struct_io_channel channel;

static errcode_t open_disk(const char *name, int flags, io_channel *opened) {
  memset(&channel, 0, sizeof channel);
  channel.magic = EXT2_ET_MAGIC_IO_CHANNEL;
  channel.manager = disk_manager;
  channel.name = (char *)"";
  channel.block_size = 1024;
  channel.refcount = 1;
  *opened = &channel;
  return 0;
}
static errcode_t close_disk(io_channel of) { return 0; }
static errcode_t set_block_size(io_channel of, int size) {
  of->block_size = size;
  return 0;
}
// A negative count is bytes.
static unsigned bytes_of(io_channel of, int count) {
  return count < 0 ? (unsigned)-count : (unsigned)count * (unsigned)of->block_size;
}
static errcode_t read64(io_channel of, unsigned long long block, int count, void *into) {
  return disk_read((double)block * of->block_size, into, bytes_of(of, count)) ? EXT2_ET_SHORT_READ : 0;
}
static errcode_t write64(io_channel of, unsigned long long block, int count, const void *from) {
  return disk_write((double)block * of->block_size, from, bytes_of(of, count)) ? EXT2_ET_SHORT_WRITE : 0;
}
static errcode_t read32(io_channel of, unsigned long block, int count, void *into) {
  return read64(of, block, count, into);
}
static errcode_t write32(io_channel of, unsigned long block, int count, const void *from) {
  return write64(of, block, count, from);
}
static errcode_t flush(io_channel of) { return 0; }

static struct struct_io_manager manager = {
    .magic = EXT2_ET_MAGIC_IO_MANAGER,
    .name = "xenolith",
    .open = open_disk,
    .close = close_disk,
    .set_blksize = set_block_size,
    .read_blk = read32,
    .write_blk = write32,
    .flush = flush,
    .read_blk64 = read64,
    .write_blk64 = write64,
};
io_manager disk_manager = &manager;

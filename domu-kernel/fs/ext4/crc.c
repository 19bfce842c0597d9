// CRC-32C as ext4 uses it: reflected, polynomial 0x1edc6f41, eight bytes at a time.
#include "xenolith-ext4.h"

static __u32 table[8][256];

static void fill(void) {
  for (__u32 n = 0; n < 256; n++) {
    __u32 crc = n;
    for (int bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >> 1) ^ 0x82f63b78 : crc >> 1;
    table[0][n] = crc;
  }
  for (int t = 1; t < 8; t++)
    for (__u32 n = 0; n < 256; n++) table[t][n] = (table[t - 1][n] >> 8) ^ table[0][table[t - 1][n] & 255];
}
__u32 ext2fs_crc32c_le(__u32 crc, unsigned char const *p, size_t length) {
  if (table[0][1] == 0) fill();
  for (; length >= 8; length -= 8, p += 8) {
    __u32 low, high;
    memcpy(&low, p, 4);
    memcpy(&high, p + 4, 4);
    low ^= crc;
    crc = table[7][low & 255] ^ table[6][low >> 8 & 255] ^ table[5][low >> 16 & 255] ^ table[4][low >> 24] ^
          table[3][high & 255] ^ table[2][high >> 8 & 255] ^ table[1][high >> 16 & 255] ^ table[0][high >> 24];
  }
  while (length-- > 0) crc = (crc >> 8) ^ table[0][(crc ^ *p++) & 255];
  return crc;
}

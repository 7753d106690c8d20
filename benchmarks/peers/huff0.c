/* Huff0 over blocks of 128 KiB, the largest it takes. HUFF0_OF_ZSTD: the one inside zstd, otherwise FiniteStateEntropy's.
 * A block that Huff0 leaves alone is stored as it is, one of a single symbol as that symbol. */
#define HUF_STATIC_LINKING_ONLY
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#ifdef HUFF0_OF_ZSTD
#include "common/huf.h"
#else
#include "huf.h"
#endif

enum { kBlock = 128 << 10, kRoom = kBlock + 1024 };

#ifdef HUFF0_OF_ZSTD
static uint64_t workspace[8192];
static HUF_CElt encoder[HUF_CTABLE_SIZE_ST(255)];
static HUF_CREATE_STATIC_DTABLEX2(decoder, HUF_TABLELOG_MAX);

static size_t compress_block(uint8_t* to, const uint8_t* from, size_t n) {
  HUF_repeat repeat = HUF_repeat_none;
  return HUF_compress4X_repeat(to, kRoom, from, n, 255, 11, workspace, sizeof(workspace), encoder, &repeat,
                               HUF_flags_bmi2);
}
static size_t decompress_block(uint8_t* to, size_t n, const uint8_t* from, size_t bytes) {
  return HUF_decompress4X_hufOnly_wksp(decoder, to, n, from, bytes, workspace, sizeof(workspace), HUF_flags_bmi2);
}
static int failed(size_t result) { return result > (size_t)-128; }
#else
static size_t compress_block(uint8_t* to, const uint8_t* from, size_t n) { return HUF_compress(to, kRoom, from, n); }
static size_t decompress_block(uint8_t* to, size_t n, const uint8_t* from, size_t bytes) {
  return HUF_decompress(to, n, from, bytes);
}
static int failed(size_t result) { return HUF_isError(result) != 0; }
#endif

/* Codes to `to` (n + 1024 bytes per block of room), sizes of the blocks to `sizes`. Returns all bytes, -1 on failure. */
int64_t huff0_compress(const uint8_t* from, int64_t n, uint8_t* to, int64_t* sizes) {
  int64_t total = 0;
  for (int64_t i = 0; i < n; i += kBlock) {
    const size_t symbols = (size_t)(n - i < kBlock ? n - i : kBlock);
    size_t bytes = compress_block(to + total, from + i, symbols);
    if (failed(bytes)) return -1;
    if (bytes == 0) memcpy(to + total, from + i, bytes = symbols);
    if (bytes == 1) to[total] = from[i];
    *sizes++ = (int64_t)bytes;
    total += (int64_t)bytes;
  }
  return total;
}

/* Returns 0, -1 on failure. */
int huff0_decompress(const uint8_t* from, const int64_t* sizes, uint8_t* to, int64_t n) {
  for (int64_t i = 0; i < n; i += kBlock) {
    const size_t symbols = (size_t)(n - i < kBlock ? n - i : kBlock), bytes = (size_t)*sizes++;
    if (bytes == symbols) {
      memcpy(to + i, from, bytes);
    } else if (bytes == 1) {
      memset(to + i, from[0], symbols);
    } else if (decompress_block(to + i, symbols, from, bytes) != symbols) {
      return -1;
    }
    from += bytes;
  }
  return 0;
}

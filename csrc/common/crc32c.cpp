#include "common/crc32c.h"

#include <string.h>

#include "common/simd.h"
#ifdef EFFDL_X86_SIMD
#include <nmmintrin.h>
#endif

namespace effdl {
namespace {

constexpr uint32_t kPolynomial = 0x82f63b78;  // reflected

// The instruction has a latency of three cycles and a throughput of one: three streams keep it busy. Their CRCs are
// joined by tables that move a CRC over the bytes of one stream. Long streams make joining cheap, short ones leave
// little to the last loop.
constexpr size_t kLong = 8192, kShort = 256;

struct Tables {
  uint32_t bytes[8][256];       // bytes[k]: a byte followed by k zero bytes
  uint32_t over_long[4][256];   // byte k of a CRC, moved over kLong zero bytes
  uint32_t over_short[4][256];  // the same for kShort

  Tables() {
    for (uint32_t b = 0; b < 256; ++b) {
      uint32_t crc = b;
      for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) != 0 ? kPolynomial : 0);
      bytes[0][b] = crc;
    }
    for (int k = 1; k < 8; ++k) {
      for (uint32_t b = 0; b < 256; ++b) bytes[k][b] = after_zero(bytes[k - 1][b]);
    }
    fill(over_short, kShort);
    fill(over_long, kLong);
  }

  uint32_t after_zero(uint32_t crc) const { return (crc >> 8) ^ bytes[0][crc & 0xff]; }

  // Moving over zeros is linear: a table entry is the sum of what its bits become.
  void fill(uint32_t (&over)[4][256], size_t zeros) const {
    for (int k = 0; k < 4; ++k) {
      over[k][0] = 0;
      for (int bit = 0; bit < 8; ++bit) {
        uint32_t moved = 1u << (8 * k + bit);
        for (size_t i = 0; i < zeros; ++i) moved = after_zero(moved);
        for (uint32_t b = 0; b < (1u << bit); ++b) over[k][b | 1u << bit] = over[k][b] ^ moved;
      }
    }
  }
};

const Tables& tables() {
  static const Tables built;
  return built;
}

uint64_t load64(const uint8_t* p) {
  uint64_t word;
  memcpy(&word, p, 8);
  return word;
}

uint32_t by_tables(const uint8_t* p, size_t n, uint32_t crc) {
  const Tables& t = tables();
  for (; n >= 8; n -= 8, p += 8) {
    crc ^= static_cast<uint32_t>(p[0]) | static_cast<uint32_t>(p[1]) << 8 | static_cast<uint32_t>(p[2]) << 16 |
           static_cast<uint32_t>(p[3]) << 24;
    crc = t.bytes[7][crc & 0xff] ^ t.bytes[6][(crc >> 8) & 0xff] ^ t.bytes[5][(crc >> 16) & 0xff] ^
          t.bytes[4][crc >> 24] ^ t.bytes[3][p[4]] ^ t.bytes[2][p[5]] ^ t.bytes[1][p[6]] ^ t.bytes[0][p[7]];
  }
  for (; n != 0; --n, ++p) crc = (crc >> 8) ^ t.bytes[0][(crc ^ *p) & 0xff];
  return crc;
}

#ifdef EFFDL_X86_SIMD
uint32_t moved(const uint32_t (&over)[4][256], uint32_t crc) {
  return over[0][crc & 0xff] ^ over[1][(crc >> 8) & 0xff] ^ over[2][(crc >> 16) & 0xff] ^ over[3][crc >> 24];
}

__attribute__((target("sse4.2"))) uint32_t three_streams(const uint8_t* p, size_t stream, uint64_t crc,
                                                         const uint32_t (&over)[4][256]) {
  uint64_t second = 0, third = 0;
  for (const uint8_t* end = p + stream; p != end; p += 8) {
    crc = _mm_crc32_u64(crc, load64(p));
    second = _mm_crc32_u64(second, load64(p + stream));
    third = _mm_crc32_u64(third, load64(p + 2 * stream));
  }
  crc = moved(over, static_cast<uint32_t>(crc)) ^ second;
  return moved(over, static_cast<uint32_t>(crc)) ^ static_cast<uint32_t>(third);
}

__attribute__((target("sse4.2"))) uint32_t by_instruction(const uint8_t* p, size_t n, uint32_t crc) {
  const Tables& t = tables();
  for (; n >= 3 * kLong; n -= 3 * kLong, p += 3 * kLong) crc = three_streams(p, kLong, crc, t.over_long);
  for (; n >= 3 * kShort; n -= 3 * kShort, p += 3 * kShort) crc = three_streams(p, kShort, crc, t.over_short);
  uint64_t wide = crc;
  for (; n >= 8; n -= 8, p += 8) wide = _mm_crc32_u64(wide, load64(p));
  crc = static_cast<uint32_t>(wide);
  for (; n != 0; --n, ++p) crc = _mm_crc32_u8(crc, *p);
  return crc;
}

bool has_instruction() {
  static const bool has = (__builtin_cpu_init(), __builtin_cpu_supports("sse4.2") != 0);
  return has;
}
#endif

}  // namespace

uint32_t crc32c(const void* data, size_t bytes, uint32_t initial) {
  const auto* p = static_cast<const uint8_t*>(data);
#ifdef EFFDL_X86_SIMD
  if (simd_level() != Simd::scalar && has_instruction()) {
    record_kernel("crc32c", "sse42");
    return ~by_instruction(p, bytes, ~initial);
  }
#endif
  record_kernel("crc32c", "scalar");
  return ~by_tables(p, bytes, ~initial);
}

}  // namespace effdl

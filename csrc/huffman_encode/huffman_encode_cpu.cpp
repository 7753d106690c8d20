// The scalar level, the run-time choice, and steps that do not fill all lanes.
#include <string.h>

#include <algorithm>

#include "common/quantizer.h"
#include "common/simd_lanes_scalar.h"
#include "huffman_encode/huffman_encode.h"
#define EFFDL_LEVEL scalar
#include "huffman_encode/huffman_encode_body.inl"

namespace effdl {
namespace huffman_encode {

extern const Kernels kernels_scalar = scalar::huffman_encode_kernels();

namespace {

const Kernels& kernels() {
  static const Kernels* const levels[] = {&kernels_scalar, EFFDL_IF_X86(&kernels_avx2), EFFDL_IF_X86(&kernels_avx512)};
  return *levels[static_cast<int>(simd_level())];
}

// Scalar look-ups, two to a store: on Zen 5, encoding took 1.45 times as long with AVX2 gathers, 1.05 with those of
// AVX-512.
void look_up(const uint16_t* codes, int64_t count, const uint32_t* table, uint32_t* entries) {
  int64_t i = 0;
  for (; i + 4 <= count; i += 4) {
    uint64_t four;
    memcpy(&four, codes + i, 8);
    const uint64_t a = table[four & 0xffff] | static_cast<uint64_t>(table[(four >> 16) & 0xffff]) << 32;
    const uint64_t b = table[(four >> 32) & 0xffff] | static_cast<uint64_t>(table[four >> 48]) << 32;
    memcpy(entries + i, &a, 8);
    memcpy(entries + i + 2, &b, 8);
  }
  for (; i < count; ++i) entries[i] = table[codes[i]];
}

uint32_t encode_any(const uint32_t* entries, int64_t count, lanes::ChunkWriter* writer) {
  uint32_t least = 0xffffffffu;
  const int64_t lane = writer->lanes - 1;  // as a mask: lanes are a power of two
  for (int64_t i = count - 1; i >= 0; --i) {
    uint32_t& x = writer->state[i & lane];
    least = std::min(least, entries[i]);
    x = scalar::push(x, entries[i], &writer->words);
  }
  return least;
}

}  // namespace

bool encode_tile(const void* table, const uint16_t* codes, int64_t count, lanes::ChunkWriter* writer) {
  uint32_t entries[kQuantizeTile];
  look_up(codes, count, static_cast<const uint32_t*>(table), entries);
  const int64_t whole = writer->lanes == lanes::kLanes ? count / lanes::kLanes * lanes::kLanes : 0;
  uint32_t least = encode_any(entries + whole, count - whole, writer);
  if (whole != 0) least = std::min(least, kernels().steps(entries, whole / lanes::kLanes, writer));
  return least != 0;
}

}  // namespace huffman_encode

int64_t huffman_encode_cpu(const void* codes, int code_bytes, int64_t n, const uint32_t* table, int longest,
                           uint8_t* payload, uint8_t* sizes) {
  record_kernel("huffman_encode", simd_name(simd_level()));
  const lanes::Coder coder = {table, longest, huffman_encode::encode_tile, nullptr};
  struct Codes {
    const void* data;
    int bytes;
  } from = {codes, code_bytes};
  const auto source = [](void* context, int64_t first, int64_t count, uint16_t* tile) {
    const Codes& c = *static_cast<const Codes*>(context);
    if (c.bytes == 1) {
      const uint8_t* p = static_cast<const uint8_t*>(c.data) + first;
      std::copy(p, p + count, tile);
    } else {
      const uint16_t* p = static_cast<const uint16_t*>(c.data) + first;
      std::copy(p, p + count, tile);
    }
  };
  return lanes::encode_stream(n, coder, source, &from, payload, sizes);
}

}  // namespace effdl

// The scalar level, the run-time choice, and steps that do not fill all lanes.
#include <algorithm>

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

uint32_t encode_any(const uint16_t* codes, int64_t count, const uint32_t* table, lanes::ChunkWriter* writer) {
  uint32_t least = 0xffffffffu;
  for (int64_t i = count - 1; i >= 0; --i) {
    uint32_t& x = writer->state[i % writer->lanes];
    const uint32_t entry = table[codes[i]];
    least = std::min(least, entry);
    x = scalar::push(x, entry, &writer->words);
  }
  return least;
}

}  // namespace

bool encode_tile(const void* data, const uint16_t* codes, int64_t count, lanes::ChunkWriter* writer) {
  const uint32_t* table = static_cast<const uint32_t*>(data);
  const int64_t whole = writer->lanes == lanes::kLanes ? count / lanes::kLanes * lanes::kLanes : 0;
  uint32_t least = encode_any(codes + whole, count - whole, table, writer);
  if (whole != 0) least = std::min(least, kernels().steps(codes, whole / lanes::kLanes, table, writer));
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

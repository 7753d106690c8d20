// The scalar level, the run-time choice, and the ends of chunks, where every read is checked.
#include <algorithm>
#include <cstring>

#include "common/simd_lanes_scalar.h"
#include "huffman_decode/huffman_decode.h"
#define EFFDL_LEVEL scalar
#include "huffman_decode/huffman_decode_body.inl"

namespace effdl {
namespace huffman_decode {

extern const Kernels kernels_scalar = scalar::huffman_decode_kernels();

namespace {

const Kernels& kernels() {
  static const Kernels* const levels[] = {&kernels_scalar, EFFDL_IF_X86(&kernels_avx2), EFFDL_IF_X86(&kernels_avx512)};
  return *levels[static_cast<int>(simd_level())];
}

// Any number of lanes and symbols; false if the chunk has too few words.
bool decode_checked(lanes::ChunkReader* chunk, const huffman::DecodeTable& table, int64_t symbols, uint16_t* out) {
  const uint32_t mask = (1u << table.bits) - 1u;
  const int64_t lane = chunk->lanes - 1;  // as a mask: lanes are a power of two
  for (int64_t i = 0; i < symbols; ++i) {
    uint32_t& x = chunk->state[i & lane];
    const uint32_t entry = table.narrow ? table.entries16[x & mask] : table.entries32[x & mask];
    x >>= entry & 31;
    out[i] = static_cast<uint16_t>(entry >> 5);
    if (x < lanes::kFirstState) {
      if (chunk->end - chunk->next < 2) return false;
      uint16_t word;
      std::memcpy(&word, chunk->next, sizeof(word));
      chunk->next += 2;
      x = x << 16 | word;
    }
  }
  return true;
}

}  // namespace

bool decode_tile(const void* data, lanes::ChunkReader* chunks, int count, int64_t symbols, const uint8_t* limit,
                 uint16_t* const* out) {
  const huffman::DecodeTable& table = *static_cast<const huffman::DecodeTable*>(data);
  int64_t done = 0;
  if (chunks[0].lanes == lanes::kLanes) {
    done = lanes::kLanes * kernels().steps(chunks, count, table, symbols / lanes::kLanes, limit, out);
  }
  bool ok = true;
  for (int c = 0; c < count; ++c) ok = ok && decode_checked(chunks + c, table, symbols - done, out[c] + done);
  return ok;
}

}  // namespace huffman_decode

bool huffman_decode_cpu(const lanes::ChunkDirectory& directory, const uint8_t* lengths, int64_t bins, void* codes,
                        int code_bytes) {
  record_kernel("huffman_decode", simd_name(simd_level()));
  if (directory.n == 0) return true;
  const huffman::DecodeTable table = huffman::decode_table(lengths, bins);
  if (table.bits == 0) return false;  // symbols, but no code for any
  const lanes::Coder coder = {&table, table.bits, nullptr, huffman_decode::decode_tile};
  struct Codes {
    void* data;
    int bytes;
  } to = {codes, code_bytes};
  const auto sink = [](void* context, int64_t first, int64_t count, const uint16_t* tile) {
    const Codes& c = *static_cast<const Codes*>(context);
    if (c.bytes == 1) {
      std::transform(tile, tile + count, static_cast<uint8_t*>(c.data) + first,
                     [](uint16_t code) { return static_cast<uint8_t>(code); });
    } else {
      std::copy(tile, tile + count, static_cast<uint16_t*>(c.data) + first);
    }
  };
  return lanes::decode_stream(directory, coder, sink, &to);
}

}  // namespace effdl

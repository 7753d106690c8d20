// The record of docs/format.md: one tensor's compressed weights.
#pragma once
#include <string.h>

#include <cstdint>

#include "common/dtype.h"
#include "common/lane_stream.h"
#include "common/portable.h"

namespace effdl::record {

enum Codec : uint8_t { kRaw = 0, kConstant = 1, kFixed = 2, kHuffman = 3, kRans = 4 };
constexpr int kAuto = 5;  // only as a wish

struct Header {  // as it lies in memory, little-endian
  uint8_t magic[4];
  uint8_t version, codec, dtype, bits;
  uint64_t n;
  double lo, hi;
  uint8_t smallest_length, length_width, chunk_log2, zero;
  uint32_t codebook_bytes;
  uint64_t payload_bytes;
};
static_assert(sizeof(Header) == 48, "the format fixes the header");

constexpr uint8_t kVersion = 1;
constexpr int kRansBits = 14;  // frequencies sum up to 2^14

// These also run on the device.

EFFDL_HOST_DEVICE inline Header make_header(Codec codec, Dtype dtype, int bits, int64_t n, double lo, double hi) {
  Header h;
  memset(&h, 0, sizeof(h));
  h.magic[0] = 'E';
  h.magic[1] = 'F';
  h.magic[2] = 'W';
  h.magic[3] = 'R';
  h.version = kVersion;
  h.codec = codec;
  h.dtype = dtype == Dtype::f32 ? 0 : dtype == Dtype::f64 ? 1 : dtype == Dtype::f16 ? 2 : 3;
  h.bits = static_cast<uint8_t>(bits);
  h.n = static_cast<uint64_t>(n);
  h.lo = lo;
  h.hi = hi;
  return h;
}

EFFDL_HOST_DEVICE inline Dtype dtype_of(const Header& header) {
  return header.dtype == 0 ? Dtype::f32 : header.dtype == 1 ? Dtype::f64 : header.dtype == 2 ? Dtype::f16 : Dtype::bf16;
}

// Bytes of the directory: 4 per chunk for huffman and rans.
EFFDL_HOST_DEVICE inline int64_t directory_bytes(const Header& header) {
  return header.codec < kHuffman ? 0 : 4 * lanes::chunk_count(static_cast<int64_t>(header.n));
}

// Copies the header out of `size` bytes. Returns what is wrong with it, null if all that can be said without looking at
// the codebook holds; in particular that the parts fill `size` exactly.
const char* read_header(const uint8_t* data, int64_t size, Header* header);

}  // namespace effdl::record

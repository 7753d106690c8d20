// What read_header() asks of a header, and the sizes by which a codec is chosen; for host and device.
#pragma once
#include "common/half.h"
#include "common/quantizer_portable.h"
#include "common/weights_record.h"

namespace effdl::record {

// Whether lo or hi may be this: finite, exact in the dtype, and not -0.
EFFDL_HOST_DEVICE inline bool writable(double v, Dtype dtype) {
  uint64_t bits;
  memcpy(&bits, &v, sizeof(bits));
  if (!portable::finite(v) || bits == uint64_t{1} << 63) return false;
  if (dtype == Dtype::f64) return true;
  const float f = static_cast<float>(v);
  if (static_cast<double>(f) != v) return false;
  if (dtype == Dtype::f16) return half_to_float(float_to_half(f)) == f;
  return dtype != Dtype::bf16 || bfloat16_to_float(float_to_bfloat16(f)) == f;
}

EFFDL_HOST_DEVICE inline uint64_t codebook_bytes(const Header& h) {
  const uint64_t bytes = ((uint64_t{1} << h.bits) * h.length_width + 7) / 8;
  return (bytes + 3) / 4 * 4;
}

EFFDL_HOST_DEVICE inline const char* check_coded(const Header& h) {
  if (h.bits < 1 || h.bits > 16) return "bits must be 1 to 16";
  if (!writable(h.lo, dtype_of(h)) || !writable(h.hi, dtype_of(h))) return "lo and hi are not exact in the dtype";
  if (h.lo >= h.hi || !portable::quantizable(h.lo, h.hi, h.bits, dtype_of(h))) return "lo and hi are no range";
  if (h.codec == kFixed) {
    if (h.smallest_length != 0 || h.length_width != 0 || h.chunk_log2 != 0) return "fields that must be 0 are not";
    if (h.codebook_bytes != 0) return "a fixed record has no codebook";
    const uint64_t whole = h.n / 8 * h.bits, rest = (h.n % 8 * h.bits + 7) / 8;
    return h.payload_bytes == whole + rest ? nullptr : "n, bits and the payload disagree";
  }
  if (h.chunk_log2 != lanes::kChunkLog2) return "unknown chunk size";
  if (h.codec == kHuffman) {
    if (h.smallest_length < 1 || h.smallest_length > lanes::kMaxCodeLength) return "impossible code length";
    if (h.length_width < 1 || h.length_width > 5) return "impossible width of code lengths";
    if (h.codebook_bytes != codebook_bytes(h)) return "wrong size of the codebook";
  } else {
    if (h.smallest_length != 0 || h.length_width != 0) return "fields that must be 0 are not";
    const uint64_t bitmap = ((uint64_t{1} << h.bits) + 7) / 8;
    if (h.codebook_bytes % 4 != 0 || h.codebook_bytes < bitmap ||
        h.codebook_bytes > bitmap + (uint64_t{1} << kRansBits) * 2) {
      return "impossible size of the codebook";
    }
  }
  return nullptr;
}

// read_header() after the copy, for `size` >= sizeof(Header).
EFFDL_HOST_DEVICE inline const char* check_header(const Header& h, int64_t size) {
  if (h.magic[0] != 'E' || h.magic[1] != 'F' || h.magic[2] != 'W' || h.magic[3] != 'R')
    return "not a compressed tensor";
  if (h.version != kVersion) return "unknown version";
  if (h.codec > kRans) return "unknown codec";
  if (h.dtype > 3) return "unknown dtype";
  if (h.zero != 0) return "fields that must be 0 are not";
  // A chunk of 32768 symbols has at least its states, a constant record is the only one that says more with less.
  if (h.n > uint64_t{1} << 62) return "impossible number of elements";
  if (h.codec != kConstant && h.n / lanes::kChunk > static_cast<uint64_t>(size)) return "more elements than bytes";
  if (h.codec == kRaw || h.codec == kConstant) {
    if (h.bits != 0 || h.smallest_length != 0 || h.length_width != 0 || h.chunk_log2 != 0 || h.codebook_bytes != 0) {
      return "fields that must be 0 are not";
    }
    const bool raw = h.codec == kRaw;
    if (!writable(h.lo, dtype_of(h)) || !writable(h.hi, dtype_of(h))) return "lo and hi are not exact in the dtype";
    if (h.lo != h.hi || (raw && h.lo != 0.0)) return "lo and hi are not what the codec asks for";
    if (!raw && h.n == 0) return "a constant record without elements";
    const uint64_t payload = raw ? h.n * static_cast<uint64_t>(dtype_size(dtype_of(h))) : 0;
    if (h.payload_bytes != payload) return "n and the payload disagree";
  } else {
    if (h.n == 0) return "an empty tensor must be raw";
    if (const char* wrong = check_coded(h)) return wrong;
  }
  const uint64_t room = static_cast<uint64_t>(size) - sizeof(Header);
  const uint64_t before = h.codebook_bytes + static_cast<uint64_t>(directory_bytes(h));
  if (before > room || h.payload_bytes != room - before) return "truncated, or bytes too many";
  return nullptr;
}

// Bytes that the record of an entropy coder is taken to need before anything is encoded (docs/format.md, "Choice");
// bits: of all codes.
EFFDL_HOST_DEVICE inline int64_t stream_estimate(int64_t n, int64_t codebook, int64_t bits) {
  const int64_t whole = n / lanes::kChunk, rest = n % lanes::kChunk;
  const int64_t lane_bytes = 3 * (whole * lanes::kLanes + (rest == 0 ? 0 : lanes::lanes_of(rest)));
  return static_cast<int64_t>(sizeof(Header)) + codebook + 4 * lanes::chunk_count(n) + (bits + 7) / 8 + lane_bytes;
}

}  // namespace effdl::record

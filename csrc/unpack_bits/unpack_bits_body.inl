// Unpacking for one SIMD level: EFFDL_LEVEL names its namespace. The steps of pack_bits_body.inl, backwards.
namespace effdl::EFFDL_LEVEL {

static inline uint64_t spread_four(uint64_t v, int bits) {  // 4 * bits bits to four uint16
  v = (v & ((uint64_t{1} << (2 * bits)) - 1)) | v >> (2 * bits) << 32;
  const uint64_t low = (uint64_t{1} << bits) - 1;
  return (v & (low | low << 32)) | (v & (low << bits | low << (bits + 32))) << (16 - bits);
}

// Reads 16 bytes, of which `bits` count.
static inline void unpack_eight(const uint8_t* packed, int bits, uint16_t* codes) {
  uint64_t low, high;
  memcpy(&low, packed, 8);
  memcpy(&high, packed + 8, 8);
  const uint64_t four = bits < 16 ? (uint64_t{1} << (4 * bits)) - 1 : ~uint64_t{0};
  const uint64_t second = bits < 16 ? (low >> (4 * bits) | high << (64 - 4 * bits)) & four : high;
  const uint64_t v = spread_four(low & four, bits), w = spread_four(second, bits);
  memcpy(codes, &v, 8);
  memcpy(codes + 4, &w, 8);
}

static inline void unpack_eight(const uint8_t* packed, int bits, uint8_t* codes) {
  uint64_t v;
  memcpy(&v, packed, 8);
  v = (v & ((uint64_t{1} << (4 * bits)) - 1)) | v >> (4 * bits) << 32;
  const uint64_t pair = (uint64_t{1} << (2 * bits)) - 1, pairs = pair | pair << 32;
  v = (v & pairs) | (v & (pairs << (2 * bits))) << (16 - 2 * bits);
  const uint64_t low = (uint64_t{1} << bits) - 1, lows = low | low << 16 | low << 32 | low << 48;
  v = (v & lows) | (v & (lows << bits)) << (8 - bits);
  memcpy(codes, &v, 8);
}

template <class Code>
static void unpack_span(const uint8_t* packed, int64_t n, int bits, Code* codes) {
  int64_t i = 0;
  const uint8_t* end = packed + packed_bytes(n, bits);
  for (; i + 8 <= n && end - packed >= 16; i += 8, packed += bits) unpack_eight(packed, bits, codes + i);
  for (; i < n; i += 8, packed += bits) {
    Code rest[8];
    uint8_t bytes[16] = {0};
    memcpy(bytes, packed, static_cast<size_t>(end - packed < bits ? end - packed : bits));
    unpack_eight(bytes, bits, rest);
    memcpy(codes + i, rest, static_cast<size_t>(n - i < 8 ? n - i : 8) * sizeof(Code));
  }
}

static constexpr unpack_bits::Kernels unpack_bits_kernels() { return {unpack_span<uint8_t>, unpack_span<uint16_t>}; }

}  // namespace effdl::EFFDL_LEVEL

// Packing for one SIMD level: EFFDL_LEVEL names its namespace. Eight codes make `bits` bytes; neighbours are moved
// together in pairs, pairs of pairs, and so on.
namespace effdl::EFFDL_LEVEL {

static inline uint64_t pack_four(uint64_t v, int bits) {  // four uint16 to 4 * bits bits
  v = (v & 0x0000ffff0000ffffu) | (v & 0xffff0000ffff0000u) >> (16 - bits);
  return (v & 0xffffffffu) | (v >> 32) << (2 * bits);
}

// Writes 16 bytes, of which `bits` count.
static inline uint64_t pack_eight(const uint16_t* codes, int bits, uint8_t* packed) {
  uint64_t v, w;
  memcpy(&v, codes, 8);
  memcpy(&w, codes + 4, 8);
  const uint64_t all = v | w;
  const uint64_t a = pack_four(v, bits), b = pack_four(w, bits);
  const uint64_t low = a | (bits < 16 ? b << (4 * bits) : 0), high = bits < 16 ? b >> (64 - 4 * bits) : b;
  memcpy(packed, &low, 8);
  memcpy(packed + 8, &high, 8);
  return all;
}

static inline uint64_t pack_eight(const uint8_t* codes, int bits, uint8_t* packed) {
  uint64_t v;
  memcpy(&v, codes, 8);
  const uint64_t all = v;
  v = (v & 0x00ff00ff00ff00ffu) | (v & 0xff00ff00ff00ff00u) >> (8 - bits);
  v = (v & 0x0000ffff0000ffffu) | (v & 0xffff0000ffff0000u) >> (16 - 2 * bits);
  v = (v & 0xffffffffu) | (v >> 32) << (4 * bits);
  memcpy(packed, &v, 8);
  return all;
}

static inline uint32_t or_of_codes(uint64_t all, const uint16_t*) {
  all |= all >> 32;
  return static_cast<uint32_t>((all | all >> 16) & 0xffff);
}
static inline uint32_t or_of_codes(uint64_t all, const uint8_t*) {
  all |= all >> 32;
  all |= all >> 16;
  return static_cast<uint32_t>((all | all >> 8) & 0xff);
}

template <class Code>
static uint32_t pack_span(const Code* codes, int64_t n, int bits, uint8_t* packed) {
  uint64_t all = 0;
  int64_t i = 0;
  const uint8_t* end = packed + packed_bytes(n, bits);
  for (; i + 8 <= n && end - packed >= 16; i += 8, packed += bits) all |= pack_eight(codes + i, bits, packed);
  for (; i < n; i += 8, packed += bits) {
    Code rest[8] = {0};
    uint8_t bytes[16] = {0};
    memcpy(rest, codes + i, static_cast<size_t>(n - i < 8 ? n - i : 8) * sizeof(Code));
    all |= pack_eight(rest, bits, bytes);
    memcpy(packed, bytes, static_cast<size_t>(end - packed < bits ? end - packed : bits));
  }
  return or_of_codes(all, codes);
}

static constexpr pack_bits::Kernels pack_bits_kernels() { return {pack_span<uint8_t>, pack_span<uint16_t>}; }

}  // namespace effdl::EFFDL_LEVEL

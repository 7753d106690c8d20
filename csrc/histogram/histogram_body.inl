// Counting for one SIMD level: EFFDL_LEVEL names its namespace. The check for codes out of range is what vectorises.
namespace effdl::EFFDL_LEVEL {

template <class Code>
static uint32_t count_span(const Code* codes, int64_t n, int64_t bins, uint32_t* tables) {
  constexpr int64_t kBlock = 4096;  // checked, then counted while still in the first-level cache
  uint32_t largest = 0;
  uint32_t *a = tables, *b = a + bins, *c = b + bins, *d = c + bins;
  for (int64_t begin = 0; begin < n; begin += kBlock) {
    const Code* p = codes + begin;
    const int64_t length = n - begin < kBlock ? n - begin : kBlock;
    Code top = 0;
    for (int64_t i = 0; i < length; ++i) top = p[i] > top ? p[i] : top;
    largest = top > largest ? top : largest;
    if (largest >= bins) continue;
    int64_t i = 0;
    constexpr int kPerWord = 8 / sizeof(Code), kShift = 8 * sizeof(Code);
    constexpr uint64_t kMask = (uint64_t{1} << kShift) - 1;
    for (; i + 2 * kPerWord <= length; i += 2 * kPerWord) {
      uint64_t v, w;
      memcpy(&v, p + i, 8);
      memcpy(&w, p + i + kPerWord, 8);
      for (int k = 0; k < kPerWord; k += 2) {
        ++a[(v >> (k * kShift)) & kMask];
        ++b[(v >> ((k + 1) * kShift)) & kMask];
        ++c[(w >> (k * kShift)) & kMask];
        ++d[(w >> ((k + 1) * kShift)) & kMask];
      }
    }
    for (; i < length; ++i) ++a[p[i]];
  }
  return largest;
}

static constexpr histogram::Kernels histogram_kernels() { return {count_span<uint8_t>, count_span<uint16_t>}; }

}  // namespace effdl::EFFDL_LEVEL

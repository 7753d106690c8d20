// Values of codes for one SIMD level: EFFDL_LEVEL names its namespace.
namespace effdl::EFFDL_LEVEL {

template <class Code, class T>
static void values_span(const Code* codes, int64_t n, const Quantizer& q, void* data, bool past_cache) {
  T* out = static_cast<T*>(data);
  const Vec lo = set1(static_cast<float>(q.lo)), step = set1(static_cast<float>(q.step)), half = set1(0.5f);
  const auto value = [&](Vec code) { return add(lo, mul(add(code, half), step)); };
  int64_t i = 0;
  if constexpr (sizeof(T) == sizeof(float)) {
    if (past_cache && can_stream(out)) {
      for (; i + kWidth <= n; i += kWidth) stream(out + i, value(load_codes(codes + i)));
      stream_fence();
    }
  }
  for (; i + kWidth <= n; i += kWidth) store(out + i, value(load_codes(codes + i)));
  if (i < n) {
    Code buffer[kWidth] = {0};
    memcpy(buffer, codes + i, static_cast<size_t>(n - i) * sizeof(Code));
    store_partial(out + i, value(load_codes(buffer)), static_cast<int>(n - i));
  }
}

static constexpr dequantize::Kernels dequantize_kernels() {
  return {{values_span<uint8_t, float>, values_span<uint8_t, half_t>, values_span<uint8_t, bfloat16_t>},
          {values_span<uint16_t, float>, values_span<uint16_t, half_t>, values_span<uint16_t, bfloat16_t>}};
}

}  // namespace effdl::EFFDL_LEVEL

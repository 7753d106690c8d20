// Range and codes of float32, float16 and bfloat16 spans for one SIMD level: EFFDL_LEVEL names its namespace.
namespace effdl::EFFDL_LEVEL {

template <class T>
static MinMax min_max_span(const void* data, int64_t n) {
  const T* x = static_cast<const T*>(data);
  constexpr int kUnroll = 4;
  Vec lo[kUnroll], hi[kUnroll], poison[kUnroll];
  const Vec first = set1(first_element(x));
  for (int u = 0; u < kUnroll; ++u) lo[u] = hi[u] = first, poison[u] = set1(0.0f);
  const auto take = [&](int u, Vec v) {
    lo[u] = min_vec(v, lo[u]);
    hi[u] = max_vec(v, hi[u]);
    poison[u] = max_magnitude(poison[u], v);
  };
  int64_t i = 0;
  for (; i + kUnroll * kWidth <= n; i += kUnroll * kWidth) {
    for (int u = 0; u < kUnroll; ++u) take(u, load(x + i + u * kWidth));
  }
  for (; i + kWidth <= n; i += kWidth) take(0, load(x + i));
  for (; i < n; ++i) take(0, set1(first_element(x + i)));
  for (int u = 1; u < kUnroll; ++u) {
    lo[0] = min_vec(lo[u], lo[0]);
    hi[0] = max_vec(hi[u], hi[0]);
    poison[0] = max_magnitude(poison[0], poison[u]);
  }
  float lows[kWidth], highs[kWidth], poisons[kWidth];
  store(lows, lo[0]);
  store(highs, hi[0]);
  store(poisons, poison[0]);
  float low = lows[0], high = highs[0];
  bool finite = true;
  for (int l = 0; l < kWidth; ++l) {
    low = lows[l] < low ? lows[l] : low;
    high = highs[l] > high ? highs[l] : high;
    finite = finite && finite_bits(poisons[l]);
  }
  return {low + 0.0, high + 0.0, finite};
}

template <class T, class Code>
static bool codes_span(const void* data, int64_t n, const Quantizer& q, Code* codes) {
  const T* x = static_cast<const T*>(data);
  const Vec lo = set1(static_cast<float>(q.lo)), inv_step = set1(static_cast<float>(q.inv_step));
  const Vec last = set1(static_cast<float>((1 << q.bits) - 1));
  Vec poison = set1(0.0f);
  const auto code = [&](Vec v) {
    poison = max_magnitude(poison, v);
    return clamp_to(mul(sub(v, lo), inv_step), last);
  };
  int64_t i = 0;
  for (; i + 2 * kWidth <= n; i += 2 * kWidth) {
    store_codes_pair(codes + i, code(load(x + i)), code(load(x + i + kWidth)));
  }
  for (; i < n; i += kWidth) {
    const int rest = n - i < kWidth ? static_cast<int>(n - i) : kWidth;
    Code buffer[2 * kWidth];
    store_codes_pair(buffer, code(load_partial(x + i, rest)), set1(0.0f));
    memcpy(codes + i, buffer, static_cast<size_t>(rest) * sizeof(Code));
  }
  float poisons[kWidth];
  store(poisons, poison);
  bool finite = true;
  for (int l = 0; l < kWidth; ++l) finite = finite && finite_bits(poisons[l]);
  return finite;
}

static constexpr quantize::Kernels quantize_kernels() {
  return {{min_max_span<float>, min_max_span<half_t>, min_max_span<bfloat16_t>},
          {codes_span<float, uint8_t>, codes_span<half_t, uint8_t>, codes_span<bfloat16_t, uint8_t>},
          {codes_span<float, uint16_t>, codes_span<half_t, uint16_t>, codes_span<bfloat16_t, uint16_t>}};
}

}  // namespace effdl::EFFDL_LEVEL

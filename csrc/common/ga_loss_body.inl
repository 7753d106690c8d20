// The CPU kernels of every GA loss, written once over the vector types of one SIMD level. The including file defines
// EFFDL_LEVEL (scalar, avx2, avx512, f64) after including that level's simd header. No standard library code here: an
// inline function compiled for AVX-512 could be the copy that the linker keeps for every CPU.
#include "common/ga_loss_cpu.h"

namespace effdl::EFFDL_LEVEL {

using ga_loss::AlphaTerms;
using ga_loss::Constants;
using ga_loss::Kernels;
using ga_loss::Plane;
using ga_loss::Segment;

// Partial sums stay in float for this many vectors, then go to double.
constexpr int kFlush = 64;
// How far ahead of the arithmetic the logits are fetched; beyond the end it is harmless.
constexpr int64_t kPrefetchBytes = 1024;

// One vector of `n` elements: returns l(x, t) per lane (0 in lanes past n) and, if asked, stores the scaled gradient.
template <class Loss, class Real, class T, bool kFull, bool kStream>
static inline Vec ga_segment_step(const Segment<Real>& a, Vec target, Vec negative, int64_t i, int n) {
  const T* x = static_cast<const T*>(a.x) + i;
  const Vec v = kFull ? load(x) : load_partial(x, n);
  Vec t;
  if (a.dense != nullptr) {
    const T* d = static_cast<const T*>(a.dense) + i;
    t = kFull ? load(d) : load_partial(d, n);
  } else {
    t = select(a.hot_bits != nullptr ? mask_of_bits(a.hot_bits, i) : lane_is(a.hot - i), target, negative);
  }
  Vec hi = set1(a.alpha.hi_scalar), lo = set1(a.alpha.lo_scalar);
  if (a.alpha.hi != nullptr) {
    hi = kFull ? load(a.alpha.hi + i) : load_partial(a.alpha.hi + i, n);
    lo = kFull ? load(a.alpha.lo + i) : load_partial(a.alpha.lo + i, n);
  }
  Vec delta;
  Vec value = Loss::eval(v, t, hi, lo, a.constants, &delta);
  Vec scale = set1(a.scale);
  if (a.weight != nullptr) {
    const Vec w = kFull ? load(a.weight + i) : load_partial(a.weight + i, n);
    value = mul(value, w);
    scale = mul(scale, w);
  }
  if (a.grad != nullptr) {
    T* g = static_cast<T*>(a.grad) + i;
    delta = mul(delta, scale);
    if constexpr (kStream) {
      stream(reinterpret_cast<Real*>(g), delta);
    } else if (kFull) {
      store(g, delta);
    } else {
      store_partial(g, delta, n);
    }
  }
  return kFull ? value : zero_unless(first_lanes(n), value);
}

// Whole vectors from `i` on, as far as `end`: returns the sum and moves `i`.
template <class Loss, class Real, class T, bool kStream>
static inline double ga_segment_vectors(const Segment<Real>& a, int64_t* i, int64_t end) {
  const Vec target = set1(a.constants.target_value), negative = set1(a.constants.negative_value);
  double total = 0.0;
  while (*i + kWidth <= end) {
    const int64_t left = (end - *i) / kWidth;
    const int64_t stop = *i + kWidth * (left < kFlush ? left : kFlush);
    Vec partial = set1(0);
    for (; *i < stop; *i += kWidth) {
      partial = add(partial, ga_segment_step<Loss, Real, T, true, kStream>(a, target, negative, *i, kWidth));
    }
    total += sum(partial);
  }
  return total;
}

// The same where every class is negative with target 0 and alpha is one number: all but one vector of a long row.
template <class Loss, class Real, class T, bool kStream>
static inline double ga_segment_zeros(const Segment<Real>& a, int64_t* i, int64_t end) {
  const T* x = static_cast<const T*>(a.x);
  T* grad = static_cast<T*>(a.grad);
  const Vec hi = set1(a.alpha.hi_scalar), lo = set1(a.alpha.lo_scalar), scale = set1(a.scale);
  const bool neutral = Loss::kLogAlpha && a.alpha.hi_scalar == 0 && a.alpha.lo_scalar == 0;
  double total = 0.0;
  while (*i + kWidth <= end) {
    const int64_t left = (end - *i) / kWidth;
    const int64_t stop = *i + kWidth * (left < kFlush ? left : kFlush);
    Vec partial = set1(0);
    for (int64_t k = *i; k < stop; k += kWidth) {
      prefetch(x + k + kPrefetchBytes / sizeof(T));
      Vec delta;
      const Vec v = load(x + k);
      partial = add(partial, neutral ? Loss::template eval_zero<true>(v, hi, lo, a.constants, &delta)
                                     : Loss::template eval_zero<false>(v, hi, lo, a.constants, &delta));
      if (grad != nullptr) {
        delta = mul(delta, scale);
        if constexpr (kStream) {
          stream(reinterpret_cast<Real*>(grad + k), delta);
        } else {
          store(grad + k, delta);
        }
      }
    }
    *i = stop;
    total += sum(partial);
  }
  return total;
}

template <class Loss, class Real, class T, bool kStream>
static inline double ga_segment_run(const Segment<Real>& a, int64_t i) {
  double total = 0.0;
  const bool zeros =
      a.dense == nullptr && a.hot_bits == nullptr && a.alpha.hi == nullptr && a.constants.negative_value == 0;
  if (zeros && a.length >= 4 * kWidth) {
    if (a.hot >= i && a.hot < a.length) {
      const int64_t hot_vector = i + (a.hot - i) / kWidth * kWidth;
      total += ga_segment_zeros<Loss, Real, T, kStream>(a, &i, hot_vector);
      total += ga_segment_vectors<Loss, Real, T, kStream>(
          a, &i, hot_vector + kWidth < a.length ? hot_vector + kWidth : a.length);
    }
    total += ga_segment_zeros<Loss, Real, T, kStream>(a, &i, a.length);
  }
  total += ga_segment_vectors<Loss, Real, T, kStream>(a, &i, a.length);
  if (i < a.length) {
    const Vec target = set1(a.constants.target_value), negative = set1(a.constants.negative_value);
    total += sum(ga_segment_step<Loss, Real, T, false, false>(a, target, negative, i, static_cast<int>(a.length - i)));
  }
  return total;
}

template <class Loss, class Real, class T>
double ga_segment(const Segment<Real>& a) {
  if constexpr (sizeof(T) == sizeof(Real) && kWidth > 1) {
    if (a.stream && a.grad != nullptr && a.length >= 4 * kWidth) {
      const Vec target = set1(a.constants.target_value), negative = set1(a.constants.negative_value);
      // Whole vectors from the first aligned address on; what comes before is one partial vector.
      int64_t head = 0;
      while (head < kWidth && !can_stream(static_cast<Real*>(a.grad) + head)) ++head;
      if (head < kWidth) {
        double total = 0.0;
        if (head > 0) {
          total = sum(ga_segment_step<Loss, Real, T, false, false>(a, target, negative, 0, static_cast<int>(head)));
        }
        total += ga_segment_run<Loss, Real, T, true>(a, head);
        stream_fence();
        return total;
      }
    }
  }
  return ga_segment_run<Loss, Real, T, false>(a, 0);
}

template <class Loss, class Real, class T, bool kFull>
static inline void ga_plane_step(const Plane<Real>& a, int64_t c, int64_t i, int n, Real* partial) {
  const T* x = static_cast<const T*>(a.x) + c * a.x_stride + i;
  const Vec v = kFull ? load(x) : load_partial(x, n);
  Vec t;
  if (a.dense != nullptr) {
    const T* d = static_cast<const T*>(a.dense) + c * a.dense_stride + i;
    t = kFull ? load(d) : load_partial(d, n);
  } else {
    const Mask hot = equal_int(a.hot + i, n, static_cast<int32_t>(c));
    t = select(hot, set1(a.constants.target_value), set1(a.constants.negative_value));
  }
  Vec hi = set1(a.alpha.hi_scalar), lo = set1(a.alpha.lo_scalar);
  if (a.alpha.hi != nullptr) {
    if (a.alpha_per_class) {
      hi = set1(a.alpha.hi[c]);
      lo = set1(a.alpha.lo[c]);
    } else {
      hi = kFull ? load(a.alpha.hi + i) : load_partial(a.alpha.hi + i, n);
      lo = kFull ? load(a.alpha.lo + i) : load_partial(a.alpha.lo + i, n);
    }
  }
  Vec delta;
  Vec value = Loss::eval(v, t, hi, lo, a.constants, &delta);
  Vec scale = kFull ? load(a.scale + i) : load_partial(a.scale + i, n);
  if (a.weight != nullptr) {
    value = mul(value, set1(a.weight[c]));
    scale = mul(scale, set1(a.weight[c]));
  }
  delta = mul(delta, scale);
  if (a.hot != nullptr) {  // an ignored position's logits may be NaN: select, never multiply
    const Mask ignored = equal_int(a.hot + i, n, ga_loss::kIgnored);
    value = select(ignored, set1(0), value);
    delta = select(ignored, set1(0), delta);
  }
  if (a.grad != nullptr) {
    T* g = static_cast<T*>(a.grad) + c * a.grad_stride + i;
    if (kFull) {
      store(g, delta);
    } else {
      store_partial(g, delta, n);
    }
  }
  if (kFull) {
    store(partial + i, add(load(partial + i), value));
  } else {
    store_partial(partial + i, add(load_partial(partial + i, n), value), n);
  }
}

template <class Loss, class Real, class T>
void ga_plane(const Plane<Real>& a) {
  Real partial[ga_loss::kPlaneBlock];
  for (int64_t i = 0; i < a.length; ++i) a.sums[i] = 0.0;
  for (int64_t c0 = 0; c0 < a.classes; c0 += kFlush) {
    const int64_t c1 = c0 + kFlush < a.classes ? c0 + kFlush : a.classes;
    for (int64_t i = 0; i < a.length; ++i) partial[i] = 0;
    for (int64_t c = c0; c < c1; ++c) {
      int64_t i = 0;
      for (; i + kWidth <= a.length; i += kWidth) ga_plane_step<Loss, Real, T, true>(a, c, i, kWidth, partial);
      if (i < a.length) ga_plane_step<Loss, Real, T, false>(a, c, i, static_cast<int>(a.length - i), partial);
    }
    for (int64_t i = 0; i < a.length; ++i) a.sums[i] += static_cast<double>(partial[i]);
  }
}

template <class Loss, class Real, class T>
constexpr Kernels<Real> ga_kernels() {
  return {&ga_segment<Loss, Real, T>, &ga_plane<Loss, Real, T>};
}

}  // namespace effdl::EFFDL_LEVEL

// CPU side of ga_loss.h: the kernels that each SIMD level provides and the driver that feeds them.
#pragma once
#include "common/ga_loss.h"
#include "common/simd.h"

namespace effdl::ga_loss {

constexpr int kPlaneBlock = 1024;    // positions whose partial sums stay in L1: 4 KiB of each plane at a time
constexpr int32_t kNoPositive = -1;  // row target: none of this call's classes
constexpr int32_t kIgnored = -2;     // row target: contributes nothing, logits not looked at

// Constants of one call, in the arithmetic type (float, or double for float64).
template <class Real>
struct Constants {
  Real target_value, negative_value, beta, clamp, exp_clamp;
};

// Coefficients of alpha: for exp_ga_loss ln(alpha) split into hi + lo, for pow3_ga_loss (alpha, 0). Pointers advance
// with the vector axis, or are null and the scalar holds.
template <class Real>
struct AlphaTerms {
  const Real* hi = nullptr;
  const Real* lo = nullptr;
  Real hi_scalar = 0, lo_scalar = 0;
};

// `length` consecutive classes of one row.
template <class Real>
struct Segment {
  const void* x;
  void* grad;           // null: loss only
  const void* dense;    // null: class index
  int64_t length, hot;  // hot: the target's place in the segment, anything outside [0, length) if it is not there
  // Not null: many short rows make one segment, and bit i tells whether place i is a target; 4 more bytes are readable.
  const uint8_t* hot_bits;
  AlphaTerms<Real> alpha;
  const Real* weight;  // per class, dense targets only, else null
  Real scale;          // of the gradient
  bool stream;         // store the gradient past the cache
  Constants<Real> constants;
};

// All classes of `length` <= kPlaneBlock consecutive positions.
template <class Real>
struct Plane {
  const void* x;
  void* grad;
  const void* dense;
  int64_t classes, length;
  int64_t x_stride, grad_stride, dense_stride;  // between classes
  const int32_t* hot;                           // per position, null for dense targets
  const Real* scale;                            // per position
  AlphaTerms<Real> alpha;
  bool alpha_per_class;  // pointers advance with the class, not the position
  const Real* weight;
  Constants<Real> constants;
  double* sums;  // out, per position, unweighted
};

template <class Real>
struct Kernels {
  double (*segment)(const Segment<Real>&);  // returns the unweighted sum of l(x, t)
  void (*plane)(const Plane<Real>&);
};

// One SIMD level: a kernel pair per storage type.
struct KernelTable {
  Kernels<float> f32, f16, bf16;
};

struct Loss {
  const char* name;
  bool log_alpha;                // the kernels take ln(alpha)
  const KernelTable* levels[3];  // by Simd; null where not compiled
  Kernels<double> f64;
};

struct Outcome {
  int64_t bad_target = -1;  // flat index of the first target out of range; nothing was written
  int64_t bad_alpha = -1;   // likewise of the first alpha that is not positive and finite
};

Outcome run_cpu(const Loss& loss, const Problem& problem);

}  // namespace effdl::ga_loss

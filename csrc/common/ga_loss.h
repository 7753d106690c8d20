// Contract of the separable classification losses (gradient amplification, thesis ch. 4): what exp_ga_loss,
// pow3_ga_loss and linear_ga_loss share. A loss is one function l(x, t) of a logit and its target; a sample's loss is
// its sum over the classes. Loss and gradient come from one pass over the logits.
//
// Logits are (n, classes, inner): inner is the product of the spatial dimensions, 1 for (n, classes). Strides are in
// elements and may be anything for inputs; the gradient must not overlap itself. A "row" is one sample, row = i * inner
// + s.
#pragma once
#include <cstdint>

#include "common/dtype.h"

namespace effdl::ga_loss {

enum class Reduction : uint8_t { none, mean, sum };

struct Strides {
  int64_t n = 0, c = 0, s = 0;
};

// A tensor broadcast to (n, classes, inner) through zero strides. data null: `scalar` everywhere.
struct Coefficient {
  const void* data = nullptr;
  Dtype dtype = Dtype::f64;  // f32 or f64
  Strides strides;
  double scalar = 1.0;
};

struct Problem {
  int64_t n = 0, classes = 0, inner = 1;
  Dtype dtype = Dtype::f32;  // of logits, gradient and dense target; arithmetic is float32 (float64 for float64)

  const void* logits = nullptr;
  Strides logits_strides;
  void* grad = nullptr;  // null: loss only. May be the logits themselves (same strides): then they are overwritten.
  Strides grad_strides;

  // Exactly one of the two targets. Class indices are global: this call holds classes
  // [class_start, class_start + classes) of class_total, and a target elsewhere means "no positive class here".
  const int64_t* target = nullptr;
  Strides target_strides;  // .c unused
  int64_t class_start = 0, class_total = 0;
  int64_t ignore_index = -100;
  double target_value = 1.0, negative_value = 0.0;
  const void* dense = nullptr;
  Strides dense_strides;

  Coefficient alpha;   // > 0, per class, per row or scalar; linear_ga_loss has none
  double beta = 0.0;   // pow3_ga_loss only
  double clamp = 0.0;  // exp_ga_loss only, used if has_clamp
  bool has_clamp = false;

  // weight[class_total], multiplies a sample's loss by weight[target] (class indices) or class k's term by weight[k]
  // (dense targets, then class_total == classes). Null: ones.
  const void* weight = nullptr;
  Dtype weight_dtype = Dtype::f32;  // f32 or f64
  int64_t weight_stride = 0;

  // mean divides by the number of samples not ignored, or the sum of their weights (class indices). The gradient is
  // that of the reduced loss for an upstream gradient of 1; for none it is that of each sample's loss.
  Reduction reduction = Reduction::mean;

  // Outputs. loss: n * inner contiguous elements for none, else one; dtype loss_dtype (that of logits, or f32).
  void* loss = nullptr;
  Dtype loss_dtype = Dtype::f32;
  // If not null, the gradient is not divided by the mean's denominator and 1/denominator is written here (one float32):
  // float16 would lose small quotients before a loss scale is applied.
  float* deferred_norm = nullptr;

  // CUDA only: device memory of workspace_bytes(problem).
  void* workspace = nullptr;
};

}  // namespace effdl::ga_loss

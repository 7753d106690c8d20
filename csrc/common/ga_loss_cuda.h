// CUDA side of ga_loss.h. Everything runs asynchronously on the given stream (a cudaStream_t) of the given device,
// allocates nothing and never waits; a launch that fails throws std::runtime_error naming the op.
//
// Where the CPU raises, a kernel can only mark: a target that is out of range and not ignore_index makes its row's
// loss, the reduced loss and the row's gradient NaN (it does not count in the mean's denominator), and an alpha that is
// not positive and finite does the same to what it multiplies. Memory outside the tensors is never touched. Sums have a
// fixed order: the same problem gives the same bits on every run and every GPU.
#pragma once
#include "common/ga_loss.h"

namespace effdl::ga_loss {

// Bytes of device memory, 16-byte aligned, that Problem::workspace must point to: at most kWorkspaceBytes + 16 per
// element of alpha if that is a tensor. May be reused as soon as work later on the same stream may run.
constexpr int64_t kWorkspaceBytes = 36 * 1024;
int64_t workspace_bytes(const Problem& problem);

// out = grad * upstream[row] * norm, over (n, classes, inner) with any strides.
struct Scaling {
  int64_t n = 0, classes = 0, inner = 1;
  Dtype dtype = Dtype::f32;  // of grad and out
  const void* grad = nullptr;
  Strides grad_strides;
  void* out = nullptr;  // may be grad (same strides): a row whose factor is 1 is then not touched
  Strides out_strides;
  const void* upstream = nullptr;  // one per row, or one for all through zero strides (.c unused)
  Dtype upstream_dtype = Dtype::f32;
  Strides upstream_strides;
  const float* norm = nullptr;  // Problem::deferred_norm, or null for 1
};
void scale_cuda(const Scaling& scaling, int device, void* stream);

}  // namespace effdl::ga_loss

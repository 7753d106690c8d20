// Device code on points: the float64 distance of a pair, bit for bit that of the CPU, and the limits that bounds of it
// are compared with.
#pragma once
#include "common/cuda_utils.cuh"
#include "common/points_cuda.h"

namespace effdl::cuda {

constexpr int kLanes = 16;  // threads that sum one distance, as many as the partial sums of pair_tile::Exact
constexpr int kPairThreads = 256, kGroups = kPairThreads / kLanes;

__device__ inline double exact_value(float x, double) { return x; }
__device__ inline double exact_value(double x, double scale) { return __dmul_rn(x, scale); }
__device__ inline double exact_value(__half x, double) { return __half2float(x); }
__device__ inline double exact_value(__nv_bfloat16 x, double) { return __bfloat162float(x); }
__device__ inline double exact_value(uint8_t x, double) { return x; }

// Every lane gets the sum. All threads of the warp take part; one without a pair has dims = 0.
template <bool is_distance, class T>
__device__ inline double exact_sum(const T* a, const T* b, int64_t dims, double scale) {
  double sum = 0.0;
  for (int64_t k = threadIdx.x % kLanes; k < dims; k += kLanes) {
    const double x = exact_value(a[k], scale), y = exact_value(b[k], scale);
    const double difference = __dsub_rn(x, y);
    sum = __dadd_rn(sum, is_distance ? __dmul_rn(difference, difference) : __dmul_rn(x, y));
  }
  for (int offset = kLanes / 2; offset > 0; offset /= 2) {
    sum = __dadd_rn(sum, __shfl_xor_sync(kAllLanes, sum, offset));
  }
  return sum;
}

// The distance of two points; who takes part is as for exact_sum.
template <class T>
__device__ inline double exact_distance(const T* a, const T* b, int64_t dims, const CudaFrame& frame) {
  if (frame.metric == Metric::l2) return __dmul_rn(0.5, exact_sum<true>(a, b, dims, frame.exact_scale));
  const double product = exact_sum<false>(a, b, dims, frame.exact_scale);
  if (frame.metric == Metric::inner_product) return -product;
  const double a_norm = __dsqrt_rn(exact_sum<false>(a, a, dims, frame.exact_scale));
  const double b_norm = __dsqrt_rn(exact_sum<false>(b, b, dims, frame.exact_scale));
  const double norms = __dmul_rn(a_norm, b_norm);
  return norms > 0 ? __ddiv_rn(-product, norms) : 0.0;
}

// The least v with which a pair may be strictly nearer than `distance`.
__device__ inline float strict_limit(const CudaFrame& frame, double distance) {
  if (frame.metric == Metric::l2 && distance == 0) return INFINITY;  // nothing is nearer
  const double exact = -distance * frame.square_scale;
  const float above = __double2float_ru(exact);
  return above == exact ? nextafterf(above, INFINITY) : above;
}

// v - slack of the other > near(distance, slack) only if the pair surely is nearer.
__device__ inline float near(const CudaFrame& frame, double distance, float slack) {
  return __double2float_ru(slack - distance * frame.square_scale);
}

// Integers in the order of floats, for atomicMin and atomicMax.
__device__ inline int ordered(float x) {
  const int bits = __float_as_int(x);
  return bits ^ (bits >> 31 & 0x7fffffff);
}
__device__ inline float from_ordered(int bits) { return __int_as_float(bits ^ (bits >> 31 & 0x7fffffff)); }
__device__ inline long long ordered(double x) {
  const long long bits = __double_as_longlong(x);
  return bits ^ (bits >> 63 & 0x7fffffffffffffff);
}
__device__ inline double from_ordered(long long bits) {
  return __longlong_as_double(bits ^ (bits >> 63 & 0x7fffffffffffffff));
}

// body(features) with the features in their type.
template <class Body>
void with_features(const Points& points, const Body& body) {
  switch (points.dtype) {
    case Dtype::f32:
      return body(static_cast<const float*>(points.data));
    case Dtype::f64:
      return body(static_cast<const double*>(points.data));
    case Dtype::f16:
      return body(static_cast<const __half*>(points.data));
    case Dtype::bf16:
      return body(static_cast<const __nv_bfloat16*>(points.data));
    default:
      return body(static_cast<const uint8_t*>(points.data));
  }
}

}  // namespace effdl::cuda

#include "common/points_cuda.cuh"
#include "common/simd.h"

namespace effdl {
namespace {

using namespace cuda;

constexpr int kPackThreads = 128, kSurveyThreads = 256, kSurveyBlocks = 2048;

template <class T>
__global__ void __launch_bounds__(kSurveyThreads)
    survey_kernel(const T* features, int64_t n, int64_t dims, unsigned long long* seen) {
  __shared__ unsigned long long largest;
  if (threadIdx.x == 0) largest = 0;
  __syncthreads();
  double most = 0.0;
  const int64_t stride = static_cast<int64_t>(gridDim.x) * kSurveyThreads;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * kSurveyThreads + threadIdx.x; i < n * dims; i += stride) {
    const double size = fabs(exact_value(features[i], 1.0));
    if (size < INFINITY) {
      most = fmax(most, size);
    } else {
      atomicMax(seen, static_cast<unsigned long long>(n - i / dims));
    }
  }
  atomicMax(&largest, static_cast<unsigned long long>(__double_as_longlong(most)));
  __syncthreads();
  if (threadIdx.x == 0) atomicMax(seen + 1, largest);
}

// A block a point.
template <class T>
__global__ void __launch_bounds__(kPackThreads)
    pack_kernel(const T* features, int64_t dims, const int64_t* order, CudaFrame frame, const float* centre,
                float* words, float* base, float* slack) {
  const int64_t row = blockIdx.x;
  const T* x = features + (order != nullptr ? order[row] : row) * dims;
  const bool cosine = frame.metric == Metric::cosine;
  double scale = frame.scale, inverse = 1.0;
  bool in_doubt = false;
  if (cosine) {
    scale = frame.exact_scale;
    double square = 0.0;
    for (int64_t k = threadIdx.x; k < dims; k += kPackThreads) {
      const double value = exact_value(x[k], 1.0) * scale;
      square += value * value;
    }
    square = block_sum<kPackThreads>(square);
    const bool tiny = square < 0x1p-900;  // what the norm has lost to underflow is no rounding that the bound covers
    inverse = tiny ? 0.0 : 1.0 / sqrt(square);
    in_doubt = tiny && square > 0;
  }
  double square = 0.0;
  for (int64_t k = threadIdx.x; k < dims; k += kPackThreads) {
    const float word = static_cast<float>(exact_value(x[k], 1.0) * scale * inverse - centre[k]);
    words[row * dims + k] = word;
    square += static_cast<double>(word) * word;
  }
  const double half = 0.5 * block_sum<kPackThreads>(square);
  if (threadIdx.x != 0) return;
  const double doubt = in_doubt ? 0x1p60 : frame.bound * (cosine ? 0.5 : half) + frame.least;
  base[row] = static_cast<float>(frame.metric == Metric::l2 ? doubt - half : doubt);
  slack[row] = static_cast<float>(2.0 * doubt);
}

}  // namespace

void survey_points_cuda(const Points& points, unsigned long long* seen, int device, void* stream, const char* op) {
  const DeviceGuard guard(device, op);
  record_kernel(op, "cuda");
  const int64_t wanted = (points.n * points.dims + kSurveyThreads - 1) / kSurveyThreads;
  if (wanted == 0) return;
  with_features(points, [&](const auto* features) {
    using T = std::remove_const_t<std::remove_pointer_t<decltype(features)>>;
    launch(op, survey_kernel<T>, static_cast<int>(wanted < kSurveyBlocks ? wanted : kSurveyBlocks), kSurveyThreads,
           stream, features, points.n, points.dims, seen);
  });
}

void pack_points_cuda(const Points& points, const int64_t* order, int64_t count, const CudaFrame& frame,
                      const float* centre, float* words, float* base, float* slack, int device, void* stream,
                      const char* op) {
  const DeviceGuard guard(device, op);
  if (count == 0) return;
  with_features(points, [&](const auto* features) {
    using T = std::remove_const_t<std::remove_pointer_t<decltype(features)>>;
    launch(op, pack_kernel<T>, static_cast<int>(count), kPackThreads, stream, features, points.dims, order, frame,
           centre, words, base, slack);
  });
}

}  // namespace effdl

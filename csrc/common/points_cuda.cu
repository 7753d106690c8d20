#include "common/points_cuda.cuh"

namespace effdl {
namespace {

using namespace cuda;

constexpr int kPackThreads = 128;

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

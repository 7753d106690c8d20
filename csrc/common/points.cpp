#include "common/points.h"

#include <string.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <mutex>

#include "common/exact_floats.h"
#include "common/half.h"
#include "common/parallel.h"

namespace effdl {
namespace {

constexpr double kUnit = 0x1p-24;          // of rounding to float32
constexpr double kNoFraction = 0x1.8p52;   // a double of this size holds integers only
constexpr double kLeastSquare = 0x1p-900;  // below, products of float64 features lose digits
constexpr double kNothingKnown = 0x1p60;   // beside similarities, which are 1 at most
constexpr float kInfinity = std::numeric_limits<float>::infinity();

double value_of(float x) { return x; }
double value_of(double x) { return x; }
double value_of(half_t x) { return half_to_float(x.bits); }
double value_of(bfloat16_t x) { return bfloat16_to_float(x.bits); }
double value_of(uint8_t x) { return x; }

template <class Body>
auto with_type(const Points& points, const Body& body) {
  switch (points.dtype) {
    case Dtype::f32:
      return body(static_cast<const float*>(points.data));
    case Dtype::f64:
      return body(static_cast<const double*>(points.data));
    case Dtype::f16:
      return body(static_cast<const half_t*>(points.data));
    case Dtype::bf16:
      return body(static_cast<const bfloat16_t*>(points.data));
    default:
      return body(static_cast<const uint8_t*>(points.data));
  }
}

int64_t grain(int64_t dims) { return std::max<int64_t>(1, (1 << 16) / std::max<int64_t>(1, dims)); }

}  // namespace

Survey survey(const Points& points) {
  Survey seen;
  const int64_t dims = points.dims;
  std::vector<double> total(static_cast<size_t>(dims), 0.0);
  std::mutex mutex;
  auto body = [&](int64_t begin, int64_t end) {
    const ExactFloats exact;
    std::vector<double> sum(static_cast<size_t>(dims), 0.0);
    double largest = 0;
    bool integers = true;
    with_type(points, [&](const auto* x) {
      for (int64_t i = begin; i < end; ++i) {
        double row = 0;
        int fractions = 0;
        for (int64_t k = 0; k < dims; ++k) {
          const double value = value_of(x[i * dims + k]);
          sum[static_cast<size_t>(k)] += value;
          row = std::max(row, std::abs(value));
          fractions |= (value + kNoFraction) - kNoFraction != value;
        }
        largest = std::max(largest, row);
        integers = integers && fractions == 0;
      }
    });
    const std::lock_guard<std::mutex> lock(mutex);
    seen.largest = std::max(seen.largest, largest);
    seen.integers = seen.integers && integers;
    for (size_t k = 0; k < sum.size(); ++k) total[k] += sum[k];
  };
  parallel_for(0, points.n, grain(dims), body);
  const bool finite = std::all_of(total.begin(), total.end(), [](double t) { return std::isfinite(t); });
  if (!finite) {  // NaN, infinity, or a sum that overflowed
    with_type(points, [&](const auto* x) {
      for (int64_t i = 0; i < points.n * dims; ++i) {
        if (!std::isfinite(value_of(x[i]))) {
          seen.bad_row = i / dims;
          return;
        }
      }
    });
  }
  seen.mean.resize(static_cast<size_t>(dims), 0.0);
  if (finite) {
    for (size_t k = 0; k < total.size(); ++k) seen.mean[k] = total[k] / static_cast<double>(points.n);
  }
  return seen;
}

Frame::Frame(const Points& points, const Survey& seen, Metric metric, Arithmetic arithmetic)
    : metric_(metric), arithmetic_(arithmetic), dims_(points.dims) {
  const bool has_bf16 = pair_tile::bf16_kernels() != nullptr;
  // Integers, less an integer, up to 256 are exact in bfloat16.
  const bool integers = seen.integers && metric != Metric::cosine;
  const double range = points.dtype == Dtype::u8 ? seen.largest : 2 * seen.largest;
  const bool exact_bf16 =
      (integers && range <= 256) || (points.dtype == Dtype::bf16 && metric == Metric::inner_product);
  if (arithmetic_ == Arithmetic::automatic) {
    arithmetic_ = has_bf16 && (exact_bf16 || points.dims >= 8) ? Arithmetic::bfloat16 : Arithmetic::float32;
  }
  if (!has_bf16) arithmetic_ = Arithmetic::float32;
  const bool halves = arithmetic_ == Arithmetic::bfloat16;
  precise_ = !halves || exact_bf16;
  depth_ = std::max<int64_t>(1, halves ? (dims_ + 1) / 2 : dims_);

  int exponent = 0;
  std::frexp(seen.largest, &exponent);
  scale_ = points.dtype == Dtype::u8 || seen.largest == 0 ? 1.0
                                                          : std::ldexp(1.0, -std::min(std::max(exponent, -1000), 1000));
  exact_scale_ = points.dtype == Dtype::f64 && (exponent > 490 || exponent < -400) ? scale_ : 1.0;
  const double to_words = scale_ / exact_scale_;
  square_scale_ = metric == Metric::cosine ? 1.0 : to_words * to_words;
  // Twice `dims` for the chain, whose partial sums reach 2 (h_a + h_b); 24 for the rest; 5 percent for second orders.
  bound_ = 1.05 * kUnit * (2.0 * static_cast<double>(dims_) + 24.0);
  if (!precise_) bound_ += 1.01 * 0x1p-7;                   // 2^-8 of each factor
  least_ = (static_cast<double>(dims_) + 16.0) * 0x1p-120;  // subnormal numbers
  // Sums of integers, of which float32 rounds none.
  if (integers && 2.0 * static_cast<double>(dims_) * range * range < 0x1p23) bound_ = least_ = 0;
  if (metric == Metric::l2) {
    centre_.resize(static_cast<size_t>(dims_));
    for (size_t k = 0; k < centre_.size(); ++k) {
      centre_[k] = static_cast<float>((integers ? std::round(seen.mean[k]) : seen.mean[k]) * scale_);
    }
  } else {
    centre_.assign(static_cast<size_t>(dims_), 0.0f);
  }
}

const pair_tile::Kernels& Frame::kernels() const {
  return arithmetic_ == Arithmetic::bfloat16 ? *pair_tile::bf16_kernels() : pair_tile::level().float32;
}

float Frame::limit(double distance) const {
  if (metric_ == Metric::l2 && distance == 0) return kInfinity;  // nothing is nearer
  const double exact = -distance * square_scale_;
  const float rounded = static_cast<float>(exact);
  return rounded > exact ? std::nextafter(rounded, -kInfinity) : rounded;
}

float Frame::near(double distance, float slack) const {
  const double exact = static_cast<double>(slack) - distance * square_scale_;
  const float rounded = static_cast<float>(exact);
  return rounded < exact ? std::nextafter(rounded, kInfinity) : rounded;
}

void Frame::convert(const Points& points, int64_t i, float* out, float* base, float* slack) const {
  bool lost = false;
  with_type(points, [&](const auto* all) {
    const auto* x = all + i * dims_;
    double scale = scale_;
    if (metric_ == Metric::cosine) {
      double square = 0;
      for (int64_t k = 0; k < dims_; ++k) square += (value_of(x[k]) * exact_scale_) * (value_of(x[k]) * exact_scale_);
      lost = square > 0 && square < kLeastSquare;
      scale = square > 0 && !lost ? exact_scale_ / std::sqrt(square) : 0.0;
    }
    for (int64_t k = 0; k < dims_; ++k) {
      out[k] = static_cast<float>(value_of(x[k]) * scale - static_cast<double>(centre_[static_cast<size_t>(k)]));
    }
  });
  double sums[4] = {};
  int64_t k = 0;
  for (; k + 4 <= dims_; k += 4) {
    for (int l = 0; l < 4; ++l) sums[l] += static_cast<double>(out[k + l]) * out[k + l];
  }
  for (; k < dims_; ++k) sums[0] += static_cast<double>(out[k]) * out[k];
  const double half = 0.5 * (sums[0] + sums[1] + sums[2] + sums[3]);
  const double doubt = lost ? kNothingKnown : bound_ * (metric_ == Metric::cosine ? 0.5 : half) + least_;
  *base = static_cast<float>(metric_ == Metric::l2 ? doubt - half : doubt);
  *slack = static_cast<float>(2.0 * doubt);
}

void Frame::pack(const Points& points, const int32_t* order, int64_t count, pair_tile::Word* words, float* base,
                 float* slack) const {
  using pair_tile::kPanel;
  constexpr int64_t kStrip = 16;
  auto body = [&](int64_t begin, int64_t end) {
    const ExactFloats exact;
    const bool halves = arithmetic_ == Arithmetic::bfloat16;
    const int64_t stride = halves ? 2 * depth_ : depth_;
    std::vector<float> rows(static_cast<size_t>(kStrip * stride), 0.0f);
    for (int64_t strip = begin; strip < end; ++strip) {
      const int64_t first = strip * kStrip;
      for (int64_t r = 0; r < kStrip; ++r) {
        float* row = rows.data() + r * stride;
        if (first + r < count) {
          convert(points, order[first + r], row, base + first + r, slack + first + r);
        } else {
          std::fill(row, row + stride, 0.0f);
          base[first + r] = -kInfinity;
          slack[first + r] = 0.0f;
        }
      }
      pair_tile::Word* to = words + (first / kPanel) * depth_ * kPanel + first % kPanel;
      for (int64_t k = 0; k < depth_; ++k, to += kPanel) {
        for (int64_t r = 0; r < kStrip; ++r) {
          const float* row = rows.data() + r * stride;
          to[r] = halves
                      ? float_to_bfloat16(row[2 * k]) | static_cast<uint32_t>(float_to_bfloat16(row[2 * k + 1])) << 16
                      : float_bits(row[k]);
        }
      }
    }
  };
  const int64_t strips = (count + kPanel - 1) / kPanel * (kPanel / kStrip);
  parallel_for(0, strips, std::max<int64_t>(1, grain(dims_) / kStrip), body);
}

Distances::Distances(const Points& a, const Points& b, const Frame& frame)
    : a_(a),
      b_(b),
      metric_(frame.metric()),
      scale_(frame.exact_scale()),
      exact_(pair_tile::level().exact[pair_tile::exact_index(a.dtype)]) {
  if (metric_ != Metric::cosine) return;
  const auto norms = [this](const Points& points, std::vector<double>& out) {
    out.resize(static_cast<size_t>(points.n));
    auto body = [&](int64_t begin, int64_t end) {
      const ExactFloats exact;
      for (int64_t i = begin; i < end; ++i) {
        out[static_cast<size_t>(i)] = std::sqrt(exact_.product(points.at(i), points.at(i), points.dims, scale_));
      }
    };
    parallel_for(0, points.n, grain(points.dims), body);
  };
  norms(a_, a_norms_);
  if (!same_points(a_, b_)) norms(b_, b_norms_);
}

}  // namespace effdl

// Points (rows of features), the float64 distances that neighbours are chosen by, and their approximate form in tiles.
//
// A distance is l2: half the squared Euclidean distance; cosine: minus the similarity; inner product: minus the
// product; in float64, summed in one order everywhere. The tiles (pair_tile.h) hold lower bounds of it: with points c =
// x scaled by a power of two (l2: and shifted by the mean, cosine: divided by their norm), h = |c|^2 / 2 and
//     base = -(1 - g) h (l2), g h (inner product), g / 2 (cosine),
// -v = h_a + h_b - <a, b> - g (h_a + h_b) for l2, and v + slack_a + slack_b with slack = 2 g h bounds it from the other
// side. g covers every rounding (0 where there is none, as for sums of small integers): of c and h, of a chain of
// `dims` multiply-adds that starts at the bases, and of c to bfloat16 where that is used.
#pragma once
#include <cstdint>
#include <vector>

#include "common/dtype.h"
#include "common/pair_tile.h"

namespace effdl {

enum class Metric { l2, cosine, inner_product };
enum class Arithmetic { automatic, float32, bfloat16 };

struct Points {
  const void* data;  // contiguous (n, dims)
  Dtype dtype;       // float32, float64, float16, bfloat16, uint8
  int64_t n, dims;
  const void* at(int64_t i) const { return static_cast<const char*>(data) + i * dims * dtype_size(dtype); }
};

inline bool same_points(const Points& a, const Points& b) { return a.data == b.data && a.n == b.n; }

// What one look at all points tells.
struct Survey {
  int64_t bad_row = -1;  // the first with NaN or infinity
  double largest = 0;    // absolute value
  bool integers = true;  // nothing else
  std::vector<double> mean;
};
Survey survey(const Points& points);

// How points are brought into words.
class Frame {
 public:
  Frame(const Points& points, const Survey& seen, Metric metric, Arithmetic arithmetic);
  Metric metric() const { return metric_; }
  Arithmetic arithmetic() const { return arithmetic_; }
  bool precise() const { return precise_; }  // bounds as tight as float32 makes them
  int64_t depth() const { return depth_; }   // words of a point
  double exact_scale() const { return exact_scale_; }
  const pair_tile::Kernels& kernels() const;
  // The least float that a value v exceeds if its pair may be nearer than `distance`.
  float limit(double distance) const;
  // v - slack of the other > near(distance, slack) only if the pair surely is nearer.
  float near(double distance, float slack) const;

  // Panels of points[order[0]], points[order[1]], ...: ceil(count / kPanel) * kPanel of words, base and slack. What
  // lies behind the last point never exceeds a limit.
  void pack(const Points& points, const int32_t* order, int64_t count, pair_tile::Word* words, float* base,
            float* slack) const;

 private:
  void convert(const Points& points, int64_t i, float* out, float* base, float* slack) const;
  Metric metric_;
  Arithmetic arithmetic_;
  bool precise_;
  int64_t dims_, depth_;
  double scale_, square_scale_, exact_scale_, bound_, least_;
  std::vector<float> centre_;
};

// The float64 distance of a point of `a` and one of `b`.
class Distances {
 public:
  Distances(const Points& a, const Points& b, const Frame& frame);
  double operator()(int64_t i, int64_t j) const {
    const void* x = a_.at(i);
    const void* y = b_.at(j);
    if (metric_ == Metric::l2) return 0.5 * exact_.square_distance(x, y, a_.dims, scale_);
    const double product = exact_.product(x, y, a_.dims, scale_);
    if (metric_ == Metric::inner_product) return -product;
    const double norms =
        a_norms_[static_cast<size_t>(i)] * (b_norms_.empty() ? a_norms_ : b_norms_)[static_cast<size_t>(j)];
    return norms > 0 ? -product / norms : 0.0;
  }

 private:
  Points a_, b_;
  Metric metric_;
  double scale_;
  pair_tile::Exact exact_;
  std::vector<double> a_norms_, b_norms_;  // cosine only; b's are empty where b is a
};

}  // namespace effdl

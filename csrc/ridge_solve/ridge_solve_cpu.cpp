// Loops run over consecutive elements, which the compiler turns into vectors: no sum is reordered.
#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "common/exact_floats.h"
#include "common/parallel.h"
#include "ridge_solve/ridge_solve.h"

namespace effdl {
namespace ridge_solve {
namespace {

constexpr int64_t kSolveWork = 30'000;     // multiply-adds of solutions that are worth a thread
constexpr int64_t kProjectWork = 150'000;  // of projections

// y += factor * x
inline void add_multiple(double* y, double factor, const double* x, int64_t n) {
  for (int64_t i = 0; i < n; ++i) y[i] += factor * x[i];
}

// One entry of the batch; n x n matrices by rows.
class Solver {
 public:
  explicit Solver(const Problem& problem)
      : p_(problem),
        n_(problem.columns),
        c_(problem.targets),
        gram_(n_ * n_),
        scaled_(n_ * n_),
        factor_(n_ * n_),
        inverse_(n_ * n_),
        half_(n_ * n_),
        scale_(n_),
        ridge_(n_, problem.l2),
        used_(n_),
        right_(n_ * c_),
        product_(n_ * c_) {
    if (problem.free_bias) ridge_[0] = 0.0;
  }

  void solve(int64_t entry) {
    const double* moments = p_.moments + entry * (n_ + c_) * (n_ + c_);
    double* solution = p_.solution + entry * n_ * c_;
    if (!read(moments)) {
      const double nan = std::numeric_limits<double>::quiet_NaN();
      std::fill(solution, solution + n_ * c_, nan);
      p_.residual[entry] = p_.rcond[entry] = nan;
      finite_ = false;
      return;
    }
    finite_ = true;
    factorize();
    invert();
    p_.rcond[entry] = all_used_ ? 1.0 / (norm(scaled_) * norm(inverse_)) : 0.0;

    const auto cross = [&](int i) { return moments + i * (n_ + c_) + n_; };
    for (int i = 0; i < n_; ++i) std::copy(cross(i), cross(i) + c_, &right_[i * c_]);
    substitute();
    std::copy(right_.begin(), right_.end(), solution);
    for (int i = 0; i < n_; ++i) {
      for (int t = 0; t < c_; ++t) {
        Compensated rest = {cross(i)[t], 0.0};
        for (int k = 0; k < n_; ++k) rest.subtract_product(gram_[i * n_ + k], solution[k * c_ + t]);
        rest.subtract_product(ridge_[i], solution[i * c_ + t]);
        right_[i * c_ + t] = rest.value();
      }
    }
    substitute();
    for (int i = 0; i < n_ * c_; ++i) solution[i] += right_[i];

    gram_times(solution);
    double squares = 0.0, linear = 0.0, quadratic = 0.0;
    for (int t = 0; t < c_; ++t) squares += cross(n_ + t)[t];
    for (int i = 0; i < n_; ++i) {
      for (int t = 0; t < c_; ++t) {
        linear += solution[i * c_ + t] * cross(i)[t];
        quadratic += solution[i * c_ + t] * product_[i * c_ + t];
      }
    }
    const double rows = moments[0], fit = (squares - 2.0 * linear + quadratic) / rows;
    p_.residual[entry] = rows == 0.0 || fit < 0.0 ? 0.0 : fit;  // NaN stays
  }

  // [alpha (I - (G + l2 I)^-1 l2), alpha beta B] of the entry that was solved last, (n, n + c): times P, the weights.
  void map(const double* solution, double* to) const {
    for (int i = 0; i < n_; ++i, to += n_ + c_) {
      if (!finite_) {
        std::fill(to, to + n_ + c_, std::numeric_limits<double>::quiet_NaN());
        continue;
      }
      for (int j = 0; j < n_; ++j) {
        const double shrink = p_.l2 > 0.0 ? inverse_[i * n_ + j] * scale_[i] * scale_[j] * ridge_[j] : 0.0;
        to[j] = p_.alpha * ((i == j ? 1.0 : 0.0) - shrink);
      }
      for (int t = 0; t < c_; ++t) to[n_ + t] = p_.alpha * p_.beta * solution[i * c_ + t];
    }
  }

 private:
  // G, and G + l2 I scaled to a unit diagonal; false if an element is NaN or infinite.
  bool read(const double* moments) {
    double poison = 0.0;  // NaN then
    for (int64_t i = 0; i < static_cast<int64_t>(n_ + c_) * (n_ + c_); ++i) poison += moments[i] * 0.0;
    for (int i = 0; i < n_; ++i) {
      for (int j = 0; j <= i; ++j) gram_[i * n_ + j] = gram_[j * n_ + i] = moments[i * (n_ + c_) + j];
      const double diagonal = gram_[i * n_ + i] + ridge_[i];
      poison += diagonal * 0.0;
      scale_[i] = diagonal > 0.0 ? 1.0 / std::sqrt(diagonal) : 0.0;
    }
    for (int i = 0; i < n_; ++i) {
      for (int j = 0; j < n_; ++j) {
        const double a = gram_[i * n_ + j] + (i == j ? ridge_[i] : 0.0);
        scaled_[i * n_ + j] = a * scale_[i] * scale_[j];
      }
    }
    return poison == 0.0;
  }

  // The upper factor R, R'R = scaled; a column that depends on those before it has a row and a column of zeros.
  void factorize() {
    factor_ = scaled_;
    all_used_ = true;
    for (int j = 0; j < n_; ++j) {
      double* row = &factor_[j * n_];
      used_[j] = row[j] > n_ * kPivot;
      if (!used_[j]) {
        all_used_ = false;
        std::fill(row + j, row + n_, 0.0);
        continue;
      }
      const double root = std::sqrt(row[j]);
      for (int k = j; k < n_; ++k) row[k] /= root;
      for (int i = j + 1; i < n_; ++i) add_multiple(&factor_[i * n_ + i], -row[i], row + i, n_ - i);
    }
    for (int j = 0; j < n_; ++j) {  // rows before it have it too
      if (used_[j]) continue;
      for (int i = 0; i < j; ++i) factor_[i * n_ + j] = 0.0;
    }
  }

  // The inverse of `scaled` over the columns that are used, 0 elsewhere, from that of R'.
  void invert() {
    std::fill(half_.begin(), half_.end(), 0.0);
    std::fill(inverse_.begin(), inverse_.end(), 0.0);
    for (int i = 0; i < n_; ++i) {
      if (!used_[i]) continue;
      double* row = &half_[i * n_];
      for (int k = 0; k < i; ++k) add_multiple(row, -factor_[k * n_ + i], &half_[k * n_], k + 1);
      row[i] = 1.0;
      for (int k = 0; k <= i; ++k) row[k] /= factor_[i * n_ + i];
      for (int k = 0; k <= i; ++k) add_multiple(&inverse_[k * n_], row[k], row, k + 1);
    }
    for (int i = 0; i < n_; ++i) {
      for (int j = 0; j < i; ++j) inverse_[j * n_ + i] = inverse_[i * n_ + j];
    }
  }

  double norm(const std::vector<double>& a) const {  // of a symmetric matrix: the largest sum of magnitudes of a row
    double most = 0.0;
    for (int i = 0; i < n_; ++i) {
      double total = 0.0;
      for (int j = 0; j < n_; ++j) total += std::abs(a[i * n_ + j]);
      most = std::max(most, total);
    }
    return most;
  }

  // right = (G + l2 I)^-1 right, 0 in rows that are not used
  void substitute() {
    const auto row = [&](int i) { return &right_[i * c_]; };
    const auto multiply = [&](int i, double factor) {
      for (int t = 0; t < c_; ++t) row(i)[t] *= factor;
    };
    for (int i = 0; i < n_; ++i) {
      multiply(i, used_[i] ? scale_[i] : 0.0);
      if (!used_[i]) continue;
      for (int k = 0; k < i; ++k) add_multiple(row(i), -factor_[k * n_ + i], row(k), c_);
      for (int t = 0; t < c_; ++t) row(i)[t] /= factor_[i * n_ + i];
    }
    for (int i = n_ - 1; i >= 0; --i) {
      if (!used_[i]) continue;
      for (int k = i + 1; k < n_; ++k) add_multiple(row(i), -factor_[i * n_ + k], row(k), c_);
      for (int t = 0; t < c_; ++t) row(i)[t] /= factor_[i * n_ + i];
    }
    for (int i = 0; i < n_; ++i) multiply(i, scale_[i]);
  }

  void gram_times(const double* solution) {  // product = G solution
    std::fill(product_.begin(), product_.end(), 0.0);
    for (int i = 0; i < n_; ++i) {
      for (int k = 0; k < n_; ++k) add_multiple(&product_[i * c_], gram_[i * n_ + k], solution + k * c_, c_);
    }
  }

  const Problem& p_;
  const int n_, c_;
  std::vector<double> gram_, scaled_, factor_, inverse_, half_, scale_, ridge_;
  std::vector<char> used_;
  std::vector<double> right_, product_;
  bool all_used_ = false, finite_ = false;
};

void project(const Problem& p, const double* map, int64_t begin, int64_t end) {
  const int64_t n = p.columns, all = n + p.targets;
  for (int64_t i = begin * n; i < end * n; ++i) {
    double* to = p.weights + i * p.width;
    const double* from = p.projection + i / n * all * p.width;
    const double* factors = map + i % n * all;
    std::fill(to, to + p.width, 0.0);
    for (int64_t k = 0; k < all; ++k) {
      if (factors[k] != 0.0) add_multiple(to, factors[k], from + k * p.width, p.width);
    }
  }
}

}  // namespace
}  // namespace ridge_solve

void ridge_solve_cpu(const ridge_solve::Problem& p) {
  using namespace ridge_solve;
  record_kernel("ridge_solve", "scalar");
  const int64_t n = p.columns, all = n + p.targets;
  if (p.projection == nullptr) {
    auto entries = [&](int64_t begin, int64_t end) {
      const ExactFloats exact;
      Solver solver(p);
      for (int64_t i = begin; i < end; ++i) solver.solve(i);
    };
    parallel_for(0, p.batch, kSolveWork / (n * n * n + n * n * p.targets) + 1, entries);
    return;
  }
  std::vector<double> map(static_cast<size_t>(n * all));
  {
    const ExactFloats exact;
    Solver solver(p);
    solver.solve(0);
    solver.map(p.solution, map.data());
  }
  auto tries = [&](int64_t begin, int64_t end) {
    const ExactFloats exact;
    project(p, map.data(), begin, end);
  };
  parallel_for(0, p.tries, kProjectWork / (n * all * p.width + 1) + 1, tries);
}

}  // namespace effdl

#include "common/ga_loss_cpu.h"

#include <cmath>
#include <cstring>
#include <memory>
#include <utility>
#include <vector>

#include "common/half.h"
#include "common/large_output.h"
#include "common/parallel.h"

namespace effdl::ga_loss {
namespace {

constexpr int64_t kItemElements = 16384;   // logits per work item: sums are reproducible whatever the thread count
constexpr int64_t kGrainElements = 32768;  // a second thread is woken for more than this; not tuned
constexpr int64_t kPackElements = 1024;
constexpr int64_t kFlatClasses =
    128;  // a block of rows this short is done as one segment; gains at 10, limit not tuned

template <class Real>
Real read(const void* data, Dtype dtype, int64_t offset) {
  return dtype == Dtype::f64 ? static_cast<Real>(static_cast<const double*>(data)[offset])
                             : static_cast<Real>(static_cast<const float*>(data)[offset]);
}

void write_loss(void* loss, Dtype dtype, int64_t i, double value) {
  switch (dtype) {
    case Dtype::f64:
      static_cast<double*>(loss)[i] = value;
      break;
    case Dtype::f32:
      static_cast<float*>(loss)[i] = static_cast<float>(value);
      break;
    case Dtype::f16:
      static_cast<uint16_t*>(loss)[i] = float_to_half(static_cast<float>(value));
      break;
    default:
      static_cast<uint16_t*>(loss)[i] = float_to_bfloat16(static_cast<float>(value));
  }
}

// What a pass over the targets alone tells: where each row's positive class is, its weight, and the mean's denominator.
struct Rows {
  std::unique_ptr<int32_t[]> hot;  // null for dense targets
  std::vector<double> weight;      // empty: ones
  double denominator = 0.0;
  // A mean over samples without weight is NaN, but its gradient is 0.
  double inverse() const { return denominator == 0.0 ? 0.0 : 1.0 / denominator; }
  int64_t bad = -1;
};

Rows read_targets(const Problem& p) {
  Rows rows;
  const int64_t count = p.n * p.inner;
  if (p.target == nullptr) {
    rows.denominator = static_cast<double>(count);
    return rows;
  }
  rows.hot.reset(new int32_t[static_cast<size_t>(count)]);
  if (p.weight != nullptr) rows.weight.resize(static_cast<size_t>(count));
  const int64_t blocks = (count + kItemElements - 1) / kItemElements;
  struct Block {
    double weight = 0.0;
    int64_t bad = -1;
  };
  std::vector<Block> found(static_cast<size_t>(blocks));
  auto body = [&](int64_t block_begin, int64_t block_end) {
    for (int64_t block = block_begin; block < block_end; ++block) {
      const int64_t end = count < (block + 1) * kItemElements ? count : (block + 1) * kItemElements;
      Block own;
      for (int64_t row = block * kItemElements; row < end; ++row) {
        const int64_t i = p.inner == 1 ? row : row / p.inner, s = p.inner == 1 ? 0 : row % p.inner;
        const int64_t t = p.target[i * p.target_strides.n + s * p.target_strides.s];
        double w = 0.0;
        if (t == p.ignore_index) {
          rows.hot[row] = kIgnored;
        } else if (t < 0 || t >= p.class_total) {
          if (own.bad < 0) own.bad = row;
        } else {
          const int64_t local = t - p.class_start;
          rows.hot[row] = local >= 0 && local < p.classes ? static_cast<int32_t>(local) : kNoPositive;
          w = p.weight == nullptr ? 1.0 : read<double>(p.weight, p.weight_dtype, t * p.weight_stride);
          own.weight += w;
        }
        if (p.weight != nullptr) rows.weight[row] = w;
      }
      found[block] = own;
    }
  };
  parallel_for(0, blocks, 4, body);
  for (const Block& block : found) {
    rows.denominator += block.weight;
    if (rows.bad < 0) rows.bad = block.bad;
  }
  return rows;
}

// alpha as the kernels take it.
template <class Real>
struct Alpha {
  enum class Kind { scalar, per_class, per_row } kind = Kind::scalar;
  std::vector<Real> hi, lo;
  int64_t bad = -1;

  Alpha(const Loss& loss, const Problem& p) {
    const Coefficient& a = p.alpha;
    const bool one = a.strides.n == 0 && a.strides.c == 0 && a.strides.s == 0;
    const double scalar = a.data != nullptr && one ? read<double>(a.data, a.dtype, 0) : a.scalar;
    if (a.data != nullptr && !one) kind = a.strides.c != 0 && p.classes > 1 ? Kind::per_class : Kind::per_row;
    const int64_t count = kind == Kind::scalar ? 1 : kind == Kind::per_class ? p.classes : p.n * p.inner;
    hi.resize(static_cast<size_t>(count));
    lo.resize(static_cast<size_t>(count));
    const int64_t blocks = (count + kItemElements - 1) / kItemElements;
    std::vector<int64_t> bad_in(static_cast<size_t>(blocks), -1);
    auto body = [&](int64_t begin, int64_t end) {
      for (int64_t block = begin; block < end; ++block) {
        const int64_t last = count < (block + 1) * kItemElements ? count : (block + 1) * kItemElements;
        for (int64_t i = block * kItemElements; i < last; ++i) {
          double value = scalar;
          if (kind == Kind::per_class) value = read<double>(a.data, a.dtype, i * a.strides.c);
          if (kind == Kind::per_row) {
            value = read<double>(a.data, a.dtype, i / p.inner * a.strides.n + i % p.inner * a.strides.s);
          }
          if (bad_in[block] < 0 && (!(value > 0.0) || std::isinf(value))) bad_in[block] = i;
          const double term = loss.log_alpha ? std::log(value) : value;
          hi[i] = static_cast<Real>(term);
          lo[i] = static_cast<Real>(term - static_cast<double>(hi[i]));
        }
      }
    };
    parallel_for(0, blocks, 1, body);
    for (int64_t b : bad_in) {
      if (bad < 0) bad = b;
    }
  }
};

template <class Real>
class Driver {
 public:
  Driver(const Loss& loss, const Kernels<Real>& kernels, const Problem& p, const Rows& rows, const Alpha<Real>& alpha)
      : kernels_(kernels), p_(p), rows_(rows), alpha_(alpha), size_(dtype_size(p.dtype)) {
    (void)loss;
    constants_ = {static_cast<Real>(p.target_value), static_cast<Real>(p.negative_value), static_cast<Real>(p.beta),
                  static_cast<Real>(p.clamp), static_cast<Real>(std::exp(p.clamp))};
    const bool divide = p.reduction == Reduction::mean && p.deferred_norm == nullptr;
    grad_scale_ = divide ? rows.inverse() : 1.0;
    if (p.target == nullptr && p.weight != nullptr) {
      class_weight_.resize(static_cast<size_t>(p.classes));
      for (int64_t c = 0; c < p.classes; ++c)
        class_weight_[c] = read<Real>(p.weight, p.weight_dtype, c * p.weight_stride);
    }
    const int64_t bytes = p.n * p.classes * p.inner * size_;
    stream_ = p.grad != nullptr && p.grad != p.logits && bytes >= kLargeOutput;
    if (stream_) expect_output(p.grad, bytes);
  }

  // Adds everything up in a fixed order and writes the loss.
  void run() {
    const bool classes_contiguous = contiguous(&Strides::c, p_.classes);
    if (!classes_contiguous && p_.inner > 1 && contiguous(&Strides::s, p_.inner)) {
      run_planes();
    } else {
      packed_ = !classes_contiguous;
      run_rows();
    }
    if (p_.reduction == Reduction::none) return;
    double total = 0.0;
    for (double s : partial_) total += s;
    if (p_.reduction == Reduction::mean) total /= rows_.denominator;
    write_loss(p_.loss, p_.loss_dtype, 0, total);
  }

 private:
  using Kind = typename Alpha<Real>::Kind;

  bool contiguous(int64_t Strides::* axis, int64_t length) const {
    if (length == 1) return true;
    return p_.logits_strides.*axis == 1 && (p_.grad == nullptr || p_.grad_strides.*axis == 1) &&
           (p_.dense == nullptr || p_.dense_strides.*axis == 1);
  }

  const char* at(const void* base, const Strides& st, int64_t i, int64_t c, int64_t s) const {
    return base == nullptr ? nullptr : static_cast<const char*>(base) + (i * st.n + c * st.c + s * st.s) * size_;
  }
  char* grad_at(int64_t i, int64_t c, int64_t s) const {
    return const_cast<char*>(at(p_.grad, p_.grad_strides, i, c, s));
  }
  double row_weight(int64_t row) const { return rows_.weight.empty() ? 1.0 : rows_.weight[row]; }

  AlphaTerms<Real> alpha_at(int64_t row, int64_t c) const {
    if (alpha_.kind == Kind::per_class) return {alpha_.hi.data() + c, alpha_.lo.data() + c, 0, 0};
    const int64_t i = alpha_.kind == Kind::scalar ? 0 : row;
    return {nullptr, nullptr, alpha_.hi[i], alpha_.lo[i]};
  }

  // Rows whose classes lie next to each other, or (packed_) are copied to a buffer and back. A work item is a block of
  // short rows or a piece of a long one.
  void run_rows() {
    const int64_t count = p_.n * p_.inner;
    if (count == 0) return;
    pieces_ = p_.classes > kItemElements ? (p_.classes + kItemElements - 1) / kItemElements : 1;
    const int64_t block = pieces_ > 1 ? 1 : kItemElements / (p_.classes > 0 ? p_.classes : 1);
    const int64_t items = pieces_ > 1 ? count * pieces_ : (count + block - 1) / block;
    partial_.assign(static_cast<size_t>(items), 0.0);
    const int64_t item_elements = (pieces_ > 1 ? kItemElements : block * p_.classes) + 1;
    const bool flat = rows_adjoin();
    auto body = [&](int64_t begin, int64_t end) {
      Segment<Real> segment = common_segment();
      for (int64_t item = begin; item < end; ++item) {
        if (pieces_ > 1) {
          partial_[item] = row_piece(&segment, item / pieces_, item % pieces_);
          continue;
        }
        const int64_t last = count < (item + 1) * block ? count : (item + 1) * block;
        if (flat && flat_rows(&segment, item * block, last, &partial_[item])) continue;
        double sum = 0.0;
        for (int64_t row = item * block; row < last; ++row) {
          const double value = row_piece(&segment, row, 0);
          sum += value;
          if (p_.reduction == Reduction::none) write_loss(p_.loss, p_.loss_dtype, row, value);
        }
        partial_[item] = sum;
      }
    };
    parallel_for(0, items, 1 + kGrainElements / item_elements, body);
    if (p_.reduction == Reduction::none && pieces_ > 1) {
      for (int64_t row = 0; row < count; ++row) {
        double sum = 0.0;
        for (int64_t k = 0; k < pieces_; ++k) sum += partial_[row * pieces_ + k];
        write_loss(p_.loss, p_.loss_dtype, row, sum);
      }
    }
  }

  // Whether short rows follow each other in memory and differ in nothing but their targets.
  bool rows_adjoin() const {
    const auto adjoin = [&](const void* data, const Strides& st) {
      return data == nullptr || p_.n == 1 || st.n == p_.classes;
    };
    return p_.classes <= kFlatClasses && p_.inner == 1 && !packed_ && p_.reduction != Reduction::none &&
           alpha_.kind == Kind::scalar && rows_.weight.empty() && class_weight_.empty() &&
           adjoin(p_.logits, p_.logits_strides) && adjoin(p_.grad, p_.grad_strides) &&
           adjoin(p_.dense, p_.dense_strides);
  }

  // Such rows as one segment; false if one of them is ignored.
  bool flat_rows(Segment<Real>* segment, int64_t begin, int64_t end, double* sum) const {
    uint8_t bits[kItemElements / 8 + 4];
    segment->hot_bits = nullptr;
    if (rows_.hot != nullptr) {
      memset(bits, 0, static_cast<size_t>((end - begin) * p_.classes / 8 + 4));
      for (int64_t row = begin, first = 0; row < end; ++row, first += p_.classes) {
        const int32_t hot = rows_.hot[row];
        if (hot == kIgnored) return false;
        if (hot >= 0) bits[(first + hot) >> 3] |= static_cast<uint8_t>(1 << ((first + hot) & 7));
      }
      segment->hot_bits = bits;
    }
    segment->x = at(p_.logits, p_.logits_strides, begin, 0, 0);
    segment->grad = grad_at(begin, 0, 0);
    segment->dense = at(p_.dense, p_.dense_strides, begin, 0, 0);
    segment->length = (end - begin) * p_.classes;
    segment->hot = kNoPositive;
    *sum = kernels_.segment(*segment);
    segment->hot_bits = nullptr;
    return true;
  }

  // The fields that are the same for every row; short rows would pay for setting them anew.
  Segment<Real> common_segment() const {
    Segment<Real> segment{};
    segment.alpha = alpha_at(0, 0);
    segment.scale = static_cast<Real>(grad_scale_);
    segment.stream = stream_;
    segment.constants = constants_;
    return segment;
  }

  double row_piece(Segment<Real>* segment, int64_t row, int64_t piece) const {
    const int64_t i = p_.inner == 1 ? row : row / p_.inner, s = p_.inner == 1 ? 0 : row % p_.inner;
    const int64_t c0 = piece * kItemElements;
    const int64_t length = pieces_ > 1 && c0 + kItemElements < p_.classes ? kItemElements : p_.classes - c0;
    const int64_t hot = rows_.hot == nullptr ? kNoPositive : rows_.hot[row];
    if (hot == kIgnored) {
      zero_row(i, s, c0, length);
      return 0.0;
    }
    segment->x = at(p_.logits, p_.logits_strides, i, c0, s);
    segment->grad = grad_at(i, c0, s);
    segment->dense = at(p_.dense, p_.dense_strides, i, c0, s);
    segment->length = length;
    segment->hot = hot - c0;
    if (alpha_.kind != Kind::scalar) segment->alpha = alpha_at(row, c0);
    if (!class_weight_.empty()) segment->weight = class_weight_.data() + c0;
    double w = 1.0;
    if (!rows_.weight.empty()) {
      w = rows_.weight[row];
      segment->scale = static_cast<Real>(w * grad_scale_);
    }
    return w * (packed_ ? packed_segment(*segment) : kernels_.segment(*segment));
  }

  double packed_segment(const Segment<Real>& whole) const {
    alignas(64) char x[kPackElements * 8], dense[kPackElements * 8], grad[kPackElements * 8];
    double total = 0.0;
    for (int64_t c = 0; c < whole.length; c += kPackElements) {
      Segment<Real> seg = whole;
      seg.length = whole.length - c < kPackElements ? whole.length - c : kPackElements;
      seg.hot = whole.hot - c;
      seg.stream = false;
      if (seg.alpha.hi != nullptr) seg.alpha.hi += c, seg.alpha.lo += c;
      if (seg.weight != nullptr) seg.weight += c;
      pack(whole.x, p_.logits_strides.c, c, seg.length, x);
      seg.x = x;
      if (whole.dense != nullptr) {
        pack(whole.dense, p_.dense_strides.c, c, seg.length, dense);
        seg.dense = dense;
      }
      if (whole.grad != nullptr) seg.grad = grad;
      total += kernels_.segment(seg);
      if (whole.grad != nullptr) unpack(grad, whole.grad, p_.grad_strides.c, c, seg.length);
    }
    return total;
  }

  template <class T>
  static void copy_strided(const char* from, int64_t from_stride, char* to, int64_t to_stride, int64_t length) {
    for (int64_t k = 0; k < length; ++k) {
      reinterpret_cast<T*>(to)[k * to_stride] = reinterpret_cast<const T*>(from)[k * from_stride];
    }
  }
  void copy(const char* from, int64_t from_stride, char* to, int64_t to_stride, int64_t length) const {
    if (size_ == 2) return copy_strided<uint16_t>(from, from_stride, to, to_stride, length);
    if (size_ == 4) return copy_strided<uint32_t>(from, from_stride, to, to_stride, length);
    copy_strided<uint64_t>(from, from_stride, to, to_stride, length);
  }
  void pack(const void* from, int64_t stride, int64_t c, int64_t length, char* to) const {
    copy(static_cast<const char*>(from) + c * stride * size_, stride, to, 1, length);
  }
  void unpack(const char* from, void* to, int64_t stride, int64_t c, int64_t length) const {
    copy(from, 1, static_cast<char*>(to) + c * stride * size_, stride, length);
  }

  void zero_row(int64_t i, int64_t s, int64_t c0, int64_t length) const {
    if (p_.grad == nullptr) return;
    static const char zeros[kPackElements * 8] = {0};
    for (int64_t c = 0; c < length; c += kPackElements) {
      const int64_t m = length - c < kPackElements ? length - c : kPackElements;
      unpack(zeros, grad_at(i, c0, s), p_.grad_strides.c, c, m);
    }
  }

  // Positions that lie next to each other, class by class: (n, c, h, w) without a permuted copy.
  void run_planes() {
    const int64_t blocks = (p_.inner + kPlaneBlock - 1) / kPlaneBlock;
    partial_.assign(static_cast<size_t>(p_.n * blocks), 0.0);
    auto body = [&](int64_t begin, int64_t end) {
      for (int64_t item = begin; item < end; ++item) partial_[item] = plane_block(item / blocks, item % blocks);
    };
    const int64_t item_elements = (blocks > 1 ? kPlaneBlock : p_.inner) * p_.classes + 1;
    parallel_for(0, p_.n * blocks, 1 + kGrainElements / item_elements, body);
  }

  double plane_block(int64_t i, int64_t block) const {
    const int64_t s0 = block * kPlaneBlock;
    const int64_t row0 = i * p_.inner + s0;
    Real scale[kPlaneBlock];
    double sums[kPlaneBlock];
    Plane<Real> a;
    a.length = p_.inner - s0 < kPlaneBlock ? p_.inner - s0 : kPlaneBlock;
    for (int64_t k = 0; k < a.length; ++k) scale[k] = static_cast<Real>(row_weight(row0 + k) * grad_scale_);
    a.x = at(p_.logits, p_.logits_strides, i, 0, s0);
    a.grad = grad_at(i, 0, s0);
    a.dense = at(p_.dense, p_.dense_strides, i, 0, s0);
    a.classes = p_.classes;
    a.x_stride = p_.logits_strides.c;
    a.grad_stride = p_.grad_strides.c;
    a.dense_stride = p_.dense_strides.c;
    a.hot = rows_.hot == nullptr ? nullptr : rows_.hot.get() + row0;
    a.scale = scale;
    a.alpha_per_class = alpha_.kind == Kind::per_class;
    if (alpha_.kind == Kind::per_row) {
      a.alpha = {alpha_.hi.data() + row0, alpha_.lo.data() + row0, 0, 0};
    } else {
      a.alpha = alpha_at(row0, 0);
    }
    a.weight = class_weight_.empty() ? nullptr : class_weight_.data();
    a.constants = constants_;
    a.sums = sums;
    kernels_.plane(a);
    double total = 0.0;
    for (int64_t k = 0; k < a.length; ++k) {
      const double value = row_weight(row0 + k) * sums[k];
      if (p_.reduction == Reduction::none) write_loss(p_.loss, p_.loss_dtype, row0 + k, value);
      total += value;
    }
    return total;
  }

  const Kernels<Real>& kernels_;
  const Problem& p_;
  const Rows& rows_;
  const Alpha<Real>& alpha_;
  const int64_t size_;
  Constants<Real> constants_;
  std::vector<Real> class_weight_;  // dense targets only
  std::vector<double> partial_;     // one sum per work item
  double grad_scale_ = 1.0;
  int64_t pieces_ = 1;
  bool packed_ = false, stream_ = false;
};

// Samples next to each other in memory, but not their classes (a transposed matrix): the samples become the positions.
void lay_out(Problem* p) {
  if (p->inner != 1 || p->classes == 1 || p->logits_strides.c <= p->logits_strides.n) return;
  std::swap(p->n, p->inner);
  for (Strides* s : {&p->logits_strides, &p->grad_strides, &p->target_strides, &p->dense_strides, &p->alpha.strides}) {
    std::swap(s->n, s->s);
  }
}

template <class Real>
Outcome run(const Loss& loss, const Kernels<Real>& kernels, const Problem& p) {
  const Rows rows = read_targets(p);
  if (rows.bad >= 0) return {rows.bad, -1};
  const Alpha<Real> alpha(loss, p);
  if (alpha.bad >= 0) return {-1, alpha.bad};
  Driver<Real>(loss, kernels, p, rows, alpha).run();
  if (p.deferred_norm != nullptr) {
    *p.deferred_norm = p.reduction == Reduction::mean ? static_cast<float>(rows.inverse()) : 1.0f;
  }
  return {};
}

}  // namespace

Outcome run_cpu(const Loss& loss, const Problem& problem) {
  Problem p = problem;
  lay_out(&p);
  if (p.dtype == Dtype::f64) {
    record_kernel(loss.name, "f64");
    return run<double>(loss, loss.f64, p);
  }
  const Simd level = simd_level();
  const KernelTable& table = *loss.levels[static_cast<int>(level)];
  record_kernel(loss.name, simd_name(level));
  const Kernels<float>& kernels = p.dtype == Dtype::f32 ? table.f32 : p.dtype == Dtype::f16 ? table.f16 : table.bf16;
  return run<float>(loss, kernels, p);
}

}  // namespace effdl::ga_loss

// The CUDA kernels of every GA loss, written once over a Loss functor and a storage type (contract: ga_loss_cuda.h).
// Two layouts: rows (a group of threads walks the classes of one sample) and planes (each thread owns neighbouring
// positions and walks the classes). Each reads and writes the logits once. Around them, where needed: prepare (tabulate
// alpha, sum the target weights) and finish (add up the blocks' sums), both in ga_loss_cuda.cu.
#pragma once
#include "common/ga_loss_cuda_plan.cuh"

namespace effdl::ga_loss {

struct RowTarget {
  int hot;        // kNoPositive, kIgnored, kBadTarget or the class
  double weight;  // in the mean's denominator
};

__device__ inline RowTarget row_target(const Problem& p, int64_t i, int64_t s) {
  if (p.target == nullptr) return {kNoPositive, 1.0};
  const int64_t t = p.target[i * p.target_strides.n + s * p.target_strides.s];
  if (t == p.ignore_index) return {kIgnored, 0.0};
  if (t < 0 || t >= p.class_total) return {kBadTarget, 0.0};
  const int64_t local = t - p.class_start;
  const double w = p.weight == nullptr ? 1.0 : cuda::read<double>(p.weight, p.weight_dtype, t * p.weight_stride);
  return {local >= 0 && local < p.classes ? static_cast<int>(local) : kNoPositive, w};
}

// What multiplies the row's loss and gradient.
__device__ inline double row_factor(const RowTarget& t) { return t.hot == kBadTarget ? nan("") : t.weight; }

__device__ inline void split_row(const Problem& p, int64_t row, int64_t* i, int64_t* s) {
  *i = p.inner == 1 ? row : row / p.inner;
  *s = row - *i * p.inner;
}

// This thread's share of the target weights, counting with every kThreads-th from `first` on.
__device__ inline double weight_share(const Problem& p, int64_t first, int64_t step) {
  double sum = 0.0;
  for (int64_t row = first; row < p.n * p.inner; row += step) {
    int64_t i, s;
    split_row(p, row, &i, &s);
    sum += row_target(p, i, s).weight;
  }
  return sum;
}

// The mean's 1/denominator where the gradient is divided by it, else 1. All threads of the block call it.
__device__ inline double gradient_factor(const Problem& p, const Plan& plan) {
  if (p.reduction != Reduction::mean || p.deferred_norm != nullptr || p.grad == nullptr) return 1.0;
  if (p.target == nullptr) return 1.0 / static_cast<double>(p.n * p.inner);
  double share = 0.0;
  if (!plan.count_first) {
    share = weight_share(p, threadIdx.x, kThreads);
  } else if (static_cast<int>(threadIdx.x) < plan.prepare_blocks) {
    share = plan.counts[threadIdx.x];
  }
  const double sum = cuda::block_sum<kThreads>(share);
  return sum == 0.0 ? 0.0 : 1.0 / sum;
}

// The results of a reduction, from the sums over everything.
__device__ inline void write_reduced(const Problem& p, double loss, double weight) {
  const bool mean = p.reduction == Reduction::mean;
  cuda::write(p.loss, p.loss_dtype, 0, mean ? loss / weight : loss);
  if (p.deferred_norm == nullptr) return;
  *p.deferred_norm = !mean ? 1.0f : weight == 0.0 ? 0.0f : static_cast<float>(1.0 / weight);  // 0: nothing to divide
}

// Ends the main kernel: each thread brings its sums.
__device__ inline void end_block(const Problem& p, const Plan& plan, double loss, double weight) {
  if (p.reduction == Reduction::none) {
    if (p.deferred_norm != nullptr && blockIdx.x == 0 && threadIdx.x == 0) *p.deferred_norm = 1.0f;
    return;
  }
  loss = cuda::block_sum<kThreads>(loss);
  weight = cuda::block_sum<kThreads>(weight);
  if (threadIdx.x != 0) return;
  if (plan.blocks == 1) {
    write_reduced(p, loss, weight);
  } else {
    plan.partials[2 * blockIdx.x] = loss;
    plan.partials[2 * blockIdx.x + 1] = weight;
  }
}

// Computed once on the host: kernels read them from constant memory.
template <class Real>
Constants<Real> constants(const Problem& p) {
  return {static_cast<Real>(p.target_value), static_cast<Real>(p.negative_value), static_cast<Real>(p.beta),
          static_cast<Real>(p.has_clamp ? p.clamp : INFINITY), static_cast<Real>(std::exp(p.clamp))};
}

// The first class's alpha of (i, s) in the table, or null if alpha is a number.
template <class Real>
__device__ inline const Terms<Real>* row_table(const Plan& plan, int64_t i, int64_t s) {
  if (plan.alpha_entries == 0) return nullptr;
  return static_cast<const Terms<Real>*>(plan.table) + i * plan.alpha_strides.n + s * plan.alpha_strides.s;
}

template <class Real>
__device__ inline Terms<Real> scalar_alpha(const Plan& plan) {
  const Real hi = static_cast<Real>(plan.alpha);
  return {hi, static_cast<Real>(plan.alpha - static_cast<double>(hi))};
}

// What the elements of one row have in common.
template <class T>
struct Row {
  const T* x;
  T* grad;
  const T* dense;
  int hot;
  Terms<Real<T>> alpha;
  Real<T> scale;  // of the gradient
};

// l(x, t) and its gradient of n elements.
template <class Loss, class T, int n>
__device__ inline void evaluate(const Plan& plan, const Constants<Real<T>>& k, const T* x, const Real<T> (&t)[n],
                                const Terms<Real<T>> (&alpha)[n], Real<T> (&value)[n], Real<T> (&delta)[n]) {
  if constexpr (Loss::kLogAlpha) {
    if (plan.plain) {
#pragma unroll
      for (int j = 0; j < n; ++j) value[j] = Loss::plain(cuda::to_real(x[j]), t[j], &delta[j]);
      return;
    }
  }
#pragma unroll
  for (int j = 0; j < n; ++j) value[j] = Loss::eval(cuda::to_real(x[j]), t[j], alpha[j], k, &delta[j]);
}

// Accesses of several classes only happen where these lie next to each other.
template <int n>
__device__ inline int64_t class_offset(int c, const Strides& strides) {
  return n > 1 ? c : c * strides.c;
}

// n consecutive classes from c on: returns their sum of l(x, t), and the scaled gradient through `out`.
template <class Loss, class T, int n>
__device__ inline Real<T> row_classes(const Problem& p, const Plan& plan, const Constants<Real<T>>& k,
                                      const Row<T>& row, int c, const T* x, T* out) {
  Real<T> t[n];
#pragma unroll
  for (int j = 0; j < n; ++j) t[j] = c + j == row.hot ? k.target_value : k.negative_value;
  if (row.dense != nullptr) {
    const Pack<T, n> dense = cuda::load<T, n>(row.dense + class_offset<n>(c, p.dense_strides));
#pragma unroll
    for (int j = 0; j < n; ++j) t[j] = cuda::to_real(dense.v[j]);
  }
  Terms<Real<T>> alpha[n];
#pragma unroll
  for (int j = 0; j < n; ++j) alpha[j] = row.alpha;
  if (plan.alpha_strides.c != 0) {
#pragma unroll
    for (int j = 0; j < n; ++j) alpha[j] = static_cast<const Terms<Real<T>>*>(plan.table)[c + j];
  }
  Real<T> value[n], delta[n];
  evaluate<Loss, T, n>(plan, k, x, t, alpha, value, delta);
#pragma unroll
  for (int j = 0; j < n; ++j) delta[j] *= row.scale;
  if (row.dense != nullptr && p.weight != nullptr) {
#pragma unroll
    for (int j = 0; j < n; ++j) {
      const Real<T> w = cuda::read<Real<T>>(p.weight, p.weight_dtype, (c + j) * p.weight_stride);
      value[j] *= w;
      delta[j] *= w;
    }
  }
  Real<T> sum = 0;
#pragma unroll
  for (int j = 0; j < n; ++j) {
    out[j] = cuda::from_real<T>(delta[j]);
    sum += value[j];
  }
  return sum;
}

// The same for one access, storing the gradient. Halves of an access of 8 keep fewer registers alive.
template <class Loss, class T, int n>
__device__ inline Real<T> row_step(const Problem& p, const Plan& plan, const Constants<Real<T>>& k, const Row<T>& row,
                                   int c, const Pack<T, n>& x) {
  constexpr int part = n > 4 ? 4 : n;
  Pack<T, n> out;
  Real<T> sum = 0;
#pragma unroll
  for (int j = 0; j < n; j += part) sum += row_classes<Loss, T, part>(p, plan, k, row, c + j, x.v + j, out.v + j);
  if (row.grad != nullptr) cuda::store<T, n>(row.grad + class_offset<n>(c, p.grad_strides), out);
  return sum;
}

// Elements before the first 16-byte boundary, which must be the same for all of the row's tensors; all if it is not.
template <class T>
__device__ inline int head_length(const Plan& plan, const Row<T>& row, int c0, int c1) {
  const auto x = reinterpret_cast<uintptr_t>(row.x + c0);
  uintptr_t differ = 0;
  if (row.grad != nullptr) differ |= x ^ reinterpret_cast<uintptr_t>(row.grad + c0);
  if (row.dense != nullptr) differ |= x ^ reinterpret_cast<uintptr_t>(row.dense + c0);
  if (plan.pack == 1 || differ % 16 != 0) return c1 - c0;
  const int head = static_cast<int>((16 - x % 16) % 16 / sizeof(T));
  return head < c1 - c0 ? head : c1 - c0;
}

// Classes [c0, c1) of a row by the `group` threads of which this is number `lane`; returns this thread's sum.
template <class Loss, class T>
__device__ inline double row_piece(const Problem& p, const Plan& plan, const Constants<Real<T>>& k, const Row<T>& row,
                                   int c0, int c1, int lane) {
  constexpr int n = kRowPack<T>;
  const int group = plan.group;
  if (row.hot == kIgnored) {
    if (row.grad == nullptr) return 0.0;
    for (int c = c0 + lane; c < c1; c += group) row.grad[c * p.grad_strides.c] = cuda::from_real<T>(0);
    return 0.0;
  }
  const int head = head_length(plan, row, c0, c1);
  const int packs = (c1 - c0 - head) / n;
  const int tail = c0 + head + packs * n;
  double total = 0.0;
#pragma unroll 1
  for (int i = lane; i < c1 - c0 - packs * n; i += group) {
    const int c = i < head ? c0 + i : tail + i - head;
    const Pack<T, 1> x = {{row.x[c * p.logits_strides.c]}};
    total += row_step<Loss, T, 1>(p, plan, k, row, c, x);
  }
  // Two loads stay under way: over the resident blocks that covers the memory latency.
  const T* x = row.x + c0 + head;
  cuda::Waiting<T, n> next[2] = {};
  if (lane < packs) next[0] = cuda::fetch<T, n>(x + lane * n);
  if (lane + group < packs) next[1] = cuda::fetch<T, n>(x + (lane + group) * n);
#pragma unroll 1
  for (int i = lane; i < packs; i += group) {
    const Pack<T, n> now = cuda::unpack<T, n>(next[0]);
    next[0] = next[1];
    if (i + 2 * group < packs) next[1] = cuda::fetch<T, n>(x + (i + 2 * group) * n);
    total += row_step<Loss, T, n>(p, plan, k, row, c0 + head + i * n, now);
  }
  return total;
}

template <class Loss, class T>
__global__ void __launch_bounds__(kThreads, kResident<T>)
    rows_kernel(const Problem p, const Plan plan, const Constants<Real<T>> k) {
  const double factor = gradient_factor(p, plan);
  const int groups = kThreads / plan.group;
  const int lane = threadIdx.x & (plan.group - 1);
  double loss = 0.0, weight = 0.0;
  // The trip count is the same for all threads of a block: sums over lanes need them all.
  for (int64_t first = int64_t{blockIdx.x} * groups; first < plan.items; first += int64_t{gridDim.x} * groups) {
    const int64_t item = first + threadIdx.x / plan.group;
    double value = 0.0;
    if (item < plan.items) {
      const int64_t r = plan.pieces == 1 ? item : item / plan.pieces;
      const int64_t part = item - r * plan.pieces;
      int64_t i, s;
      split_row(p, r, &i, &s);
      const RowTarget target = row_target(p, i, s);
      const double w = row_factor(target);
      Row<T> row;
      row.x = static_cast<const T*>(p.logits) + i * p.logits_strides.n + s * p.logits_strides.s;
      row.grad = p.grad == nullptr ? nullptr : static_cast<T*>(p.grad) + i * p.grad_strides.n + s * p.grad_strides.s;
      row.dense =
          p.dense == nullptr ? nullptr : static_cast<const T*>(p.dense) + i * p.dense_strides.n + s * p.dense_strides.s;
      row.hot = target.hot;
      const Terms<Real<T>>* table = row_table<Real<T>>(plan, i, s);
      row.alpha = table == nullptr ? scalar_alpha<Real<T>>(plan) : *table;
      row.scale = static_cast<Real<T>>(w * factor);
      const int c0 = static_cast<int>(part * plan.piece);
      const int c1 = p.classes - c0 < plan.piece ? static_cast<int>(p.classes) : c0 + plan.piece;
      value = row_piece<Loss, T>(p, plan, k, row, c0, c1, lane) * w;
      if (lane == 0 && part == 0) weight += target.weight;
    }
    if (p.reduction != Reduction::none) {
      loss += value;
      continue;
    }
    value = plan.group == kThreads ? cuda::block_sum<kThreads>(value) : cuda::lanes_sum(value, plan.group);
    if (lane != 0 || item >= plan.items) continue;
    if (plan.pieces == 1) {
      cuda::write(p.loss, p.loss_dtype, item, value);
    } else {
      plan.partials[item] = value;
    }
  }
  end_block(p, plan, loss, weight);
}

// One class of n neighbouring positions: stores the gradient, adds l(x, t) to sum.
template <class Loss, class T, int n>
__device__ inline void plane_step(const Problem& p, const Plan& plan, const Constants<Real<T>>& k, int c,
                                  const Pack<T, n>& x, T* grad, const T* dense, const int (&hot)[n],
                                  const Terms<Real<T>>& scalar_alpha, const Terms<Real<T>>* table,
                                  const Real<T> (&scale)[n], Real<T> (&sum)[n]) {
  Real<T> t[n];
  if (dense != nullptr) {
    const Pack<T, n> d = cuda::load<T, n>(dense + c * p.dense_strides.c);
#pragma unroll
    for (int j = 0; j < n; ++j) t[j] = cuda::to_real(d.v[j]);
  } else {
#pragma unroll
    for (int j = 0; j < n; ++j) t[j] = c == hot[j] ? k.target_value : k.negative_value;
  }
  Terms<Real<T>> alpha[n];
#pragma unroll
  for (int j = 0; j < n; ++j) alpha[j] = scalar_alpha;
  if (table != nullptr) {  // read again for every class: kept, it would take too many registers
#pragma unroll
    for (int j = 0; j < n; ++j) alpha[j] = table[c * plan.alpha_strides.c + j * plan.alpha_strides.s];
  }
  Real<T> w = 1;
  if (dense != nullptr && p.weight != nullptr) w = cuda::read<Real<T>>(p.weight, p.weight_dtype, c * p.weight_stride);
  Real<T> value[n], delta[n];
  evaluate<Loss, T, n>(plan, k, x.v, t, alpha, value, delta);
  Pack<T, n> out;
#pragma unroll
  for (int j = 0; j < n; ++j) {
    const bool ignored = hot[j] == kIgnored;  // its logits may be NaN: select, never multiply
    out.v[j] = cuda::from_real<T>(ignored ? Real<T>(0) : delta[j] * (scale[j] * w));
    sum[j] += ignored ? Real<T>(0) : value[j] * w;
  }
  if (grad != nullptr) cuda::store<T, n>(grad + c * p.grad_strides.c, out);
}

// What a block knows of its tile's positions.
template <int n>
struct Tile {
  int hot[kThreads * n];
  double factor[kThreads * n];
  double sums[n][kThreads];  // of l(x, t), per position and thread: in registers they would spill
};

// Classes c0, c0 + lanes, ... below c1 of the positions (i, s) to (i, s + n - 1), which start at `first` in the tile.
template <class Loss, class T, int n>
__device__ inline void plane_piece(const Problem& p, const Plan& plan, const Constants<Real<T>>& k, double factor,
                                   Tile<n>& tile, int first, int64_t i, int64_t s, int c0, int c1, int lanes) {
  int hot[n];
  Real<T> scale[n];
#pragma unroll
  for (int j = 0; j < n; ++j) {
    hot[j] = tile.hot[first + j];
    scale[j] = static_cast<Real<T>>(tile.factor[first + j] * factor);
  }
  const Terms<Real<T>>* table = row_table<Real<T>>(plan, i, s);
  const Terms<Real<T>> alpha = scalar_alpha<Real<T>>(plan);
  const T* x = static_cast<const T*>(p.logits) + i * p.logits_strides.n + s * p.logits_strides.s;
  T* grad = static_cast<T*>(p.grad);
  if (grad != nullptr) grad += i * p.grad_strides.n + s * p.grad_strides.s;
  const T* dense = static_cast<const T*>(p.dense);
  if (dense != nullptr) dense += i * p.dense_strides.n + s * p.dense_strides.s;
  cuda::Waiting<T, n> next[2] = {};  // two loads stay under way
  if (c0 < c1) next[0] = cuda::fetch<T, n>(x + c0 * p.logits_strides.c);
  if (c0 + lanes < c1) next[1] = cuda::fetch<T, n>(x + (c0 + lanes) * p.logits_strides.c);
#pragma unroll 1
  for (int c = c0; c < c1;) {
    const int stop = c1 - c > kFlush * lanes ? c + kFlush * lanes : c1;
    Real<T> sum[n] = {};
#pragma unroll 1
    for (; c < stop; c += lanes) {
      const Pack<T, n> now = cuda::unpack<T, n>(next[0]);
      next[0] = next[1];
      if (c + 2 * lanes < c1) next[1] = cuda::fetch<T, n>(x + (c + 2 * lanes) * p.logits_strides.c);
      plane_step<Loss, T, n>(p, plan, k, c, now, grad, dense, hot, alpha, table, scale, sum);
    }
#pragma unroll
    for (int j = 0; j < n; ++j) tile.sums[j][threadIdx.x] += sum[j];
  }
}

template <class Loss, class T, int n>
__device__ inline void planes_body(const Problem& p, const Plan& plan, const Constants<Real<T>>& k, double factor,
                                   double* loss, double* weight) {
  __shared__ Tile<n> tile;
  const int group = plan.group;
  const int lanes = kThreads / group;  // threads that share the classes of a position
  const int x = threadIdx.x & (group - 1), lane = threadIdx.x / group;
  const int64_t packs = p.inner / n, rows = p.n * packs * n;
  for (int64_t item = blockIdx.x; item < plan.items; item += gridDim.x) {
    const int64_t t = plan.pieces == 1 ? item : item / plan.pieces;
    const int64_t part = item - t * plan.pieces;
    const int64_t row0 = t * group * n;
    __syncthreads();  // the previous tile's readers are done
    for (int q = threadIdx.x; q < group * n && row0 + q < rows; q += kThreads) {
      int64_t i, s;
      split_row(p, row0 + q, &i, &s);
      const RowTarget target = row_target(p, i, s);
      tile.hot[q] = target.hot;
      tile.factor[q] = row_factor(target);
      if (part == 0) *weight += target.weight;
    }
    __syncthreads();
    const int64_t row = row0 + x * n;
    const bool inside = row < rows;
#pragma unroll
    for (int j = 0; j < n; ++j) tile.sums[j][threadIdx.x] = 0.0;
    if (inside) {
      int64_t i, s;
      split_row(p, row, &i, &s);
      const int c0 = static_cast<int>(part * plan.piece);
      const int c1 = p.classes - c0 < plan.piece ? static_cast<int>(p.classes) : c0 + plan.piece;
      plane_piece<Loss, T, n>(p, plan, k, factor, tile, x * n, i, s, c0 + lane, c1, lanes);
    }
    if (p.reduction != Reduction::none) {
      for (int j = 0; inside && j < n; ++j) *loss += tile.sums[j][threadIdx.x] * tile.factor[x * n + j];
      continue;
    }
    __syncthreads();
    if (lane != 0 || !inside) continue;
    for (int j = 0; j < n; ++j) {
      double sum = 0.0;
      for (int l = 0; l < lanes; ++l) sum += tile.sums[j][l * group + x];
      sum *= tile.factor[x * n + j];
      if (plan.pieces == 1) {
        cuda::write(p.loss, p.loss_dtype, row + j, sum);
      } else {
        plan.partials[(row + j) * plan.pieces + part] = sum;
      }
    }
  }
}

template <class Loss, class T>
__global__ void __launch_bounds__(kThreads, kResident<T>)
    planes_kernel(const Problem p, const Plan plan, const Constants<Real<T>> k) {
  const double factor = gradient_factor(p, plan);
  double loss = 0.0, weight = 0.0;
  if (plan.pack == 1) {
    planes_body<Loss, T, 1>(p, plan, k, factor, &loss, &weight);
  } else {
    planes_body<Loss, T, kPlanePack<T>>(p, plan, k, factor, &loss, &weight);
  }
  end_block(p, plan, loss, weight);
}

template <class Loss, class T>
void run_main(const char* op, const Problem& p, const Plan& plan, void* stream) {
  auto kernel = plan.planes ? planes_kernel<Loss, T> : rows_kernel<Loss, T>;
  cuda::launch(op, kernel, plan.blocks, kThreads, stream, p, plan, constants<Real<T>>(p));
}

template <class Loss>
void run_cuda(const char* op, Problem p, int device, void* stream) {
  const cuda::DeviceGuard guard(device, op);
  const Plan plan = make_plan(&p, Loss::kLogAlpha);
  prepare(op, p, plan, Loss::kLogAlpha, stream);
  switch (p.dtype) {
    case Dtype::f64:
      run_main<Loss, double>(op, p, plan, stream);
      break;
    case Dtype::f16:
      run_main<Loss, __half>(op, p, plan, stream);
      break;
    case Dtype::bf16:
      run_main<Loss, __nv_bfloat16>(op, p, plan, stream);
      break;
    default:
      run_main<Loss, float>(op, p, plan, stream);
  }
  finish(op, p, plan, stream);
}

}  // namespace effdl::ga_loss

#include <algorithm>
#include <cmath>

#include "common/ga_loss_cuda.cuh"
#include "common/simd.h"

namespace effdl::ga_loss {
namespace {

constexpr int64_t kOneBlockElements = 4096;  // a second block would need a second kernel; not tuned
constexpr int64_t kCountFirstRows = 1024;    // fewer targets are counted by every block rather than by a kernel before
constexpr int64_t kEnoughItems = 1024;       // meant to fill a GPU; not tuned
constexpr int64_t kMinPiece = 2048, kMaxPiece = 8192;
constexpr int64_t kMaxPartials = 2 * kMaxBlocks;
static_assert((kMaxPartials + kMaxPrepareBlocks) * sizeof(double) <= kWorkspaceBytes);

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
int64_t power_up(int64_t v, int64_t limit) {
  int64_t p = 1;
  while (p < v && p < limit) p *= 2;
  return p;
}

// Samples in memory order next to each other, but not their classes: the samples become the positions.
void lay_out(Problem* p) {
  if (p->inner != 1 || p->classes == 1 || p->logits_strides.c <= p->logits_strides.n) return;
  std::swap(p->n, p->inner);
  for (Strides* s : {&p->logits_strides, &p->grad_strides, &p->target_strides, &p->dense_strides, &p->alpha.strides}) {
    std::swap(s->n, s->s);
  }
}

// Whether rows of `pack` elements along the positions start at a multiple of the pack's size in every tensor.
bool planes_aligned(const Problem& p, int pack) {
  auto aligned = [&](const void* data, const Strides& s) {
    if (data == nullptr) return true;
    const int64_t bytes = pack * dtype_size(p.dtype);
    return s.s == 1 && (p.n == 1 || s.n % pack == 0) && (p.classes == 1 || s.c % pack == 0) &&
           reinterpret_cast<uintptr_t>(data) % static_cast<uintptr_t>(bytes) == 0;
  };
  return p.inner % pack == 0 && aligned(p.logits, p.logits_strides) && aligned(p.grad, p.grad_strides) &&
         aligned(p.dense, p.dense_strides);
}

bool classes_contiguous(const Problem& p) {
  return p.logits_strides.c == 1 && (p.grad == nullptr || p.grad_strides.c == 1) &&
         (p.dense == nullptr || p.dense_strides.c == 1);
}

void plan_planes(const Problem& p, Plan* plan) {
  const int pack = dtype_size(p.dtype) == 8 ? kPlanePack<double> : kPlanePack<float>;
  plan->pack = planes_aligned(p, pack) ? pack : 1;
  const int64_t packs = p.inner / plan->pack;
  // Many positions: a thread takes all classes of its own. Few: threads share the classes, at least two each.
  const bool share = p.n * packs < kEnoughItems * kThreads || packs < kThreads;
  const int64_t side = share ? power_up(packs, cuda::kWarp) : kThreads;
  const int64_t sharers = std::min(kThreads / side, power_up(ceil_div(p.classes, 4), kThreads));
  plan->group = static_cast<int>(kThreads / sharers);
  const int64_t tiles = ceil_div(p.n * packs, plan->group);
  plan->piece = static_cast<int>(p.classes);
  if (tiles > 0 && tiles < kEnoughItems && p.n * p.inner * p.classes > kOneBlockElements) {
    int64_t pieces = std::min(ceil_div(kEnoughItems, tiles), ceil_div(p.classes, 4 * sharers));
    if (p.reduction == Reduction::none) pieces = std::min(pieces, kMaxPartials / (p.n * p.inner));
    plan->piece = static_cast<int>(ceil_div(p.classes, std::max<int64_t>(pieces, 1)));
  }
  plan->pieces = ceil_div(p.classes, plan->piece);
  plan->items = tiles * plan->pieces;
  plan->blocks = static_cast<int>(std::min<int64_t>(plan->items, kMaxBlocks));
}

void plan_rows(const Problem& p, Plan* plan) {
  const int pack = static_cast<int>(16 / dtype_size(p.dtype));
  const int64_t rows = p.n * p.inner;
  // Very short rows have too little between their first and last 16-byte boundary.
  plan->pack = classes_contiguous(p) && p.classes >= 4 * pack ? pack : 1;
  const int64_t accesses = p.classes / plan->pack;
  const bool whole_block = accesses >= kThreads || (accesses >= kThreads / 2 && rows < kMaxBlocks);
  plan->group = whole_block ? kThreads : static_cast<int>(power_up((accesses + 2) / 3, cuda::kWarp));
  int64_t piece = p.classes;
  if (whole_block && rows > 0) {
    piece = kMaxPiece;
    while (piece > kMinPiece && rows * ceil_div(p.classes, piece) < kEnoughItems) piece /= 2;
    if (p.reduction == Reduction::none) {
      const int64_t most = rows < kEnoughItems ? kMaxPartials / rows : 1;
      piece = std::max(piece, ceil_div(ceil_div(p.classes, most), kMinPiece) * kMinPiece);
    }
    piece = std::min(piece, p.classes);
  }
  plan->piece = static_cast<int>(piece);
  plan->pieces = ceil_div(p.classes, piece);
  plan->items = rows * plan->pieces;
  plan->blocks = static_cast<int>(std::min<int64_t>(ceil_div(plan->items, kThreads / plan->group), kMaxBlocks));
}

void plan_alpha(const Problem& p, bool log_alpha, Plan* plan) {
  const Coefficient& a = p.alpha;
  plan->alpha = log_alpha ? std::log(a.scalar) : a.scalar;
  plan->alpha_entries = 0;
  plan->alpha_strides = {};
  if (a.data == nullptr || p.n * p.inner == 0) return;
  plan->alpha_entries = 1;
  if (a.strides.c != 0) {
    plan->alpha_entries = p.classes;
    plan->alpha_strides.c = 1;
    return;
  }
  if (a.strides.s != 0) {
    plan->alpha_strides.s = 1;
    plan->alpha_entries = p.inner;
  }
  if (a.strides.n != 0) {
    plan->alpha_strides.n = plan->alpha_entries;
    plan->alpha_entries *= p.n;
  }
}

template <class Real>
__global__ void __launch_bounds__(kThreads) prepare_kernel(const Problem p, const Plan plan, bool log_alpha) {
  const int64_t first = int64_t{blockIdx.x} * kThreads + threadIdx.x, step = int64_t{gridDim.x} * kThreads;
  for (int64_t e = first; e < plan.alpha_entries; e += step) {
    // At most one of the table's outer and inner axis is longer than its stride says.
    const int64_t i = plan.alpha_strides.n == 0 ? 0 : e / plan.alpha_strides.n;
    const int64_t rest = e - i * plan.alpha_strides.n;
    const int64_t offset =
        i * p.alpha.strides.n + rest * (plan.alpha_strides.c != 0 ? p.alpha.strides.c : p.alpha.strides.s);
    double value = cuda::read<double>(p.alpha.data, p.alpha.dtype, offset);
    if (!(value > 0.0) || isinf(value)) value = nan("");
    if (log_alpha) value = log(value);
    const Real hi = static_cast<Real>(value);
    static_cast<Terms<Real>*>(plan.table)[e] = {hi, static_cast<Real>(value - static_cast<double>(hi))};
  }
  if (plan.count_first) {
    const double sum = cuda::block_sum<kThreads>(weight_share(p, first, step));
    if (threadIdx.x == 0) plan.counts[blockIdx.x] = sum;
  }
}

// One block: adds up what the blocks of the main kernel left.
__global__ void __launch_bounds__(kThreads) finish_kernel(const Problem p, const Plan plan) {
  if (p.reduction == Reduction::none) {
    for (int64_t row = threadIdx.x; row < p.n * p.inner; row += kThreads) {
      double sum = 0.0;
      for (int64_t k = 0; k < plan.pieces; ++k) sum += plan.partials[row * plan.pieces + k];
      cuda::write(p.loss, p.loss_dtype, row, sum);
    }
    return;
  }
  double loss = 0.0, weight = 0.0;
  for (int b = threadIdx.x; b < plan.blocks; b += kThreads) {
    loss += plan.partials[2 * b];
    weight += plan.partials[2 * b + 1];
  }
  loss = cuda::block_sum<kThreads>(loss);
  weight = cuda::block_sum<kThreads>(weight);
  if (threadIdx.x == 0) write_reduced(p, loss, weight);
}

}  // namespace

Plan make_plan(Problem* p, bool log_alpha) {
  lay_out(p);
  const int64_t rows = p->n * p->inner;
  Plan plan = {};
  plan.planes = p->inner > 1 && p->logits_strides.s < p->logits_strides.c;
  plan.planes ? plan_planes(*p, &plan) : plan_rows(*p, &plan);
  if (plan.blocks == 0 || (p->reduction != Reduction::none && rows * p->classes <= kOneBlockElements)) plan.blocks = 1;
  plan_alpha(*p, log_alpha, &plan);
  plan.plain = log_alpha && p->dense == nullptr && !p->has_clamp && plan.alpha_entries == 0 && plan.alpha == 0.0;
  plan.count_first = p->target != nullptr && rows > kCountFirstRows && p->grad != nullptr &&
                     p->reduction == Reduction::mean && p->deferred_norm == nullptr;
  const int64_t work = std::max(plan.alpha_entries, plan.count_first ? rows : 0);
  plan.prepare_blocks = static_cast<int>(std::min<int64_t>(ceil_div(work, kThreads), kMaxPrepareBlocks));
  plan.partials = static_cast<double*>(p->workspace);
  plan.counts = plan.partials + kMaxPartials;
  plan.table = static_cast<char*>(p->workspace) + kWorkspaceBytes;
  return plan;
}

int64_t workspace_bytes(const Problem& problem) {
  Problem p = problem;
  const Plan plan = make_plan(&p, false);
  return kWorkspaceBytes + plan.alpha_entries * 2 * (p.dtype == Dtype::f64 ? 8 : 4);
}

void prepare(const char* op, const Problem& p, const Plan& plan, bool log_alpha, void* stream) {
  record_kernel(op, "cuda");
  if (plan.prepare_blocks == 0) return;
  auto kernel = p.dtype == Dtype::f64 ? prepare_kernel<double> : prepare_kernel<float>;
  cuda::launch(op, kernel, plan.prepare_blocks, kThreads, stream, p, plan, log_alpha);
}

void finish(const char* op, const Problem& p, const Plan& plan, void* stream) {
  const bool needed = p.reduction == Reduction::none ? plan.pieces > 1 : plan.blocks > 1;
  if (needed) cuda::launch(op, finish_kernel, 1, kThreads, stream, p, plan);
}

}  // namespace effdl::ga_loss

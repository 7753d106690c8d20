// How a GA loss is cut into CUDA blocks: what the planner (ga_loss_cuda.cu) and the kernels (ga_loss_cuda.cuh) share.
#pragma once
#include <cmath>

#include "common/cuda_utils.cuh"
#include "common/ga_loss_cpu.h"
#include "common/ga_loss_cuda.h"

namespace effdl::ga_loss {

using cuda::Pack;
using cuda::Real;

constexpr int kThreads = 256;
constexpr int kMaxBlocks = 2048;        // items beyond that are looped over; not tuned
constexpr int kMaxPrepareBlocks = 256;  // each block of the main kernel adds these up with one load per thread
// Blocks per multiprocessor that the registers are made to suffice for.
template <class T>
constexpr int kResident = sizeof(T) == 8 ? 2 : 3;
constexpr int kFlush = 8;           // classes summed in float before they go to double
constexpr int32_t kBadTarget = -3;  // beside kNoPositive and kIgnored

template <class T>
constexpr int kRowPack = 16 / static_cast<int>(sizeof(T));
// Planes keep several values per position in registers: more than 4 positions would spill. A warp of doubles fills its
// memory transactions one by one.
template <class T>
constexpr int kPlanePack = sizeof(T) == 8 ? 1 : 4;

// A coefficient as the kernels take it, see AlphaTerms.
template <class Real>
struct alignas(2 * sizeof(Real)) Terms {
  Real hi, lo;
};

// How a problem is cut into blocks, and where the workspace's parts are.
struct Plan {
  bool planes;
  int pack;               // elements per access: 1, kRowPack or kPlanePack
  int group;              // rows: threads per row; planes: threads side by side along the positions
  int64_t pieces;         // parts a row's classes are cut into,
  int piece;              // of this many classes
  int64_t items;          // rows: row pieces; planes: (tile of positions) pieces
  int blocks;             // of the main kernel
  bool count_first;       // prepare sums the weights; else every block of the main kernel does so for itself
  int prepare_blocks;     // 0: not needed
  double alpha;           // scalar alpha, or its logarithm
  int64_t alpha_entries;  // of the table; 0: scalar
  Strides alpha_strides;  // into the table
  bool plain;             // class indices, no clamp, alpha the number 1: Loss::plain
  double* partials;       // (loss, weight) per block; for Reduction::none with pieces > 1 a loss per row piece
  double* counts;         // weight per block of prepare
  void* table;            // Terms per distinct alpha
};

// Also brings the problem into the layout that the plan is for.
Plan make_plan(Problem* problem, bool log_alpha);
void prepare(const char* op, const Problem& problem, const Plan& plan, bool log_alpha, void* stream);
void finish(const char* op, const Problem& problem, const Plan& plan, void* stream);

}  // namespace effdl::ga_loss

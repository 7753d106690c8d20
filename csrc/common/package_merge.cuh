// Code lengths by one block of kBlock: the counterpart of huffman_lengths_cpu (docs/format.md, "Lengths").
//
// It knows package-merge only, which is parallel: where a plain Huffman code keeps the limit, package-merge with the
// same preference for leaves takes the same packages. The list of level L agrees with the order in which Huffman's two
// queues are emptied up to the first item that is higher than L, and no more than that is looked at.
#pragma once
#include "common/huffman_cuda.cuh"

namespace effdl::cuda {

constexpr int kSharedSymbols = 1024;  // up to so many are sorted and merged in shared memory

// All arrays have room for `capacity`, a power of two, list for twice that.
struct MergeSpace {
  int capacity;
  int64_t *leaves, *packages, *list;
  int32_t* index;
  int32_t* before;  // kLongest of `capacity`: packages before a leaf at each level

  MergeSpace(int64_t bins, Workspace* space) {
    capacity = 1;
    while (capacity < bins) capacity *= 2;
    const int64_t own = capacity > kSharedSymbols ? capacity : 0;
    leaves = space->take<int64_t>(own);
    packages = space->take<int64_t>(own);
    list = space->take<int64_t>(2 * own);
    index = space->take<int32_t>(own);
    before = space->take<int32_t>(int64_t{kLongest} * capacity);
  }
  // The same in shared memory, where that is enough.
  __device__ MergeSpace in_shared(int bins) const {
    __shared__ int64_t leaves_[kSharedSymbols], packages_[kSharedSymbols], list_[2 * kSharedSymbols];
    __shared__ int32_t index_[kSharedSymbols];
    MergeSpace s = *this;
    s.capacity = 1;
    while (s.capacity < bins) s.capacity *= 2;
    if (s.capacity <= kSharedSymbols) {
      s.leaves = leaves_;
      s.packages = packages_;
      s.list = list_;
      s.index = index_;
    }
    return s;
  }
};

// Sorts the used symbols by count, rising or falling, then by index, into s.leaves and s.index; returns how many they
// are.
__device__ inline int sort_symbols(const int64_t* counts, int bins, bool falling, const MergeSpace& s) {
  // Falling counts are sorted as rising negative ones. Unused symbols go to the end.
  int used = 0;
  for (int i = threadIdx.x; i < s.capacity; i += kBlock) {
    const int64_t count = i < bins ? counts[i] : 0;
    used += count != 0;
    s.leaves[i] = count == 0 ? INT64_MAX : falling ? -count : count;
    s.index[i] = i;
  }
  used = block_total(used);
  // Bitonic: compares and exchanges over `distance` inside of groups of `size` that alternately rise and fall.
  for (int size = 2; size <= s.capacity; size *= 2) {
    for (int distance = size / 2; distance > 0; distance /= 2) {
      __syncthreads();
      for (int t = threadIdx.x; t < s.capacity / 2; t += kBlock) {
        const int i = 2 * t - (t & (distance - 1)), j = i + distance;
        const int64_t a = s.leaves[i], b = s.leaves[j];
        const int32_t at_a = s.index[i], at_b = s.index[j];
        const bool after = a > b || (a == b && at_a > at_b);
        if (after == ((i & size) == 0)) {
          s.leaves[i] = b;
          s.leaves[j] = a;
          s.index[i] = at_b;
          s.index[j] = at_a;
        }
      }
    }
  }
  __syncthreads();
  return used;
}

// How many of n sorted values are below v, or not above it.
__device__ inline int count_below(const int64_t* values, int n, int64_t v, bool or_equal) {
  int low = 0, high = n;
  while (low < high) {
    const int middle = (low + high) / 2;
    const bool below = or_equal ? values[middle] <= v : values[middle] < v;
    low = below ? middle + 1 : low;
    high = below ? high : middle;
  }
  return low;
}

// counts: `bins` of them, >= 0, of which at most 2^limit are not 0, with a sum of at most kMaxCountSum. lengths:
// `bins`.
__device__ inline void package_merge(const int64_t* counts, int bins, int limit, uint8_t* lengths,
                                     const MergeSpace& space) {
  __shared__ int taken[kLongest];
  const MergeSpace s = space.in_shared(bins);
  const int n = sort_symbols(counts, bins, false, s);
  for (int i = threadIdx.x; i < bins; i += kBlock) lengths[i] = 0;
  __syncthreads();
  if (n < 2) {
    if (n == 1 && threadIdx.x == 0) lengths[s.index[0]] = 1;
    __syncthreads();
    return;
  }
  // Each level's list holds the leaves, and the packages of two neighbours of the level before: an item's place is its
  // rank among its own kind and the number of the others before it.
  const int wanted = 2 * n - 2;
  int packages = 0;
  for (int level = 0; level < limit; ++level) {
    int32_t* before = s.before + level * n;
    for (int i = threadIdx.x; i < n; i += kBlock) {
      before[i] = count_below(s.packages, packages, s.leaves[i], false);
      if (i + before[i] < wanted) s.list[i + before[i]] = s.leaves[i];
    }
    for (int i = threadIdx.x; i < packages; i += kBlock) {
      const int place = i + count_below(s.leaves, n, s.packages[i], true);
      if (place < wanted) s.list[place] = s.packages[i];
    }
    __syncthreads();
    packages = least(wanted, n + packages) / 2;
    for (int i = threadIdx.x; i < packages; i += kBlock) s.packages[i] = s.list[2 * i] + s.list[2 * i + 1];
    __syncthreads();
  }
  // The first `wanted` items of the last level are the solution; its packages say how many items of the level below
  // are. A leaf's code is as long as it is often among them.
  int items = wanted;
  for (int level = limit - 1; level >= 0; --level) {
    const int32_t* before = s.before + level * n;
    int leaves = 0;
    for (int i = threadIdx.x; i < n; i += kBlock) leaves += i + before[i] < items;
    leaves = block_total(leaves);
    if (threadIdx.x == 0) taken[level] = leaves;
    items = 2 * (items - leaves);
  }
  __syncthreads();
  for (int i = threadIdx.x; i < n; i += kBlock) {
    int length = 0;
    for (int level = 0; level < limit; ++level) length += i < taken[level];
    lengths[s.index[i]] = static_cast<uint8_t>(length);
  }
  __syncthreads();
}

}  // namespace effdl::cuda

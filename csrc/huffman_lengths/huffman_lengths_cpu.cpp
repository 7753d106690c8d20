#include <algorithm>
#include <vector>

#include "common/simd.h"
#include "huffman_lengths/huffman_lengths.h"

namespace effdl {
namespace {

struct Symbol {
  int64_t count;
  int32_t index;
};

// Used symbols by count, then by index: a stable radix sort by the bytes of the counts.
std::vector<Symbol> sorted_symbols(const int64_t* counts, int64_t bins) {
  std::vector<Symbol> symbols;
  symbols.reserve(static_cast<size_t>(bins));
  int64_t largest = 0;
  for (int64_t s = 0; s < bins; ++s) {
    if (counts[s] != 0) symbols.push_back({counts[s], static_cast<int32_t>(s)});
    largest = std::max(largest, counts[s]);
  }
  std::vector<Symbol> other(symbols.size());
  for (int shift = 0; shift < 64 && largest >> shift != 0; shift += 8) {
    int32_t start[257] = {0};
    for (const Symbol& s : symbols) ++start[((s.count >> shift) & 255) + 1];
    for (int b = 0; b < 256; ++b) start[b + 1] += start[b];
    for (const Symbol& s : symbols) other[static_cast<size_t>(start[(s.count >> shift) & 255]++)] = s;
    symbols.swap(other);
  }
  return symbols;
}

// How many codes have each length in a plain Huffman code; false if one is longer than the limit.
bool huffman(const std::vector<Symbol>& symbols, int limit, int32_t* codes_of_length) {
  const size_t n = symbols.size();
  std::vector<int64_t> weight(n - 1);  // of packages, which are made in rising order
  std::vector<int32_t> parent(n - 1), leaves(n - 1);
  size_t leaf = 0, package = 0;
  for (size_t made = 0; made + 1 < n; ++made) {
    weight[made] = 0;
    leaves[made] = 0;
    for (int half = 0; half < 2; ++half) {
      if (leaf < n && (package >= made || symbols[leaf].count <= weight[package])) {
        weight[made] += symbols[leaf++].count;
        ++leaves[made];
      } else {
        weight[made] += weight[package];
        parent[package++] = static_cast<int32_t>(made);
      }
    }
  }
  std::vector<int32_t> depth(n - 1);
  depth[n - 2] = 0;
  for (size_t i = n - 1; i-- > 0;) {
    if (i != n - 2) depth[i] = depth[static_cast<size_t>(parent[i])] + 1;
    if (leaves[i] != 0 && depth[i] + 1 > limit) return false;
    codes_of_length[std::min(depth[i] + 1, limit)] += leaves[i];
  }
  return true;
}

// The same by package-merge (Larmore and Hirschberg 1990), which is optimal under the limit. Level 1 is the list of
// leaves; each further level merges the leaves with the packages of two neighbours of the level before.
void package_merge(const std::vector<Symbol>& symbols, int limit, int32_t* codes_of_length) {
  const size_t n = symbols.size(), wanted = 2 * n - 2;
  std::vector<uint8_t> is_leaf(static_cast<size_t>(limit) * wanted);
  std::vector<int64_t> list(wanted), previous(wanted);
  size_t length = 0;
  for (int level = 0; level < limit; ++level) {
    const size_t packages = length / 2;
    previous.swap(list);
    uint8_t* flags = is_leaf.data() + static_cast<size_t>(level) * wanted;
    size_t leaf = 0, package = 0;
    for (length = 0; length < wanted && (leaf < n || package < packages); ++length) {
      const int64_t weight = package < packages ? previous[2 * package] + previous[2 * package + 1] : 0;
      const bool take = package >= packages || (leaf < n && symbols[leaf].count <= weight);
      flags[length] = take;
      list[length] = take ? symbols[leaf].count : weight;
      leaf += take;
      package += !take;
    }
  }
  // The first 2n - 2 items of the last level are the solution; its packages say how many items of the level below are.
  // A leaf's code is as long as it is often among them, and every level takes the lightest.
  std::vector<int32_t> taken(static_cast<size_t>(limit) + 1);
  size_t items = wanted;
  for (int level = limit - 1; level >= 0; --level) {
    const uint8_t* flags = is_leaf.data() + static_cast<size_t>(level) * wanted;
    const size_t leaves = static_cast<size_t>(std::count(flags, flags + items, 1));
    taken[static_cast<size_t>(limit - 1 - level)] = static_cast<int32_t>(leaves);
    items = 2 * (items - leaves);
  }
  // taken falls from n: `taken[l - 1] - taken[l]` leaves are among the items of exactly l levels.
  for (int l = 1; l <= limit; ++l) {
    codes_of_length[l] = taken[static_cast<size_t>(l - 1)] - (l < limit ? taken[static_cast<size_t>(l)] : 0);
  }
}

}  // namespace

void huffman_lengths_cpu(const int64_t* counts, int64_t bins, int max_length, uint8_t* lengths) {
  record_kernel("huffman_lengths", "scalar");
  std::fill(lengths, lengths + bins, uint8_t{0});
  const std::vector<Symbol> symbols = sorted_symbols(counts, bins);
  if (symbols.empty()) return;
  if (symbols.size() == 1) {
    lengths[symbols[0].index] = 1;
    return;
  }
  int32_t codes_of_length[17] = {0};
  if (!huffman(symbols, max_length, codes_of_length)) {
    std::fill(codes_of_length, codes_of_length + 17, 0);
    package_merge(symbols, max_length, codes_of_length);
  }
  size_t next = 0;
  for (int l = max_length; l > 0; --l) {
    for (int32_t i = 0; i < codes_of_length[l]; ++i) lengths[symbols[next++].index] = static_cast<uint8_t>(l);
  }
}

}  // namespace effdl

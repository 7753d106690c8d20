#include "common/entropy_cuda.cuh"
#include "common/lanes_cuda.cuh"
#include "common/rans_cuda.cuh"
#include "common/simd.h"
#include "common/weights_record_check.h"
#include "compress_weights/compress_weights.h"
#include "pack_bits/pack_bits.h"
#include "quantize/quantize.h"

namespace effdl {
namespace {

using namespace cuda;
using record::Header;

constexpr int kFailed = -1;  // beside record::Codec
constexpr int64_t kMostBins = 1 << 16;

// What is decided on the device.
struct Outcome {
  int codec;  // record::Codec or kFailed
  int bits;
  int64_t codebook_bytes;
};

struct Space {
  double* range;  // of x's kind
  char* min_max;
  double* entropy;
  int64_t* counts;  // of the sample, then of all codes
  Outcome* outcome;
  uint8_t* lengths;
  uint32_t *frequency, *list, *table;
  int most_bits;
  MergeSpace merge;
  ChunkScratch scratch;  // its words are the codes first
  int64_t bytes;
  Space(int64_t n, int bits, Workspace memory)
      : range(memory.take<double>(2)),
        min_max(memory.take<char>(min_max_workspace_bytes())),
        entropy(memory.take<double>(1)),
        counts(memory.take<int64_t>(kMostBins)),
        outcome(memory.take<Outcome>(1)),
        lengths(memory.take<uint8_t>(1 << bits)),
        frequency(memory.take<uint32_t>(1 << bits)),
        list(memory.take<uint32_t>(1 << bits)),
        table(memory.take<uint32_t>(1 << bits)),
        most_bits(bits),
        merge(1 << bits, &memory),
        scratch(n, &memory),
        bytes(memory.bytes()) {}
};

// As far as range and entropy decide: record::kAuto if the sizes are to be compared, with the quantizer.
struct FirstChoice {
  int codec;
  Quantizer q;
};
__device__ inline FirstChoice first_choice(const CompressPlan& plan, const Space& space) {
  FirstChoice choice{record::kRaw, {}};
  if (plan.n == 0 || (plan.codec == record::kRaw && plan.keep_nonfinite)) return choice;
  const bool is_double = plan.dtype == Dtype::f64;
  const double lo = is_double ? space.range[0] : reinterpret_cast<const float*>(space.range)[0];
  const double hi = is_double ? space.range[1] : reinterpret_cast<const float*>(space.range)[1];
  if (isnan(lo)) choice.codec = plan.keep_nonfinite ? record::kRaw : kFailed;
  if (isnan(lo) || plan.codec == record::kRaw) return choice;
  choice.q.lo = lo;
  if (lo == hi) {
    choice.codec = record::kConstant;
    return choice;
  }
  int bits = plan.bits;
  if (bits == 0) {
    if (!portable::quantizable(lo, hi, plan.entropy_bits, plan.dtype)) return choice;
    bits = least(bits_for_entropy(*space.entropy, plan.floor), space.most_bits);
  }
  if (read_quantizer(space.range, is_double, bits, &choice.q)) choice.codec = record::kAuto;
  return choice;
}

template <class T>
__global__ void __launch_bounds__(kThreads) quantize_count_kernel(const CompressPlan plan, const Space space) {
  __shared__ uint32_t tables[kSharedBins];
  const FirstChoice first = first_choice(plan, space);
  if (first.codec != record::kAuto) return;
  const BlockCounts block(tables, 1 << first.q.bits, space.counts);
  quantize_all(static_cast<const T*>(plan.x), plan.n, first.q, space.scratch.words,
               [&](uint32_t code) { block.add(code); });
  block.flush();
}

__device__ inline int64_t huffman_bits(const int64_t* counts, const uint8_t* lengths, int bins) {
  int64_t bits = 0;
  for (int i = threadIdx.x; i < bins; i += kBlock) bits += counts[i] * lengths[i];
  return block_total(bits);
}

__device__ inline int bit_width(int v) {
  int width = 0;
  while (v >> width != 0) ++width;
  return width;
}

__device__ inline int64_t padded(int64_t bytes) { return (bytes + 3) / 4 * 4; }

// One block: chooses the codec and writes header and codebook, by docs/format.md, "Choice".
__global__ void __launch_bounds__(kBlock, 1) codebook_kernel(const CompressPlan plan, const Space space, uint8_t* out) {
  __shared__ Canonical canonical;
  const FirstChoice first = first_choice(plan, space);
  const int bits = first.q.bits, bins = 1 << bits;
  const int64_t raw = static_cast<int64_t>(sizeof(Header)) + plan.n * dtype_size(plan.dtype);
  int codec = first.codec, width = 0;
  int64_t codebook_bytes = 0;
  if (first.codec == record::kAuto) {
    const bool wish_huffman = plan.codec == record::kHuffman || plan.codec == record::kAuto;
    const bool wish_rans = plan.codec == record::kRans || plan.codec == record::kAuto;
    int64_t size = static_cast<int64_t>(sizeof(Header)) + packed_bytes(plan.n, bits), coded = INT64_MAX;
    int coder = record::kFixed;
    if (wish_huffman) {
      package_merge(space.counts, bins, least(16, bits + 4), space.lengths, space.merge);
      make_canonical(space.lengths, bins, &canonical);
      width = bit_width(canonical.longest - canonical.shortest + 1);
      codebook_bytes = padded(packed_bytes(bins, width));
      coded = record::stream_estimate(plan.n, codebook_bytes, huffman_bits(space.counts, space.lengths, bins));
      coder = record::kHuffman;
    }
    if (wish_rans) {
      const int used = rans_frequencies(space.counts, bins, plan.n, space.merge, space.frequency);
      if (used <= kRansTotal) {
        const int64_t book = rans_codebook_bytes(bins, used);
        const int64_t rival = record::stream_estimate(plan.n, book, rans_bits(space.counts, space.frequency, bins));
        if (coder == record::kFixed || rival <= coded - coded / 50) {
          coded = rival;
          coder = record::kRans;
          codebook_bytes = book;
        }
      }
    }
    codec = record::kFixed;
    if (coded < size) {
      codec = coder;
      size = coded;
    }
    if (raw <= size) codec = record::kRaw;
  }
  if (codec != record::kHuffman && codec != record::kRans) codebook_bytes = 0;

  uint8_t* codebook = out + sizeof(Header);
  if (codec == record::kHuffman) {
    make_encode_table(space.lengths, bins, canonical, space.table);
    const auto stored = [&](int64_t i) -> uint32_t {
      return space.lengths[i] == 0 ? 0 : space.lengths[i] - static_cast<uint32_t>(canonical.shortest) + 1;
    };
    for (int k = threadIdx.x; 4 * k < codebook_bytes; k += kBlock) {
      reinterpret_cast<uint32_t*>(codebook)[k] = packed_word(k, bins, width, stored);
    }
  } else if (codec == record::kRans) {
    write_rans_codebook(space.frequency, bins, space.list, space.table, codebook);
  }
  if (threadIdx.x != 0) return;
  *space.outcome = {codec, bits, codebook_bytes};
  *space.scratch.bad = 0;
  Header header = {};
  if (codec != kFailed) {
    const bool quantized = codec >= record::kFixed, stream = codec >= record::kHuffman;
    header = record::make_header(static_cast<record::Codec>(codec), plan.dtype, quantized ? bits : 0, plan.n, 0.0, 0.0);
    if (codec != record::kRaw) {
      const bool is_double = plan.dtype == Dtype::f64;
      header.lo = first.q.lo;
      header.hi = is_double ? space.range[1] : reinterpret_cast<const float*>(space.range)[1];
    }
    if (stream) header.chunk_log2 = lanes::kChunkLog2;
    if (codec == record::kHuffman) {
      header.smallest_length = static_cast<uint8_t>(canonical.shortest);
      header.length_width = static_cast<uint8_t>(width);
    }
    header.codebook_bytes = static_cast<uint32_t>(codebook_bytes);
    if (codec == record::kRaw) header.payload_bytes = static_cast<uint64_t>(plan.n * dtype_size(plan.dtype));
    if (codec == record::kFixed) header.payload_bytes = static_cast<uint64_t>(packed_bytes(plan.n, bits));
  }
  *reinterpret_cast<Header*>(out) = header;
}

__global__ void __launch_bounds__(kMaxChunkWarps* kWarp) encode_kernel(int64_t n, const Space space) {
  __shared__ uint32_t shared[kSharedCodes];
  const Outcome outcome = *space.outcome;
  if (outcome.codec != record::kHuffman && outcome.codec != record::kRans) return;
  const int bins = 1 << outcome.bits;
  const uint32_t* table = nearest_table(space.table, bins, shared);
  const uint16_t* codes = space.scratch.words;
  if (outcome.codec == record::kHuffman) {
    for_each_chunk(n, [&](int64_t c) { encode_chunk(codes, n, c, bins, HuffmanEncoder{table}, space.scratch); });
  } else {
    for_each_chunk(n, [&](int64_t c) { encode_chunk(codes, n, c, bins, RansEncoder{table}, space.scratch); });
  }
}

// One block: the directory, and the payload's size.
__global__ void __launch_bounds__(kBlock, 1) directory_kernel(int64_t n, const Space space, uint8_t* out) {
  const Outcome outcome = *space.outcome;
  if (outcome.codec != record::kHuffman && outcome.codec != record::kRans) return;
  auto* directory = reinterpret_cast<int32_t*>(out + sizeof(Header) + outcome.codebook_bytes);
  const int64_t bytes = place_chunks(n, space.scratch, directory);
  if (threadIdx.x == 0) reinterpret_cast<Header*>(out)->payload_bytes = static_cast<uint64_t>(bytes);
}

__global__ void __launch_bounds__(kThreads) payload_kernel(const CompressPlan plan, const Space space, uint8_t* out) {
  const Outcome outcome = *space.outcome;
  const uint16_t* codes = space.scratch.words;
  uint8_t* payload = out + sizeof(Header);
  if (outcome.codec == record::kRaw) {
    copy_words(static_cast<const uint8_t*>(plan.x), plan.n * dtype_size(plan.dtype) / 2,
               reinterpret_cast<uint16_t*>(payload));
  } else if (outcome.codec == record::kFixed) {
    pack_all(plan.n, outcome.bits, payload, [&](int64_t i) { return static_cast<uint32_t>(codes[i]); });
  } else if (outcome.codec == record::kHuffman || outcome.codec == record::kRans) {
    gather_chunks(plan.n, space.scratch, payload + outcome.codebook_bytes + 4 * lanes::chunk_count(plan.n));
  }
}

}  // namespace

int64_t compress_weights_workspace_bytes(int64_t n, int64_t, int max_bits) {
  return Space(n, max_bits, Workspace(nullptr)).bytes;
}

void compress_weights_cuda(const CompressPlan& plan, uint8_t* out, void* workspace, int device, void* stream) {
  const char* op = "compress_weights";
  const DeviceGuard guard(device, op);
  const Space space(plan.n, max_bits(plan), Workspace(workspace));
  const bool raw = plan.codec == record::kRaw, looked_at = plan.n > 0 && !(raw && plan.keep_nonfinite);
  if (looked_at) min_max_cuda(plan.x, plan.dtype, plan.n, space.range, space.min_max, device, stream);
  const bool coded = plan.n > 0 && !raw;
  if (coded) {
    if (plan.bits == 0) {
      entropy_of_range_cuda(plan.x, plan.dtype, plan.sample, plan.entropy_bits, space.range, space.entropy,
                            space.counts, device, stream);
    }
    clear(space.counts, int64_t{8} << space.most_bits, stream, op);
    const int blocks = pass_blocks(plan.n, 8, device, op);
    with_type(plan.dtype, [&](auto* type) {
      launch(op, quantize_count_kernel<std::remove_pointer_t<decltype(type)>>, blocks, kThreads, stream, plan, space);
    });
  }
  launch(op, codebook_kernel, 1, kBlock, stream, plan, space, out);
  if (coded) {
    const ChunkLaunch chunks(plan.n, device, op);
    launch(op, encode_kernel, chunks.blocks, chunks.threads, stream, plan.n, space);
    launch(op, directory_kernel, 1, kBlock, stream, plan.n, space, out);
  }
  if (plan.n > 0) launch(op, payload_kernel, pass_blocks(plan.n, 16, device, op), kThreads, stream, plan, space, out);
  record_kernel(op, "cuda");
}

}  // namespace effdl

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <vector>

#include "common/exact_floats.h"
#include "common/huffman_code.h"
#include "common/lane_stream.h"
#include "common/parallel.h"
#include "common/rans.h"
#include "common/simd.h"
#include "common/weights_record_check.h"
#include "compress_weights/compress_weights.h"
#include "histogram/histogram.h"
#include "huffman_encode/huffman_encode.h"
#include "huffman_lengths/huffman_lengths.h"
#include "pack_bits/pack_bits.h"
#include "quantize/quantize.h"

namespace effdl {
namespace {

using record::Header;

constexpr int64_t kChanged = -2;
constexpr int64_t kFixedGrain = 32;                  // tiles that are worth a thread
constexpr int kRansLongest = record::kRansBits + 1;  // a symbol's bits, and what rounding may add

// What the entropy coders know before they write: sizes are compared by docs/format.md, "Choice".
struct Codebook {
  record::Codec codec = record::kFixed;
  int64_t estimate = 0;          // bytes of the record
  std::vector<uint8_t> lengths;  // huffman: of each code, then packed
  int smallest = 0, longest = 0, width = 0;
  std::vector<uint32_t> frequency;  // rans
  std::vector<uint8_t> bytes;
};

Codebook huffman_codebook(const std::vector<int64_t>& counts, int bits, int64_t n) {
  const int64_t bins = static_cast<int64_t>(counts.size());
  Codebook book;
  book.codec = record::kHuffman;
  book.lengths.resize(counts.size());
  huffman_lengths_cpu(counts.data(), bins, std::min(16, bits + 4), book.lengths.data());
  int64_t total = 0;
  book.smallest = lanes::kMaxCodeLength;
  for (size_t s = 0; s < counts.size(); ++s) {
    const int length = book.lengths[s];
    total += counts[s] * length;
    book.longest = std::max(book.longest, length);
    if (length != 0) book.smallest = std::min(book.smallest, length);
  }
  while ((book.longest - book.smallest + 1) >> book.width != 0) ++book.width;
  std::vector<uint8_t> relative(counts.size());
  for (size_t s = 0; s < counts.size(); ++s) {
    const int length = book.lengths[s];
    relative[s] = static_cast<uint8_t>(length == 0 ? 0 : length - book.smallest + 1);
  }
  book.bytes.resize(static_cast<size_t>((packed_bytes(bins, book.width) + 3) / 4 * 4));
  pack_bits::kernels().pack8(relative.data(), bins, book.width, book.bytes.data());
  book.estimate = record::stream_estimate(n, static_cast<int64_t>(book.bytes.size()), total);
  return book;
}

Codebook rans_codebook(const std::vector<int64_t>& counts, int64_t n) {
  Codebook book;
  book.codec = record::kRans;
  book.frequency = rans::frequencies(counts.data(), static_cast<int64_t>(counts.size()), n);
  if (book.frequency.empty()) {
    book.estimate = INT64_MAX;
    return book;
  }
  book.bytes = rans::write_codebook(book.frequency);
  const int64_t bits = rans::estimated_bits(counts.data(), book.frequency);
  book.estimate = record::stream_estimate(n, static_cast<int64_t>(book.bytes.size()), bits);
  return book;
}

// Quantizes tiles on the way to the coder.
struct Weights {
  const CompressPlan& plan;
  const Quantizer& quantizer;
  const char* at(int64_t i) const { return static_cast<const char*>(plan.x) + i * dtype_size(plan.dtype); }
};

void quantized_tile(void* context, int64_t first, int64_t count, uint16_t* codes) {
  const Weights& w = *static_cast<const Weights*>(context);
  quantize::codes16(w.at(first), w.plan.dtype, count, w.quantizer, codes);
}

int64_t finish(uint8_t* out, const Header& header, int64_t parts) {
  std::memcpy(out, &header, sizeof(header));
  return static_cast<int64_t>(sizeof(header)) + parts;
}

int64_t write_raw(const CompressPlan& plan, uint8_t* out) {
  Header header = record::make_header(record::kRaw, plan.dtype, 0, plan.n, 0.0, 0.0);
  header.payload_bytes = static_cast<uint64_t>(plan.n * dtype_size(plan.dtype));
  if (plan.n != 0) std::memcpy(out + sizeof(header), plan.x, header.payload_bytes);
  return finish(out, header, static_cast<int64_t>(header.payload_bytes));
}

int64_t write_fixed(const CompressPlan& plan, const Quantizer& q, uint8_t* out) {
  Header header = record::make_header(record::kFixed, plan.dtype, q.bits, plan.n, 0.0, 0.0);
  header.payload_bytes = static_cast<uint64_t>(packed_bytes(plan.n, q.bits));
  const Weights weights = {plan, q};
  uint8_t* payload = out + sizeof(header);
  auto body = [&](int64_t begin, int64_t end) {
    const ExactFloats exact;
    uint16_t codes[kQuantizeTile];
    for (int64_t tile = begin; tile < end; ++tile) {
      const int64_t from = tile * kQuantizeTile, count = std::min(kQuantizeTile, plan.n - from);
      quantize::codes16(weights.at(from), plan.dtype, count, q, codes);
      pack_bits::kernels().pack16(codes, count, q.bits, payload + from / 8 * q.bits);
    }
  };
  parallel_for(0, (plan.n + kQuantizeTile - 1) / kQuantizeTile, kFixedGrain, body);
  return finish(out, header, static_cast<int64_t>(header.payload_bytes));
}

int64_t write_stream(const CompressPlan& plan, const Quantizer& q, const Codebook& book, uint8_t* out) {
  Header header = record::make_header(book.codec, plan.dtype, q.bits, plan.n, 0.0, 0.0);
  header.chunk_log2 = lanes::kChunkLog2;
  header.codebook_bytes = static_cast<uint32_t>(book.bytes.size());
  uint8_t* codebook = out + sizeof(header);
  uint8_t* sizes = codebook + book.bytes.size();
  uint8_t* payload = sizes + 4 * lanes::chunk_count(plan.n);
  std::copy(book.bytes.begin(), book.bytes.end(), codebook);
  Weights weights = {plan, q};
  int64_t bytes;
  if (book.codec == record::kHuffman) {
    header.smallest_length = static_cast<uint8_t>(book.smallest);
    header.length_width = static_cast<uint8_t>(book.width);
    std::vector<uint32_t> table(book.lengths.size());
    huffman::encode_table(book.lengths.data(), static_cast<int64_t>(table.size()), table.data(),
                          static_cast<int64_t>(table.size()));
    const lanes::Coder coder = {table.data(), book.longest, huffman_encode::encode_tile, nullptr};
    bytes = lanes::encode_stream(plan.n, coder, quantized_tile, &weights, payload, sizes);
  } else {
    const rans::Tables tables = rans::make_tables(book.frequency);
    const lanes::Coder coder = {&tables, kRansLongest, rans::encode_tile, nullptr};
    bytes = lanes::encode_stream(plan.n, coder, quantized_tile, &weights, payload, sizes);
  }
  if (bytes < 0) return kChanged;  // a code that the histogram had not seen
  header.payload_bytes = static_cast<uint64_t>(bytes);
  return finish(out, header, payload + bytes - codebook);
}

// The smallest of what `codec` allows (docs/format.md, "Choice").
Codebook choose(const CompressPlan& plan, const Quantizer& q) {
  Codebook fixed;
  fixed.estimate = static_cast<int64_t>(sizeof(Header)) + packed_bytes(plan.n, q.bits);
  if (plan.codec == record::kFixed) return fixed;
  std::vector<int64_t> counts(size_t{1} << q.bits);
  quantize_histogram_cpu(plan.x, plan.dtype, plan.n, q, counts.data());
  Codebook book;
  if (plan.codec == record::kRans) {
    book = rans_codebook(counts, plan.n);
  } else {
    book = huffman_codebook(counts, q.bits, plan.n);
    if (plan.codec == record::kAuto) {
      Codebook rival = rans_codebook(counts, plan.n);
      if (rival.estimate <= book.estimate - book.estimate / 50) book = std::move(rival);
    }
  }
  return fixed.estimate <= book.estimate ? fixed : book;
}

int64_t compress(const CompressPlan& plan, uint8_t* out) {
  if (plan.n == 0 || (plan.codec == record::kRaw && plan.keep_nonfinite)) return write_raw(plan, out);
  const MinMax range = min_max_cpu(plan.x, plan.dtype, plan.n);
  if (!range.finite) return plan.keep_nonfinite ? write_raw(plan, out) : -1;
  if (plan.codec == record::kRaw) return write_raw(plan, out);
  int64_t size;
  if (range.lo == range.hi) {
    size = finish(out, record::make_header(record::kConstant, plan.dtype, 0, plan.n, 0.0, 0.0), 0);
  } else {
    int bits = plan.bits;
    if (bits == 0) {
      if (!quantizable(range.lo, range.hi, plan.entropy_bits, plan.dtype)) return write_raw(plan, out);
      const Quantizer coarse = make_quantizer(range.lo, range.hi, plan.entropy_bits, plan.dtype);
      bits = bits_for_entropy(entropy_cpu(plan.x, plan.dtype, plan.sample, coarse), plan.floor);
    }
    if (!quantizable(range.lo, range.hi, bits, plan.dtype)) return write_raw(plan, out);
    const Quantizer q = make_quantizer(range.lo, range.hi, bits, plan.dtype);
    const Codebook book = choose(plan, q);
    const int64_t raw = static_cast<int64_t>(sizeof(Header)) + plan.n * dtype_size(plan.dtype);
    if (raw <= book.estimate) return write_raw(plan, out);
    size = book.codec == record::kFixed ? write_fixed(plan, q, out) : write_stream(plan, q, book, out);
    if (size < 0) return size;
  }
  std::memcpy(out + offsetof(Header, lo), &range.lo, sizeof(double));
  std::memcpy(out + offsetof(Header, hi), &range.hi, sizeof(double));
  return size;
}

}  // namespace

int max_bits(const CompressPlan& plan) {
  return plan.bits != 0 ? plan.bits : bits_for_entropy(plan.entropy_bits, plan.floor);
}

int64_t compress_weights_bound(int64_t n, int64_t itemsize, int max_bits) {
  const int64_t bins = int64_t{1} << max_bits;
  // Raw is the largest that is ever kept, but streams are written with room for each chunk's worst case.
  const int64_t codebook = bins * 5 / 8 + 8 + std::min(bins, int64_t{rans::kTotal}) * 2;
  const int64_t longest = std::max(kRansLongest, std::min(16, max_bits + 4));
  const int64_t stream = codebook + 4 * lanes::chunk_count(n) + lanes::stream_bound(n, static_cast<int>(longest));
  return static_cast<int64_t>(sizeof(Header)) + std::max(n * itemsize, stream);
}

int64_t compress_weights_cpu(const CompressPlan& plan, uint8_t* out) {
  const ExactFloats exact;
  const int64_t size = compress(plan, out);
  record_kernel("compress_weights", plan.dtype == Dtype::f64 ? "f64" : simd_name(simd_level()));
  return size;
}

}  // namespace effdl

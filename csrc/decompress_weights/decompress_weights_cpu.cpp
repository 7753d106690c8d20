#include <algorithm>
#include <cstring>
#include <vector>

#include "common/exact_floats.h"
#include "common/half.h"
#include "common/huffman_code.h"
#include "common/lane_stream.h"
#include "common/parallel.h"
#include "common/quantizer.h"
#include "common/rans.h"
#include "common/simd.h"
#include "common/simd_scalar.h"
#include "decompress_weights/decompress_weights.h"
#include "dequantize/dequantize.h"
#include "huffman_decode/huffman_decode.h"
#include "unpack_bits/unpack_bits.h"

namespace effdl {
namespace {

using record::Header;

constexpr int64_t kGrain = 1 << 16;  // elements that are worth a thread

// Where decoded codes go: values straight into the output.
struct Output {
  Quantizer quantizer;
  char* out;
  Dtype dtype;
  bool stream;
};

void values_of_tile(void* context, int64_t first, int64_t count, const uint16_t* codes) {
  const Output& o = *static_cast<const Output*>(context);
  dequantize::values16(codes, count, o.quantizer, o.out + first * dtype_size(o.dtype), o.dtype, o.stream);
}

double read(const uint8_t* data, Dtype dtype, int64_t i) {
  double d;
  float f;
  uint16_t h;
  switch (dtype) {
    case Dtype::f64:
      std::memcpy(&d, data + 8 * i, sizeof(d));
      return d;
    case Dtype::f32:
      std::memcpy(&f, data + 4 * i, sizeof(f));
      return f;
    default:
      std::memcpy(&h, data + 2 * i, sizeof(h));
      return dtype == Dtype::f16 ? half_to_float(h) : bfloat16_to_float(h);
  }
}

// 16-bit outputs are rounded from float32, as everywhere.
void write(void* out, Dtype dtype, int64_t i, double v) {
  switch (dtype) {
    case Dtype::f64:
      static_cast<double*>(out)[i] = v;
      return;
    case Dtype::f32:
      static_cast<float*>(out)[i] = static_cast<float>(v);
      return;
    case Dtype::f16:
      scalar::store(static_cast<half_t*>(out) + i, static_cast<float>(v));
      return;
    default:
      scalar::store(static_cast<bfloat16_t*>(out) + i, static_cast<float>(v));
  }
}

void copy_raw(const uint8_t* data, Dtype from, int64_t n, void* out, Dtype to) {
  if (from == to) {
    if (n != 0) std::memcpy(out, data, static_cast<size_t>(n * dtype_size(to)));
    return;
  }
  for (int64_t i = 0; i < n; ++i) write(out, to, i, read(data, from, i));
}

void fill_constant(double value, int64_t n, void* out, Dtype dtype) {
  write(out, dtype, 0, value);
  char* bytes = static_cast<char*>(out);
  const int64_t size = dtype_size(dtype);
  for (int64_t done = 1; done < n; done *= 2) {
    std::memcpy(bytes + done * size, bytes, static_cast<size_t>(std::min(done, n - done) * size));
  }
}

const char* decode_fixed(const uint8_t* payload, int64_t n, Output* output) {
  const int bits = output->quantizer.bits;
  auto body = [&](int64_t begin, int64_t end) {
    const ExactFloats exact;
    uint16_t codes[kQuantizeTile];
    for (int64_t tile = begin; tile < end; ++tile) {
      const int64_t first = tile * kQuantizeTile, count = std::min(kQuantizeTile, n - first);
      unpack_bits::kernels().unpack16(payload + first / 8 * bits, count, bits, codes);
      values_of_tile(output, first, count, codes);
    }
  };
  parallel_for(0, (n + kQuantizeTile - 1) / kQuantizeTile, kGrain / kQuantizeTile, body);
  const int64_t used = n * bits % 8;
  const bool zeros = used == 0 || payload[packed_bytes(n, bits) - 1] >> used == 0;
  return zeros ? nullptr : "unused bits are not 0";
}

// Lengths of a huffman record's codebook; empty if it is corrupt.
std::vector<uint8_t> read_lengths(const uint8_t* codebook, const Header& header) {
  const int64_t bins = int64_t{1} << header.bits;
  std::vector<uint8_t> lengths(static_cast<size_t>(bins));
  unpack_bits::kernels().unpack8(codebook, bins, header.length_width, lengths.data());
  uint8_t longest = 0, smallest = 255;
  for (uint8_t& l : lengths) {
    if (l == 0) continue;
    l = static_cast<uint8_t>(l + header.smallest_length - 1);
    longest = std::max(longest, l);
    smallest = std::min(smallest, l);
  }
  // The header says no more than is needed, and the bytes after the last length are 0.
  if (longest == 0 || smallest != header.smallest_length) return {};
  if ((longest - smallest + 1) >> header.length_width != 0 ||
      (longest - smallest + 1) >> (header.length_width - 1) == 0) {
    return {};
  }
  const int64_t used = bins * header.length_width;
  for (int64_t bit = used; bit < 8 * int64_t{header.codebook_bytes}; ++bit) {
    if (((codebook[bit / 8] >> (bit % 8)) & 1) != 0) return {};
  }
  return huffman::complete(lengths.data(), bins) ? lengths : std::vector<uint8_t>{};
}

const char* decode_streams(const uint8_t* parts, const Header& header, Output* output) {
  const uint8_t* sizes = parts + header.codebook_bytes;
  lanes::ChunkDirectory directory;
  if (!lanes::read_directory(sizes + record::directory_bytes(header), static_cast<int64_t>(header.payload_bytes), sizes,
                             static_cast<int64_t>(header.n), &directory)) {
    return "the chunks do not fill the payload";
  }
  // Read more than once, so copied: the record may lie in a file that somebody writes to.
  const std::vector<uint8_t> book(parts, sizes);
  const uint8_t* codebook = book.data();
  constexpr const char* kBadChunk = "a chunk does not end where it should";
  if (header.codec == record::kHuffman) {
    const std::vector<uint8_t> lengths = read_lengths(codebook, header);
    if (lengths.empty()) return "the code lengths are not those of a complete code";
    const huffman::DecodeTable table = huffman::decode_table(lengths.data(), static_cast<int64_t>(lengths.size()));
    const lanes::Coder coder = {&table, table.bits, nullptr, huffman_decode::decode_tile};
    return lanes::decode_stream(directory, coder, values_of_tile, output) ? nullptr : kBadChunk;
  }
  const std::vector<uint32_t> frequency =
      rans::read_codebook(codebook, header.codebook_bytes, int64_t{1} << header.bits);
  if (frequency.empty()) return "the frequencies do not sum up";
  const rans::Tables tables = rans::make_tables(frequency);
  const lanes::Coder coder = {&tables, record::kRansBits, nullptr, rans::decode_tile};
  return lanes::decode_stream(directory, coder, values_of_tile, output) ? nullptr : kBadChunk;
}

const char* decompress(const uint8_t* data, const Header& header, void* out, Dtype dtype) {
  const uint8_t* parts = data + sizeof(Header);
  const int64_t n = static_cast<int64_t>(header.n);
  if (header.codec == record::kRaw) {
    copy_raw(parts, record::dtype_of(header), n, out, dtype);
    return nullptr;
  }
  if (header.codec == record::kConstant) {
    fill_constant(header.lo, n, out, dtype);
    return nullptr;
  }
  const Quantizer quantizer = make_quantizer(header.lo, header.hi, header.bits, record::dtype_of(header));
  Output output = {quantizer, static_cast<char*>(out), dtype, dequantize::prepare_output(out, n, dtype)};
  if (header.codec == record::kFixed) return decode_fixed(parts, n, &output);
  return decode_streams(parts, header, &output);
}

}  // namespace

const char* decompress_weights_cpu(const uint8_t* data, const record::Header& header, void* out, Dtype dtype) {
  const ExactFloats exact;
  const char* wrong = decompress(data, header, out, dtype);
  record_kernel("decompress_weights", simd_name(simd_level()));
  return wrong;
}

}  // namespace effdl

// Any weights and options: the same record at every SIMD level, no larger than promised, which gives the weights back.
// The input: options (8 bytes), then the elements, which are repeated as often as the options say.
#include "compress_weights/compress_weights.h"

#include <algorithm>
#include <cmath>

#include "decompress_weights/decompress_weights.h"
#include "fuzz.h"

using effdl::Dtype;
using effdl::fuzz::fail;

namespace effdl::fuzz {
int64_t interesting = 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  constexpr size_t kOptions = 8, kMost = 1 << 17;  // elements
  if (size < kOptions) return 0;
  constexpr Dtype kDtypes[] = {Dtype::f32, Dtype::f64, Dtype::f16, Dtype::bf16};
  constexpr int kCodecs[] = {effdl::record::kRaw, effdl::record::kFixed, effdl::record::kHuffman, effdl::record::kRans,
                             effdl::record::kAuto};
  const Dtype dtype = kDtypes[data[0] % 4];
  const size_t item = static_cast<size_t>(effdl::dtype_size(dtype)), given = (size - kOptions) / item;
  const size_t n = std::min(given * (size_t{1} + data[1] + 256 * (data[2] % 4)), kMost);
  const std::unique_ptr<uint8_t[]> x(new uint8_t[n * item]);
  for (size_t i = 0; i < n; ++i) std::memcpy(x.get() + i * item, data + kOptions + i % given * item, item);
  const effdl::CompressPlan plan = {x.get(),
                                    dtype,
                                    static_cast<int64_t>(n),
                                    data[3] / 8.0 - 8.0,
                                    data[4] % 16 + 1,
                                    effdl::make_sample(static_cast<int64_t>(n), (data[5] + 1) / 256.0, data[5] * 977),
                                    kCodecs[data[6] % 5],
                                    data[7] % 17,
                                    (data[7] & 128) != 0};
  const int64_t bound = effdl::compress_weights_bound(plan.n, static_cast<int64_t>(item), effdl::max_bits(plan));
  std::vector<uint8_t> first;
  int64_t bytes = 0;
  effdl::fuzz::at_every_level([&](effdl::Simd level) {
    const std::unique_ptr<uint8_t[]> out(new uint8_t[static_cast<size_t>(bound)]);
    const int64_t written = effdl::compress_weights_cpu(plan, out.get());
    if (level == effdl::Simd::scalar) {
      bytes = written;
      if (written > 0) first.assign(out.get(), out.get() + written);
    } else if (written != bytes || (bytes > 0 && std::memcmp(first.data(), out.get(), first.size()) != 0)) {
      fail("the SIMD levels write different records");
    }
  });
  if (bytes < 0) return plan.keep_nonfinite ? (fail("a non-finite tensor was to be kept"), 0) : 0;
  const auto record = effdl::fuzz::exactly(first.data(), first.size());
  effdl::record::Header header;
  if (effdl::record::read_header(record.get(), bytes, &header) != nullptr) fail("the header is refused");
  if (header.n != n || effdl::record::dtype_of(header) != dtype) fail("another tensor");
  const std::unique_ptr<uint8_t[]> back(new uint8_t[n * item]);
  if (effdl::decompress_weights_cpu(record.get(), header, back.get(), dtype) != nullptr) fail("the record is refused");
  const bool raw = header.codec == effdl::record::kRaw;
  if (raw && n != 0 && std::memcmp(back.get(), x.get(), n * item) != 0) fail("a raw record has other elements");
  if (!raw && dtype == Dtype::f32) {
    const double step =
        header.codec == effdl::record::kConstant ? 0.0 : std::ldexp(header.hi - header.lo, -header.bits);
    const double rounding = 4 * 1.2e-7 * std::max(std::fabs(header.lo), std::fabs(header.hi)) + 1e-44;
    for (size_t i = 0; i < n; ++i) {
      float a, b;
      std::memcpy(&a, x.get() + 4 * i, 4);
      std::memcpy(&b, back.get() + 4 * i, 4);
      if (!(std::fabs(static_cast<double>(a) - b) <= step / 2 + rounding))
        fail("an element is off by more than a step");
    }
  }
  ++effdl::fuzz::interesting;
  return 0;
}

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size, unsigned) {
  return LLVMFuzzerMutate(data, size, max_size);
}

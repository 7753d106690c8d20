// Any bytes as a record: refused, or the same values at every SIMD level, for every output dtype.
#include "decompress_weights/decompress_weights.h"

#include "fuzz.h"

using effdl::Dtype;
using effdl::fuzz::fail;
using effdl::record::Header;

namespace effdl::fuzz {
int64_t interesting = 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  const auto data = effdl::fuzz::exactly(bytes, size);
  Header header;
  if (effdl::record::read_header(data.get(), static_cast<int64_t>(size), &header) != nullptr) return 0;
  constexpr uint64_t kCap = 1 << 18;  // elements, as a caller would set one
  if (header.n > kCap) return 0;
  for (const Dtype dtype : {Dtype::f32, Dtype::bf16, Dtype::f16, Dtype::f64}) {
    const size_t room = header.n * static_cast<size_t>(effdl::dtype_size(dtype));
    std::vector<uint8_t> first;
    bool refused = false;
    effdl::fuzz::at_every_level([&](effdl::Simd level) {
      const std::unique_ptr<uint8_t[]> out(new uint8_t[room]);
      std::memset(out.get(), static_cast<int>(level) + 1, room);  // what is not written differs between the levels
      const bool wrong = effdl::decompress_weights_cpu(data.get(), header, out.get(), dtype) != nullptr;
      if (level == effdl::Simd::scalar) {
        refused = wrong;
        first.assign(out.get(), out.get() + room);
      } else if (wrong != refused) {
        fail("the SIMD levels disagree whether the record is corrupt");
      } else if (!wrong && room != 0 && std::memcmp(first.data(), out.get(), room) != 0) {
        fail("the SIMD levels decode different values");
      }
    });
    if (refused) return 0;
  }
  ++effdl::fuzz::interesting;
  return 0;
}

// Sizes of codebook and payload are made to fit in most mutations.
extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size, unsigned seed) {
  size = LLVMFuzzerMutate(data, size, max_size);
  if (seed % 8 == 0 || size < sizeof(Header)) return size;
  Header h;
  std::memcpy(&h, data, sizeof(h));
  std::memcpy(h.magic, "EFWR", 4);
  h.version = 1;
  h.zero = 0;
  const uint64_t room = size - sizeof(Header);
  if (h.codec == effdl::record::kHuffman && h.bits <= 16) {
    h.codebook_bytes = static_cast<uint32_t>(((uint64_t{1} << h.bits) * h.length_width + 31) / 32 * 4);
  }
  const uint64_t chunks = h.codec < effdl::record::kHuffman ? 0 : (h.n + 32767) / 32768;
  if (h.codebook_bytes <= room && chunks <= (room - h.codebook_bytes) / 4) {
    h.payload_bytes = room - h.codebook_bytes - 4 * chunks;
    if (seed % 4 != 0 && chunks != 0) {  // the last chunk takes the rest
      uint64_t rest = h.payload_bytes;
      uint8_t* sizes = data + sizeof(Header) + h.codebook_bytes;
      for (uint64_t c = 0; c + 1 < chunks; ++c) {
        uint32_t bytes;
        std::memcpy(&bytes, sizes + 4 * c, 4);
        rest -= bytes;
      }
      const uint32_t last = static_cast<uint32_t>(rest);
      std::memcpy(sizes + 4 * (chunks - 1), &last, 4);
    }
  }
  std::memcpy(data, &h, sizeof(h));
  return size;
}

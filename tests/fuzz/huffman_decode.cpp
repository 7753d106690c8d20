// Any lengths, sizes and payload as a Huffman stream. The input: number of codes and of symbols (uint32 each), lengths,
// sizes of the chunks (uint32 each), payload.
#include "huffman_decode/huffman_decode.h"

#include <algorithm>

#include "fuzz.h"

using effdl::fuzz::fail;

namespace effdl::fuzz {
int64_t interesting = 0;
}

namespace {

constexpr size_t kHead = 8;

struct Input {
  uint32_t n, bins;
  size_t sizes, payload;  // where they begin
};

bool parse(const uint8_t* data, size_t size, Input* input) {
  if (size < kHead) return false;
  std::memcpy(&input->n, data, 4);
  std::memcpy(&input->bins, data + 4, 4);
  if (input->n > 1 << 18 || input->bins < 1 || input->bins > 1 << 16) return false;
  input->sizes = kHead + input->bins;
  input->payload = input->sizes + 4 * static_cast<size_t>(effdl::lanes::chunk_count(input->n));
  return input->payload <= size;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  Input in;
  if (!parse(data, size, &in)) return 0;
  const size_t chunks = in.payload - in.sizes, bytes = size - in.payload;
  const auto lengths = effdl::fuzz::exactly(data + kHead, in.bins);
  const auto sizes = effdl::fuzz::exactly(data + in.sizes, chunks),
             payload = effdl::fuzz::exactly(data + in.payload, bytes);
  effdl::lanes::ChunkDirectory directory;
  if (!effdl::huffman::complete(lengths.get(), in.bins)) return 0;
  if (!effdl::lanes::read_directory(payload.get(), static_cast<int64_t>(bytes), sizes.get(), in.n, &directory))
    return 0;
  const int code_bytes = in.bins <= 256 ? 1 : 2;
  const size_t room = in.n * static_cast<size_t>(code_bytes);
  std::vector<uint8_t> first;
  bool refused = false;
  effdl::fuzz::at_every_level([&](effdl::Simd level) {
    const std::unique_ptr<uint8_t[]> codes(new uint8_t[room]);
    std::memset(codes.get(), static_cast<int>(level) + 1, room);
    const bool wrong = !effdl::huffman_decode_cpu(directory, lengths.get(), in.bins, codes.get(), code_bytes);
    if (level == effdl::Simd::scalar) {
      refused = wrong;
      first.assign(codes.get(), codes.get() + room);
    } else if (wrong != refused) {
      fail("the SIMD levels disagree whether the stream is corrupt");
    } else if (!wrong && room != 0 && std::memcmp(first.data(), codes.get(), room) != 0) {
      fail("the SIMD levels decode different codes");
    }
  });
  if (refused) return 0;
  for (size_t i = 0; i < in.n; ++i) {
    uint32_t code = first[i];
    if (code_bytes == 2) code = first[2 * i] | static_cast<uint32_t>(first[2 * i + 1]) << 8;
    if (code >= in.bins || lengths[code] == 0) fail("a code that has no length");
  }
  ++effdl::fuzz::interesting;
  return 0;
}

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size, unsigned seed) {
  const std::vector<uint8_t> before(data, data + std::min<size_t>(size, kHead + 65536));
  size = LLVMFuzzerMutate(data, size, max_size);
  Input in, old;
  if (seed % 8 == 0 || !parse(data, size, &in)) return size;
  // Lengths are kept in most mutations, as few others are those of a complete code.
  if (seed % 4 != 0 && before.size() >= kHead) {
    std::memcpy(&old.bins, before.data() + 4, 4);
    const bool whole = old.bins == in.bins && before.size() >= kHead + in.bins;
    if (whole) std::memcpy(data + kHead, before.data() + kHead, in.bins);
  }
  uint32_t rest = static_cast<uint32_t>(size - in.payload);
  for (size_t at = in.sizes; at + 4 < in.payload; at += 4) {
    uint32_t bytes;
    std::memcpy(&bytes, data + at, 4);
    rest -= bytes;
  }
  if (in.payload != in.sizes) std::memcpy(data + in.payload - 4, &rest, 4);
  return size;
}

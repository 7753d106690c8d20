// Steps of 32 symbols for one SIMD level: EFFDL_LEVEL names its namespace.
namespace effdl::EFFDL_LEVEL {

static uint32_t encode_steps(const uint32_t* entries, int64_t steps, lanes::ChunkWriter* writer) {
  constexpr int kVectors = lanes::kLanes / kLaneWidth;
  Lane x[kVectors];
  for (int v = 0; v < kVectors; ++v) x[v] = lane_load(writer->state + v * kLaneWidth);
  Lane smallest = lane_set(0xffffffffu);
  uint8_t* words = writer->words;
  for (int64_t step = steps - 1; step >= 0; --step) {
    for (int v = kVectors - 1; v >= 0; --v) {
      const Lane entry = lane_load(entries + step * lanes::kLanes + v * kLaneWidth);
      smallest = lane_min(smallest, entry);
      x[v] = push(x[v], entry, &words);
    }
  }
  for (int v = 0; v < kVectors; ++v) lane_store(writer->state + v * kLaneWidth, x[v]);
  writer->words = words;
  uint32_t smallest_of[kLaneWidth], least = 0xffffffffu;
  lane_store(smallest_of, smallest);
  for (int l = 0; l < kLaneWidth; ++l) least = smallest_of[l] < least ? smallest_of[l] : least;
  return least;
}

static constexpr huffman_encode::Kernels huffman_encode_kernels() { return {encode_steps}; }

}  // namespace effdl::EFFDL_LEVEL

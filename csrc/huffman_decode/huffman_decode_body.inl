// Steps of 32 symbols for one SIMD level: EFFDL_LEVEL names its namespace. Two chunks at a time hide the latency of the
// table look-ups behind each other.
namespace effdl::EFFDL_LEVEL {

template <int count, class Entry>
static int64_t decode_steps(lanes::ChunkReader* chunks, const Entry* table, int bits, int64_t steps,
                            const uint8_t* limit, uint16_t* const* out) {
  constexpr int kVectors = lanes::kLanes / kLaneWidth;
  constexpr int64_t kReads = 2 * lanes::kLanes;  // bytes: a step takes and loads no word beyond the next 32
  const Lane mask = lane_set((1u << bits) - 1u), five = lane_set(31);
  Lane x[count][kVectors];
  const uint8_t* next[count];
  uint16_t* to[count];
  for (int c = 0; c < count; ++c) {
    for (int v = 0; v < kVectors; ++v) x[c][v] = lane_load(chunks[c].state + v * kLaneWidth);
    next[c] = chunks[c].next;
    to[c] = out[c];
  }
  int64_t done = 0;
  for (; done < steps; ++done) {
    bool room = true;
    for (int c = 0; c < count; ++c) room = room && limit - next[c] >= kReads;
    if (!room) break;
    for (int v = 0; v < kVectors; ++v) {
      Lane entry[count];
      for (int c = 0; c < count; ++c) {
        entry[c] = gather(table, lane_and(x[c][v], mask));
        x[c][v] = shift_right(x[c][v], lane_and(entry[c], five));
      }
      for (int c = 0; c < count; ++c) {
        x[c][v] = refill(x[c][v], &next[c]);
        store_symbols(to[c] + v * kLaneWidth, entry[c], table);
      }
    }
    for (int c = 0; c < count; ++c) to[c] += lanes::kLanes;
  }
  for (int c = 0; c < count; ++c) {
    for (int v = 0; v < kVectors; ++v) lane_store(chunks[c].state + v * kLaneWidth, x[c][v]);
    chunks[c].next = next[c];
  }
  return done;
}

template <int count>
static int64_t decode_steps(lanes::ChunkReader* chunks, const huffman::DecodeTable& table, int64_t steps,
                            const uint8_t* limit, uint16_t* const* out) {
  return table.narrow ? decode_steps<count>(chunks, table.entries16.data(), table.bits, steps, limit, out)
                      : decode_steps<count>(chunks, table.entries32.data(), table.bits, steps, limit, out);
}

static int64_t decode_steps(lanes::ChunkReader* chunks, int count, const huffman::DecodeTable& table, int64_t steps,
                            const uint8_t* limit, uint16_t* const* out) {
  return count == 1 ? decode_steps<1>(chunks, table, steps, limit, out)
                    : decode_steps<2>(chunks, table, steps, limit, out);
}

static constexpr huffman_decode::Kernels huffman_decode_kernels() { return {decode_steps}; }

}  // namespace effdl::EFFDL_LEVEL

// rANS over the lane-interleaved stream of docs/format.md, for skewed distributions where whole bits per symbol waste
// most.
#pragma once
#include <cstdint>
#include <vector>

#include "common/lane_stream.h"
#include "common/weights_record.h"

namespace effdl::rans {

constexpr uint32_t kTotal = uint32_t{1} << record::kRansBits;

// Frequencies that sum up to kTotal (0: unused), by the rule of docs/format.md. counts sum up to total > 0. Empty if
// more than kTotal symbols are used.
std::vector<uint32_t> frequencies(const int64_t* counts, int64_t bins, int64_t total);
// Bits that the symbols take, rounded up.
int64_t estimated_bits(const int64_t* counts, const std::vector<uint32_t>& frequency);

// Codebook of a record: which symbols are used, then their frequencies; padded with zeros.
std::vector<uint8_t> write_codebook(const std::vector<uint32_t>& frequency);
// Empty if the codebook is corrupt. Reads data more than once.
std::vector<uint32_t> read_codebook(const uint8_t* data, int64_t bytes, int64_t bins);

struct Tables {
  std::vector<uint32_t> symbols;  // frequency << 16 | cumulative
  std::vector<uint16_t> slots;    // the symbol of each of kTotal slots
};
Tables make_tables(const std::vector<uint32_t>& frequency);

// lanes::Coder of Tables.
bool encode_tile(const void* table, const uint16_t* codes, int64_t count, lanes::ChunkWriter* writer);
bool decode_tile(const void* table, lanes::ChunkReader* chunks, int count, int64_t symbols, const uint8_t* limit,
                 uint16_t* const* out);

}  // namespace effdl::rans

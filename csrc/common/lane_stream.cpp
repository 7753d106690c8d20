#include "common/lane_stream.h"

#include <cstring>

namespace effdl::lanes {

bool open_chunk(const uint8_t* chunk, int64_t bytes, int64_t symbols, ChunkReader* reader) {
  reader->lanes = lanes_of(symbols);
  const int64_t states = 4 * reader->lanes;
  if (bytes < states || bytes % 2 != 0) return false;
  std::memcpy(reader->state, chunk, static_cast<size_t>(states));
  for (int l = 0; l < reader->lanes; ++l) {
    if (reader->state[l] < kFirstState) return false;
  }
  reader->next = chunk + states;
  reader->end = chunk + bytes;
  return true;
}

bool closed(const ChunkReader& reader) {
  bool ok = reader.next == reader.end;
  for (int l = 0; l < reader.lanes; ++l) ok = ok && reader.state[l] == kFirstState;
  return ok;
}

ChunkWriter new_chunk(uint8_t* end_of_buffer, int64_t symbols) {
  ChunkWriter writer;
  for (uint32_t& x : writer.state) x = kFirstState;
  writer.words = end_of_buffer;
  writer.lanes = lanes_of(symbols);
  return writer;
}

int64_t finish_chunk(const ChunkWriter& writer, const uint8_t* end_of_buffer, uint8_t* out) {
  const int64_t states = 4 * writer.lanes, words = end_of_buffer - writer.words;
  std::memcpy(out, writer.state, static_cast<size_t>(states));
  std::memcpy(out + states, writer.words, static_cast<size_t>(words));
  return states + words;
}

}  // namespace effdl::lanes

// CRC-32C (Castagnoli; RFC 3720 appendix B.4), the checksum of the container of docs/format.md.
#pragma once
#include <stddef.h>
#include <stdint.h>

namespace effdl {

// The CRC of `bytes` bytes at `data`, which may be null where there are none. `initial` is the CRC of what came before
// (0 at the start), so that crc32c(b, crc32c(a)) is the CRC of a followed by b. Uses the SSE4.2 instruction where the
// CPU has it, tables otherwise and at the SIMD level "scalar". Records which of the two ran.
uint32_t crc32c(const void* data, size_t bytes, uint32_t initial = 0);

}  // namespace effdl

// Algorithm 2 of the thesis: weights from a record of docs/format.md.
// A decoder trusts nothing: whatever the bytes are, it reads inside them and writes inside its output.
#pragma once
#include <cstdint>

#include "common/weights_record.h"

namespace effdl {

// data: the record, any alignment; header: as record::read_header accepted it. out: header.n elements of `dtype`,
// contiguous. Returns what is wrong, null if nothing; `out` holds anything then.
const char* decompress_weights_cpu(const uint8_t* data, const record::Header& header, void* out, Dtype dtype);

#ifdef EFFDL_WITH_CUDA
// Asynchronous on `stream`; device memory throughout. size: bytes of data; out: n elements of dtype. The first int32 of
// workspace becomes nonzero if the record is corrupt or holds another number of elements.
void decompress_weights_cuda(const uint8_t* data, int64_t size, int64_t n, void* out, Dtype dtype, void* workspace,
                             int device, void* stream);
int64_t decompress_weights_workspace_bytes(int64_t size, int64_t n);
#endif

}  // namespace effdl

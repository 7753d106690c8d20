#include "common/decode_cuda.cuh"
#include "common/simd.h"
#include "common/weights_record_check.h"
#include "decompress_weights/decompress_weights.h"

namespace effdl {
namespace {

using namespace cuda;
using record::Header;

constexpr int64_t kMostBins = 1 << 16;

struct Space {
  DecodeSpace decode;  // begins with the status
  Header* header;
  uint8_t* lengths;
  uint32_t* frequency;
  int64_t bytes;
  Space(int64_t n, Workspace memory)
      : decode(n, kMostBins, &memory),
        header(memory.take<Header>(1)),
        lengths(memory.take<uint8_t>(kMostBins)),
        frequency(memory.take<uint32_t>(kMostBins)),
        bytes(memory.bytes()) {}
};

__device__ inline uint32_t read_u32(const uint8_t* bytes) { return read_word(bytes, 0) | read_word(bytes, 1) << 16; }

// Decode table of a huffman record; false, for all threads, if the codebook is corrupt. The header has been checked.
__device__ inline bool read_huffman(const uint8_t* codebook, const Header& header, const Space& space, int* longest) {
  __shared__ Canonical canonical;
  const int bins = 1 << header.bits, width = header.length_width;
  for (int i = threadIdx.x; i < bins; i += kBlock) {
    const uint32_t stored = packed_code(codebook, header.codebook_bytes, int64_t{i} * width, width);
    space.lengths[i] = static_cast<uint8_t>(stored == 0 ? 0 : stored + header.smallest_length - 1);
  }
  bool zeros = true;  // bits that no length needs
  for (int i = bins * width + static_cast<int>(threadIdx.x); i < 8 * static_cast<int>(header.codebook_bytes);
       i += kBlock) {
    zeros = zeros && (codebook[i / 8] >> (i % 8) & 1) == 0;
  }
  if (__syncthreads_and(zeros) == 0) return false;
  make_canonical(space.lengths, bins, &canonical);
  // The header says no more than is needed.
  const int span = canonical.longest - canonical.shortest + 1;
  if (!canonical.complete || canonical.used == 0 || canonical.shortest != header.smallest_length) return false;
  if (span >> width != 0 || span >> (width - 1) == 0) return false;
  make_decode_table(space.lengths, bins, canonical, space.decode.order, space.decode.table);
  *longest = canonical.longest;
  return true;
}

// One block: looks at everything but the payload.
__global__ void __launch_bounds__(kBlock, 1)
    prepare_kernel(const uint8_t* data, int64_t size, int64_t n, const Space space) {
  __shared__ Header header;
  if (threadIdx.x < sizeof(Header)) {
    reinterpret_cast<uint8_t*>(&header)[threadIdx.x] =
        static_cast<int64_t>(threadIdx.x) < size ? data[threadIdx.x] : uint8_t{0};
  }
  __syncthreads();
  bool ok = size >= static_cast<int64_t>(sizeof(Header)) && record::check_header(header, size) == nullptr &&
            header.n == static_cast<uint64_t>(n);
  DecodePlan plan = {0, Tables::none, 1 << (header.bits & 31), 0, static_cast<int64_t>(sizeof(Header)), {}};
  if (ok && header.codec >= record::kFixed) {
    plan.quantizer = portable::make_quantizer(header.lo, header.hi, header.bits, record::dtype_of(header));
  }
  const uint8_t* codebook = data + sizeof(Header);
  if (ok && header.codec == record::kFixed) {
    const int used = static_cast<int>(header.n % 8 * header.bits % 8);
    ok = used == 0 || codebook[header.payload_bytes - 1] >> used == 0;
  }
  if (ok && header.codec >= record::kHuffman) {
    const uint8_t* directory = codebook + header.codebook_bytes;
    plan.payload += header.codebook_bytes + record::directory_bytes(header);
    const auto chunk_size = [&](int64_t c) { return static_cast<int64_t>(read_u32(directory + 4 * c)); };
    ok = find_chunks(n, static_cast<int64_t>(header.payload_bytes), chunk_size, space.decode.offset);
    if (ok && header.codec == record::kHuffman) {
      ok = read_huffman(codebook, header, space, &plan.longest);
      plan.tables = narrow_table(plan.bins, plan.longest) ? Tables::huffman16 : Tables::huffman32;
    } else if (ok) {
      ok = read_rans_codebook(codebook, header.codebook_bytes, plan.bins, space.frequency, space.decode.symbols,
                              reinterpret_cast<uint16_t*>(space.decode.table));
      plan.tables = Tables::rans;
    }
  }
  if (threadIdx.x != 0) return;
  plan.status = ok ? 0 : 1;
  if (!ok) plan.tables = Tables::none;
  *space.decode.plan = plan;
  *space.header = header;
}

// ---- raw elements in another dtype: rounded as everywhere, and a NaN keeps its payload as it does on CPUs ----

constexpr uint64_t kQuiet = uint64_t{1} << 51;

__device__ inline double widened(float v) {
  if (v == v) return v;
  const uint64_t bits = float_bits(v);
  return __longlong_as_double(
      static_cast<long long>(bits >> 31 << 63 | uint64_t{0x7ff} << 52 | (bits & 0x7fffff) << 29 | kQuiet));
}
__device__ inline float narrowed(double v) {
  if (v == v) return static_cast<float>(v);
  const auto bits = static_cast<uint64_t>(__double_as_longlong(v)) | kQuiet;
  return bits_float(static_cast<uint32_t>(bits >> 63 << 31 | 0x7f800000u | (bits >> 29 & 0x7fffff)));
}

// Element i of data with any alignment.
__device__ inline double raw_element(const uint8_t* data, Dtype dtype, int64_t i) {
  const uint8_t* at = data + i * dtype_size(dtype);
  switch (dtype) {
    case Dtype::f64:
      return __longlong_as_double(static_cast<long long>(uint64_t{read_u32(at)} | uint64_t{read_u32(at + 4)} << 32));
    case Dtype::f32:
      return widened(bits_float(read_u32(at)));
    case Dtype::f16:
      return widened(half_to_float(static_cast<uint16_t>(read_word(at, 0))));
    default:
      return widened(bfloat16_to_float(static_cast<uint16_t>(read_word(at, 0))));
  }
}

__device__ inline void write_element(double v, Dtype dtype, void* out, int64_t i) {
  switch (dtype) {
    case Dtype::f64:
      static_cast<double*>(out)[i] = v;
      return;
    case Dtype::f32:
      static_cast<float*>(out)[i] = narrowed(v);
      return;
    case Dtype::f16:
      static_cast<uint16_t*>(out)[i] = float_to_half(narrowed(v));
      return;
    default:
      static_cast<uint16_t*>(out)[i] = float_to_bfloat16(narrowed(v));
  }
}

// Records without chunks.
__global__ void __launch_bounds__(kThreads)
    elements_kernel(const uint8_t* data, int64_t n, const Space space, void* out, Dtype dtype) {
  const Header header = *space.header;
  if (space.decode.plan->status != 0 || header.codec >= record::kHuffman) return;
  const uint8_t* payload = data + sizeof(Header);
  const Dtype source = record::dtype_of(header);
  const bool raw = header.codec == record::kRaw;
  if (raw && source == dtype) {
    copy_words(payload, n * dtype_size(dtype) / 2, static_cast<uint16_t*>(out));
    return;
  }
  const Quantizer q = space.decode.plan->quantizer;
  const auto bytes = static_cast<int64_t>(header.payload_bytes);
  for (int64_t i = grid_thread(); i < n; i += grid_threads()) {
    double v = header.lo;
    if (raw) v = raw_element(payload, source, i);
    if (header.codec == record::kFixed) {
      v = value_of<double>(q, packed_code(payload, bytes, i * header.bits, header.bits));
    }
    write_element(v, dtype, out, i);
  }
}

template <class T>
__global__ void __launch_bounds__(kMaxChunkWarps* kWarp, kChunkBlocks)
    chunks_kernel(const uint8_t* data, int64_t n, const Space space, T* out) {
  const Quantizer q = space.decode.plan->quantizer;
  decode_all(data + space.decode.plan->payload, n, space.decode, out,
             [&](uint32_t symbol) { return value_of<T>(q, symbol); });
}

}  // namespace

int64_t decompress_weights_workspace_bytes(int64_t, int64_t n) { return Space(n, Workspace(nullptr)).bytes; }

void decompress_weights_cuda(const uint8_t* data, int64_t size, int64_t n, void* out, Dtype dtype, void* workspace,
                             int device, void* stream) {
  const char* op = "decompress_weights";
  const DeviceGuard guard(device, op);
  record_kernel(op, "cuda");
  const Space space(n, Workspace(workspace));
  launch(op, prepare_kernel, 1, kBlock, stream, data, size, n, space);
  if (n == 0) return;
  const ChunkLaunch chunks(n, device, op);
  with_type(dtype, [&](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    launch_shared(op, chunks_kernel<T>, chunks.blocks, chunks.threads, decode_shared_bytes(chunks.threads), stream,
                  data, n, space, static_cast<T*>(out));
  });
  launch(op, elements_kernel, pass_blocks(n, 8, device, op), kThreads, stream, data, n, space, out, dtype);
}

}  // namespace effdl
